// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/sweep.hpp"

#include <algorithm>
#include <fstream>
#include <set>

#include "nestwalk/models/base/digest.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/children.hpp"
#include "program/progress.hpp"
#include "program/signals.hpp"
#include "replay/run_files.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {

std::string digest_of_trace(const std::string& file) {
  const auto source = traces::open_seekable(file);
  if (source->seekable_size() == 0) {
    throw traces::InputError(source->name(),
                             "is replayed, so it has to be a file, neither a pipe nor compressed");
  }
  traces::SectionReader reader(*source, {});
  models::Digest digest;
  for (traces::Section section; reader.next_head(section, 0);) {
    digest.add(std::to_string(section.type) + " " + std::to_string(section.payload_bytes) + " " +
               std::to_string(section.payload_checksum) + "\n");
  }
  return digest.text();
}

std::string digest_of_build() {
  std::ifstream program("/proc/self/exe", std::ios::binary);
  models::Digest digest;
  std::string part(std::size_t{1} << 20, '\0');
  while (program.read(part.data(), static_cast<std::streamsize>(part.size())) ||
         program.gcount() != 0) {
    digest.add(std::string_view(part).substr(0, static_cast<std::size_t>(program.gcount())));
  }
  return digest.text();
}

Sweep::Sweep(const SweepPoints& points) : points_(points), build_(digest_of_build()) {
  for (const std::string& trace : points.spec().traces) {
    if (traces_.count(trace) != 0) continue;
    traces_[trace] = {traces::Reader(traces::open_seekable(trace)).header(),
                      digest_of_trace(trace)};
  }
  std::optional<Failure> first;
  for (std::size_t n = 0; n < points.size(); ++n) {
    const Prepared point = prepare(n);
    if (point.configuration) return;
    if (!first) first = point.failure;
  }
  if (first->code == kUsage) throw UsageError(first->message);
  throw NoResult(first->code, first->message);
}

Sweep::Prepared Sweep::prepare(std::size_t number) const {
  const SweepPoint point = points_.at(number);
  const Trace& trace = traces_.at(point.trace);
  Prepared prepared;
  models::Digest digest;
  digest.add(NESTWALK_VERSION "\n").add(trace.digest + "\n");
  try {
    prepared.configuration = points_.configuration_of(point);
    Configuration resolved = *prepared.configuration;
    (void)resolved.resolve({trace.header});
    digest.add(resolved.document().dump());
  } catch (...) {
    prepared.failure = current_failure();
    if (prepared.failure.code == kInternal) throw;
    prepared.configuration.reset();
    digest.add("failed\n" + point.preset + "\n" + point.policy + "\n");
    digest.add(name_of(point, points_.spec()) + "\n" + prepared.failure.message);
  }
  prepared.key = {digest.text(), build_};
  return prepared;
}

void Sweep::plan(ResultsFile& results, const Shard& shard, bool any_build,
                 const std::vector<std::unique_ptr<ResultsFile>>& elsewhere) {
  outcome_ = {};
  open_.clear();
  Transaction all = results.transaction();
  std::set<std::string> keys;
  for (std::size_t n = 0; n < points_.size(); ++n) {
    const RunKey key = prepare(n).key;
    results.put_key(points_.spec().name, n, key.key);
    const bool is_first = keys.insert(key.key).second;
    const bool is_known = results.find(key, any_build).has_value() ||
                          std::any_of(elsewhere.begin(), elsewhere.end(), [&](const auto& each) {
                            return each->find(key, any_build).has_value();
                          });
    // Equal points are one run, in the shard of the first.
    const bool is_ours = n % shard.of == shard.number;
    outcome_.there += is_ours && is_known;
    if (is_known || !is_first || !is_ours) continue;
    open_.push_back({n, key});
    if (results.of_other_builds(key) != 0) ++outcome_.other_build;
  }
  results.link(points_.spec().name, any_build ? "" : build_);
  all.commit();
}

FinishedRun Sweep::finished(const Open& open, const ChildResult& result) const {
  FinishedRun run;
  run.key = open.key;
  run.trace = points_.at(open.point).trace;
  run.trace_digest = traces_.at(run.trace).digest;
  run.statistics = Json::object();
  run.exit_code = result.code;
  if (result.code != kDone) {
    run.reason = result.output;
    return run;
  }
  const Json json = Json::parse(result.output);
  run.reason = json["ended_early"].get<std::string>();
  run.state = run.reason.empty() ? RunState::Done : RunState::EndedEarly;
  run.core = json["core"].get<std::string>();
  run.values = used_values_from(json["values"]).value_or(UsedValues{});
  run.configuration = json["configuration"];
  run.statistics = json["statistics"];
  run.host_seconds = json["host_seconds"].get<double>();
  return run;
}

void Sweep::run(ResultsFile& results, unsigned at_a_time) {
  Progress progress;
  run_children(
      open_.size(),
      [&](std::size_t n) {
        const Prepared point = prepare(open_[n].point);
        if (!point.configuration) throw NoResult(point.failure.code, point.failure.message);
        Configuration configuration = *point.configuration;
        const std::string trace = points_.at(open_[n].point).trace;
        const Replay run = replay({trace}, configuration, [](addrspace::u64) {});
        return message_of(run, configuration);
      },
      at_a_time,
      [&](std::size_t n, const ChildResult& result) {
        const FinishedRun run = finished(open_[n], result);
        // An interrupted run is none, whoever was interrupted: the point stays open.
        if (run.state != RunState::Done && (interrupted() || run.reason == kInterrupted)) return;
        Transaction all = results.transaction();
        results.link(run.key.key, results.put_run(run));
        all.commit();
        ++outcome_.made;
        progress.runs(outcome_.made, open_.size());
      });
  outcome_.interrupted = outcome_.made < open_.size();
}

}  // namespace nestwalk::sim
