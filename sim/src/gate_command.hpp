// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk gate`
#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

int run_gate_command(const Arguments& arguments);

}  // namespace nestwalk::sim
