// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the emulator answered, against what the engine says of its tables, against what the models'
// walker makes of them.
#pragma once

#include <string>

#include "trial.hpp"

namespace nestwalk::baremetal {

/// One row of deviations.json that holds for this emulator, version and format: where `rule` is
/// met, the machine faults though it should not.
struct Deviation {
  std::string name;
  bool (*applies)(const Geometry& geometry, Probe probe, const Expected& expected);
  u64 met = 0;
};
/// Throws where the file is not what it should be.
std::vector<Deviation> read_deviations(const std::string& file, const std::string& emulator,
                                       const std::string& version, const std::string& format);

struct Verdict {
  u64 faults = 0;             ///< that the emulator reported
  u64 engine_wrong = 0;       ///< answers other than the engine's
  u64 models_wrong = 0;       ///< answers, or fault registers, other than the models'
  u64 engine_and_models = 0;  ///< probes of which engine and models do not say the same
  u64 stores_wrong = 0;       ///< words of data that hold what they should not
  u64 plants_found = 0;
};

/// Throws when the words are not the answers to the trial's probes.
Verdict judge(const Trial& trial, Architecture architecture, std::span<const u64> words,
              std::span<Deviation> deviations);

}  // namespace nestwalk::baremetal
