// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk check`
#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

int run_check_command(const Arguments& arguments);

}  // namespace nestwalk::sim
