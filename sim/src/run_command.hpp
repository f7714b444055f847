// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk run`
#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

int run_run_command(const Arguments& arguments);

}  // namespace nestwalk::sim
