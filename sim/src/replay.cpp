// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay.hpp"

#include <chrono>

#include "nestwalk/traces/error.hpp"
#include "simulation.hpp"
#include "trace_stream.hpp"

namespace nestwalk::sim {

Replay replay(const std::string& trace, Configuration& configuration,
              const std::function<bool()>& interrupted,
              const std::function<void(addrspace::u64 accesses)>& progress,
              checker::Events* checker) {
  std::unique_ptr<traces::ByteSource> source = traces::open_source(trace);
  if (source->seekable_size() == 0) {
    throw traces::InputError(source->name(),
                             "is replayed, so it has to be a file, neither a pipe nor compressed");
  }
  const traces::Header header = traces::Reader(std::move(source)).header();
  const RunShape shape = configuration.resolve(header);
  const bool physical = shape.guest.tables == software::GuestTables::None;
  Simulation simulation(shape, header.vcpus, [&](addrspace::u32 vcpu) {
    return std::make_unique<TraceStream>(traces::open_source(trace), vcpu, physical);
  });
  if (checker != nullptr) simulation.check(*checker);
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  simulation.run(interrupted, progress);
  return {simulation.statistics(), simulation.ended_early(),
          std::chrono::duration<double>(Clock::now() - start).count()};
}

}  // namespace nestwalk::sim
