// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk compare`
#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

int run_compare_command(const Arguments& arguments);

}  // namespace nestwalk::sim
