// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A trace and a configuration make a run. `nestwalk run` does one, `nestwalk compare` many, each in
// a process of its own.
#pragma once

#include <functional>

#include "configuration.hpp"
#include "simulation.hpp"

namespace nestwalk::sim {

struct Replay {
  Statistics statistics;
  std::string ended_early;  ///< why; empty if it did not
  double host_seconds = 0;
};

/// Decides what `configuration` leaves to the trace, and runs. Once in a process. `prepare` gets
/// the simulation before it begins.
Replay replay(const std::string& trace, Configuration& configuration,
              const std::function<bool()>& interrupted,
              const std::function<void(addrspace::u64 accesses)>& progress,
              const std::function<void(Simulation&)>& prepare = {});

}  // namespace nestwalk::sim
