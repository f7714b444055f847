// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Why guests were left, from what the hardware said.
#pragma once

#include <unordered_map>

#include "nestwalk/traces/header.hpp"

namespace nestwalk::traces::recording {

/// `state` holds registers by their numbers in the stream, as far as they are known. What does not
/// follow from them is 0.
VmExit vm_exit(Architecture architecture, const std::unordered_map<u64, u64>& state);

}  // namespace nestwalk::traces::recording
