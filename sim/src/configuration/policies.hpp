// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Words for how a hypervisor gives its guest memory, where parameters would be many.
#pragma once

#include "configuration/configuration.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

/// All words; for completion, too.
Words policy_names();
/// A line for each, with what it means.
std::string help_of_policies();
/// A policy is one of the words, or parameters with commas between them. Throws UsageError.
void use_policy(Configuration& configuration, const std::string& policy);

}  // namespace nestwalk::sim
