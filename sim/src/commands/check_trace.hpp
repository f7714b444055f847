// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A trace, or a storm that is generated, replayed under one or several policies of fences, on one
// or several machines, with a checker that is told everything.
#pragma once

#include "program/command_line.hpp"

namespace nestwalk::sim {

/// --storm, --policy, --arch, and the machine's.
void add_trace_options(CommandLine& line);
/// Replays and prints. `inputs`: the trace, or parameters of the storm. Returns the exit code.
int check_traces(const CommandLine& line, const std::vector<std::string>& inputs);

}  // namespace nestwalk::sim
