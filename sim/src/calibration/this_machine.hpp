// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the kernel says of the machine that the program runs on.
#pragma once

#include <string>

#include "calibration/measured.hpp"

namespace nestwalk::sim {

/// Name and kind of this machine, without points. Files of the kernel are below `root`.
MeasuredMachine this_machine(const std::string& root = "");
/// Of memory, for this process: what is free, and what its control groups leave.
u64 available_bytes(const std::string& root = "");

}  // namespace nestwalk::sim
