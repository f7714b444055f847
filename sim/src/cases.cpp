// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "cases.hpp"

#include <algorithm>
#include <fstream>
#include <thread>

#include "children.hpp"
#include "nestwalk/traces/error.hpp"
#include "replay.hpp"

namespace nestwalk::sim {

void declare_jobs(CommandLine& line) {
  line.option("jobs,j",
              po::value<unsigned>()
                  ->default_value(std::max(1u, std::thread::hardware_concurrency()),
                                  "one for each processor")
                  ->value_name("N"),
              "runs at a time");
}

unsigned jobs_of(const CommandLine& line) { return std::max(1u, line.get<unsigned>("jobs")); }

std::vector<Case> run_cases(std::vector<Plan> plans, unsigned at_a_time) {
  std::vector<std::function<std::string()>> work;
  for (Plan& plan : plans) {
    work.push_back([&plan] {
      const Replay run = replay(
          plan.trace, plan.configuration, [] { return false; }, [](addrspace::u64) {});
      return Json{{"statistics", as_json(run.statistics)["statistics"]},
                  {"ended_early", run.ended_early}}
          .dump();
    });
  }
  std::vector<Case> cases;
  const std::vector<ChildResult> results = run_children(work, at_a_time);
  for (std::size_t n = 0; n < plans.size(); ++n) {
    if (results[n].bad_input) throw traces::InputError(plans[n].name, results[n].output);
    if (results[n].failed) throw UsageError(plans[n].name + ": " + results[n].output);
    const Json json = Json::parse(results[n].output);
    cases.push_back({plans[n].name, json["statistics"], json["ended_early"]});
  }
  return cases;
}

Json read_object(const std::string& file, const std::string& hint) {
  std::ifstream in(file);
  if (!in) throw traces::InputError(file, "cannot be read; " + hint);
  Json json = Json::parse(in, nullptr, false);
  if (!json.is_object()) throw traces::InputError(file, "is not a JSON object; " + hint);
  return json;
}

Case read_case(const std::string& directory) {
  const std::string hint = "nestwalk run -o writes it";
  const Json stats = read_object(directory + "/stats.json", hint);
  if (!stats.contains("statistics") || !stats["statistics"].is_object()) {
    throw traces::InputError(directory + "/stats.json", "has no statistics");
  }
  const Json record = read_object(directory + "/run.json", hint);
  return {directory, stats["statistics"], record.value("ended_early", "")};
}

}  // namespace nestwalk::sim
