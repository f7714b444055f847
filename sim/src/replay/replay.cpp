// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/replay.hpp"

#include <chrono>
#include <cstdio>
#include <map>
#include <stdexcept>

#include "nestwalk/models/base/hex.hpp"
#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/signals.hpp"
#include "replay/trace_stream.hpp"
#include "results/sums.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {

using models::hex;

namespace {

std::string text_of(const software::Disagreement& each) {
  const std::string where = "core " + std::to_string(each.core) + " access " +
                            std::to_string(each.access) + " at " + hex(each.address) + ": ";
  if (!each.found) {
    return where + "recorded at " + hex(each.recorded) + ", refused: " + each.what;
  }
  return where + each.what + " address recorded " + hex(each.recorded) + ", walked " +
         hex(*each.found);
}

struct TraceFile {
  std::string path;
  traces::Header header;
  std::map<addrspace::u32, std::vector<traces::IndexEntry>> blocks;
  std::shared_ptr<traces::SideRules> rules;
};

// A file that is damaged, as far as can be seen from its index, is refused before it is played.
TraceFile open_trace(const std::string& path) {
  traces::Reader reader(traces::open_seekable(path));
  auto blocks = traces::by_vcpu(reader.read_index());
  if (reader.index_damage()) throw *reader.index_damage();
  // Wherever they are: the header's format of page tables decides what can be translated, and the
  // registers of the begin have to say the same.
  reader.check_side_data();
  return {path, reader.header(), std::move(blocks), reader.side_rules()};
}

std::unique_ptr<traces::StreamReader> stream_of(const TraceFile& trace, addrspace::u32 vcpu) {
  const auto blocks = trace.blocks.find(vcpu);
  if (blocks == trace.blocks.end()) return nullptr;
  auto reader =
      std::make_unique<traces::StreamReader>(traces::open_seekable(trace.path), blocks->second);
  reader->judge_by(trace.rules);
  return reader;
}

software::GuestSource source_of(const TraceFile& trace, const software::VmShape& shape) {
  const auto roots = std::make_shared<std::vector<RecordedRoots>>();
  software::GuestSource source;
  const auto devices = std::make_shared<const Devices>(trace.path, shape.guest.mmio);
  source.load = [path = trace.path, roots, devices,
                 both = shape.replays_host()](software::ReplayedTables& tables) {
    *roots = recorded_begin(path, both, [&](bool nested, addrspace::u64 page, const auto& entries) {
      if (!nested) devices->expect_no_table(page);
      return tables.put(nested, page, entries);
    });
  };
  const bool physical = shape.guest.tables == software::GuestTables::None;
  const auto lacks = std::make_shared<traces::LackRules>(trace.header);
  source.open = [&trace, roots, physical, lacks, devices](addrspace::u32 vcpu) {
    std::optional<RecordedRoots> own;
    if (!roots->empty()) own = (*roots)[vcpu];
    return std::make_unique<TraceStream>(trace.path, stream_of(trace, vcpu), physical, lacks,
                                         devices, std::move(own));
  };
  return source;
}

// A header says what records may lack: that all of them do is no result.
void expect_addresses(Simulation& simulation, const std::vector<std::string>& traces) {
  for (const auto& vm : simulation.vms()) {
    if (vm->replayed() != nullptr) return;  // faults of what was recorded are a result
  }
  const addrspace::u64 left_out = simulation.totals().vcpus.untranslatable;
  if (left_out == 0 || simulation.accesses() != 0) return;
  throw traces::InputError(traces[0],
                           "expected accesses at addresses that can be translated, "
                           "found none among " +
                               std::to_string(left_out));
}

}  // namespace

Replay replay(const std::vector<std::string>& traces, Configuration& configuration,
              const std::function<void(addrspace::u64 accesses)>& progress,
              const std::function<void(Simulation&)>& prepare,
              const std::function<void()>& conclude) {
  std::vector<TraceFile> files;
  std::vector<traces::Header> headers;
  for (const std::string& trace : traces) {
    files.push_back(open_trace(trace));
    headers.push_back(files.back().header);
  }
  const RunShape shape = configuration.resolve(headers);
  std::vector<software::GuestSource> sources;
  for (std::size_t n = 0; n < traces.size(); ++n) {
    sources.push_back(source_of(files[n], shape.vms[n]));
  }
  Simulation simulation(shape, sources);
  if (prepare) prepare(simulation);
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  simulation.run(interrupted, progress);
  if (simulation.ended_early().empty() && shape.limit == 0) {
    expect_addresses(simulation, traces);
  }
  if (conclude) conclude();
  Statistics statistics = simulation.statistics();
  const UsedValues values = used_values_of(configuration.machine(), statistics);
  Replay run{shape.core(),
             values,
             std::move(statistics),
             simulation.histograms(),
             simulation.accesses(),
             simulation.ended_early(),
             std::chrono::duration<double>(Clock::now() - start).count(),
             {}};
  if (const auto contradiction = contradiction_of(as_json(run.statistics, run.histograms))) {
    throw std::logic_error("the sums do not close: " + *contradiction);
  }
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
