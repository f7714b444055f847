// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A trace and a configuration make a run. `nestwalk run` does one, `nestwalk compare` many, each in
// a process of its own.
#pragma once

#include <functional>

#include "configuration/configuration.hpp"
#include "replay/simulation.hpp"

namespace nestwalk::sim {

struct Replay {
  std::string core;   ///< its model, in words
  UsedValues values;  ///< of the machine
  Statistics statistics;
  std::vector<Histogram> histograms;
  addrspace::u64 accesses = 0;  ///< that were played, measured or not
  std::string ended_early;      ///< why; empty if it did not
  double host_seconds = 0;
  std::vector<std::string> disagreements;  ///< the first ones, of replayed tables
};

/// Decides what `configuration` leaves to the traces, and runs: a guest for each. Once in a
/// process. `prepare` gets the simulation before it begins; `conclude` runs while it is still
/// there.
Replay replay(const std::vector<std::string>& traces, Configuration& configuration,
              const std::function<void(addrspace::u64 accesses)>& progress,
              const std::function<void(Simulation&)>& prepare = {},
              const std::function<void()>& conclude = {});

}  // namespace nestwalk::sim
