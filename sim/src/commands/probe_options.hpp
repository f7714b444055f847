// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `calibrate` and `validate` share: how this machine is measured, and which points count.
#pragma once

#include "calibration/measured.hpp"
#include "calibration/simulated.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

/// Adds --seconds, --most and --environment.
void declare_probes(CommandLine& line);
/// Measures this machine. Throws NoResult where that did not become stable.
MeasuredMachine measured_now(const CommandLine& line);
/// Of the file that this option names. Throws traces::InputError.
MeasuredMachine measured_before(const CommandLine& line, const char* option);
/// Of --most.
u64 most_of(const CommandLine& line);
/// Those that are simulated, up to --most. Throws UsageError if there are none.
std::vector<Point> wanted_points(const CommandLine& line, std::vector<Point> points);

/// Adds --times.
void declare_times(CommandLine& line);
/// The least times, or the medians, as --times says.
void choose_times(const CommandLine& line, MeasuredMachine& machine);

/// Adds --host-pages and --guest-frames.
void declare_surroundings(CommandLine& line);
Surroundings surroundings_of(const CommandLine& line, const MeasuredMachine& machine);

}  // namespace nestwalk::sim
