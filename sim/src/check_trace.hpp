// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

/// `nestwalk check TRACE` and `nestwalk check --storm`: replays under one or several policies of
/// fences, on one or several machines, with a checker that is told everything.
int run_check_trace(const Arguments& arguments);

}  // namespace nestwalk::sim
