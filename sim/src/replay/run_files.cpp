// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/run_files.hpp"

#include <sys/utsname.h>

#include <thread>

#include "results/used_values.hpp"

namespace nestwalk::sim {
namespace {

Json host() {
  utsname system{};
  uname(&system);
  return {{"system", std::string(system.sysname) + " " + system.release},
          {"machine", system.machine},
          {"processors", std::thread::hardware_concurrency()}};
}

double rate_of(const Replay& run) {
  return run.host_seconds > 0 ? static_cast<double>(run.accesses) / run.host_seconds : 0;
}

}  // namespace

RunFiles files_of(const Replay& run, const std::string& command,
                  const std::vector<std::string>& traces, const Configuration& configuration) {
  const Json stats = as_json(run.statistics, run.histograms, run.core, run.values, run.ended_early);
  const Json record = {{"format", "nestwalk-run"},
                       {"version", NESTWALK_VERSION},
                       {"command", command},
                       {"trace", traces.size() == 1 ? Json(traces[0]) : Json(traces)},
                       {"core", run.core},
                       {"seed", configuration.value_at("guest.seed")},
                       {"instead_of_auto", configuration.instead_of_auto()},
                       {"complete", run.ended_early.empty()},
                       {"ended_early", run.ended_early},
                       {"stats_checksum", checksum_of(stats)},
                       {"configuration_checksum", checksum_of(configuration.document())},
                       {"host", host()},
                       {"host_seconds", run.host_seconds},
                       {"accesses_per_host_second", rate_of(run)}};
  Summary summary = summary_of({configuration.document(), stats, record});
  const std::string text = as_comments(summary) + as_text(run.statistics);
  return {
      {json_document(configuration.document()), json_document(stats), text, json_document(record)},
      std::move(summary)};
}

std::string message_of(const Replay& run, const Configuration& configuration) {
  return json_document({{"statistics", as_json(run.statistics)["statistics"]},
                        {"core", run.core},
                        {"values", as_json(run.values)},
                        {"configuration", configuration.document()},
                        {"ended_early", run.ended_early},
                        {"host_seconds", run.host_seconds}});
}

}  // namespace nestwalk::sim
