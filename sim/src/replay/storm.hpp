// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `check` and `compare` make of --storm and of policies of fences.
#pragma once

#include "configuration/configuration.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

/// Parameters of the generator `storm`: those given, and what makes it as short as a table needs
/// it.
Words storm_parameters(const Words& given);

/// Of the hypervisor, in a run's statistics.
addrspace::u64 operations_of(const Json& statistics);

/// "all" is each of the engine's.
Words fence_policies_of(const Words& wanted);
/// A value of hypervisor.fences, or a JSON file of rules; what tables call it.
std::string use_fence_policy(Configuration& configuration, const std::string& policy);

}  // namespace nestwalk::sim
