// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A trace and a configuration make a run. `nestwalk run` does one, `nestwalk compare` many, each in
// a process of its own.
#pragma once

#include <functional>

#include "configuration.hpp"
#include "nestwalk/checker/events.hpp"
#include "statistics.hpp"

namespace nestwalk::sim {

struct Replay {
  Statistics statistics;
  std::string ended_early;  ///< why; empty if it did not
  double host_seconds = 0;
};

/// With `checker`: it is told what there is to know about fences.
/// Decides what `configuration` leaves to the trace, and runs. Once in a process.
Replay replay(const std::string& trace, Configuration& configuration,
              const std::function<bool()>& interrupted,
              const std::function<void(addrspace::u64 accesses)>& progress,
              checker::Events* checker = nullptr);

}  // namespace nestwalk::sim
