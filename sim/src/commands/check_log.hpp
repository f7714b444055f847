// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A hypervisor's own log under the checker.
#pragma once

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/checker/log.hpp"

namespace nestwalk::sim {

/// Feeds the file ("-": standard input) to the checker. Throws traces::InputError. The reader has
/// to outlive the checker.
void check_log(const std::string& file, checker::LogReader& reader, checker::Checker& checker);

}  // namespace nestwalk::sim
