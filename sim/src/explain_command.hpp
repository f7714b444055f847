// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk explain`
#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

int run_explain_command(const Arguments& arguments);

}  // namespace nestwalk::sim
