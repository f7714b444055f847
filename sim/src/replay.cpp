// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay.hpp"

#include <chrono>
#include <cstdio>

#include "nestwalk/traces/error.hpp"
#include "trace_stream.hpp"

namespace nestwalk::sim {

namespace {

std::string hex(addrspace::u64 value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string text_of(const software::Disagreement& each) {
  const std::string where = "core " + std::to_string(each.core) + " access " +
                            std::to_string(each.access) + " at " + hex(each.address) + ": ";
  if (!each.found) {
    return where + "recorded at " + hex(each.recorded) + ", refused: " + each.what;
  }
  return where + each.what + " address recorded " + hex(each.recorded) + ", walked " +
         hex(*each.found);
}

traces::Header header_of(const std::string& trace) {
  std::unique_ptr<traces::ByteSource> source = traces::open_source(trace);
  if (source->seekable_size() == 0) {
    throw traces::InputError(source->name(),
                             "is replayed, so it has to be a file, neither a pipe nor compressed");
  }
  return traces::Reader(std::move(source)).header();
}

GuestSource source_of(const std::string& trace, const VmShape& shape) {
  const auto roots = std::make_shared<std::vector<RecordedRoots>>();
  GuestSource source;
  source.load = [trace, roots, both = shape.replays_host](software::ReplayedTables& tables) {
    *roots =
        recorded_begin(trace, both, [&](bool nested, addrspace::u64 page, const auto& entries) {
          return tables.put(nested, page, entries);
        });
  };
  const bool physical = shape.guest.tables == software::GuestTables::None;
  source.open = [trace, roots, physical](addrspace::u32 vcpu) {
    std::optional<RecordedRoots> own;
    if (!roots->empty()) own = (*roots)[vcpu];
    return std::make_unique<TraceStream>(traces::open_source(trace), vcpu, physical,
                                         std::move(own));
  };
  return source;
}

}  // namespace

Replay replay(const std::vector<std::string>& traces, Configuration& configuration,
              const std::function<bool()>& interrupted,
              const std::function<void(addrspace::u64 accesses)>& progress,
              const std::function<void(Simulation&)>& prepare,
              const std::function<void()>& conclude) {
  std::vector<traces::Header> headers;
  for (const std::string& trace : traces) headers.push_back(header_of(trace));
  const RunShape shape = configuration.resolve(headers);
  std::vector<GuestSource> sources;
  for (std::size_t n = 0; n < traces.size(); ++n) {
    sources.push_back(source_of(traces[n], shape.vms[n]));
  }
  Simulation simulation(shape, sources);
  if (prepare) prepare(simulation);
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  simulation.run(interrupted, progress);
  if (conclude) conclude();
  Replay run{simulation.statistics(),
             simulation.histograms(),
             simulation.accesses(),
             simulation.ended_early(),
             std::chrono::duration<double>(Clock::now() - start).count(),
             {}};
  for (std::size_t n = 0; n < traces.size(); ++n) {
    if (const auto* const replayed = simulation.vms()[n]->replayed()) {
      for (const software::Disagreement& each : replayed->disagreements()) {
        run.disagreements.push_back(traces[n] + ": " + text_of(each));
      }
    }
  }
  return run;
}

}  // namespace nestwalk::sim
