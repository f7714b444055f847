// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/cases.hpp"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "configuration/values.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "nestwalk/traces/error.hpp"
#include "program/children.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/run_files.hpp"
#include "results/sums.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {
namespace {

Case case_of(std::string name, Json statistics, std::string ended_early, std::string core = "",
             std::optional<UsedValues> values = {}) {
  const ExitCode code = ended_early.empty() ? kDone : kIncomplete;
  return {std::move(name), std::move(statistics), std::move(ended_early), "", code, std::move(core),
          values};
}

}  // namespace

const std::string* find_in(const RunOf& of, const std::string& key) {
  const auto found =
      std::find_if(of.begin(), of.end(), [&](const auto& each) { return each.first == key; });
  return found == of.end() ? nullptr : &found->second;
}

bool is_whole(const Case& run) { return run.failure.empty() && run.ended_early.empty(); }

std::string trouble_of(const Case& run) {
  return run.name +
         (run.failure.empty() ? " ended early: " + run.ended_early : " failed: " + run.failure);
}

void expect_whole(const Case& run) {
  if (!is_whole(run)) throw NoResult(run.exit_code, trouble_of(run));
}

const char* outcome_of(const Case& run) {
  if (!run.failure.empty()) return "failed";
  return is_whole(run) ? "whole" : "ended early";
}

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
  std::vector<std::string> names;
  std::vector<RunOf> of;
  for (const Plan& plan : plans) {
    names.push_back(plan.name);
    of.push_back(plan.of);
  }
  Progress progress;
  std::vector<Case> cases = run_cases(
      names, [&](std::size_t n) { return std::move(plans[n]); }, at_a_time,
      [&](std::size_t ended) { progress.runs(ended, names.size()); });
  for (std::size_t n = 0; n < cases.size(); ++n) cases[n].of = std::move(of[n]);
  return cases;
}

std::vector<Case> run_cases(const std::vector<std::string>& names,
                            const std::function<Plan(std::size_t)>& plan_of, unsigned at_a_time,
                            const std::function<void(std::size_t)>& progress) {
  std::vector<std::function<std::string()>> work;
  for (std::size_t n = 0; n < names.size(); ++n) {
    work.push_back([&plan_of, n] {
      Plan plan = plan_of(n);
      const Replay run = replay({plan.trace}, plan.configuration, [](addrspace::u64) {});
      if (!plan.directory.empty()) {
        RunDirectory(plan.directory, true)
            .write(files_of(run, plan.command, {plan.trace}, plan.configuration).texts);
      }
      return message_of(run, plan.configuration);
    });
  }
  std::vector<Case> cases;
  const std::vector<ChildResult> results = run_children(work, at_a_time, progress);
  for (std::size_t n = 0; n < names.size(); ++n) {
    const auto& [code, output] = results[n];
    if (code == kDone) {
      const Json json = Json::parse(output);
      cases.push_back(case_of(names[n], json["statistics"], json["ended_early"], json["core"],
                              used_values_from(json["values"])));
      cases.back().configuration = values_of(json["configuration"]);
    } else if (code == kIncomplete) {
      cases.push_back(case_of(names[n], Json::object(), output));
    } else {
      cases.push_back({names[n], Json::object(), "", output, code, "", {}});
    }
  }
  return cases;
}

Json read_json(const std::string& file, std::size_t most_bytes, const std::string& hint) {
  try {
    const std::string text = models::read_text(file, most_bytes);
    models::check_json(text, file);
    return Json::parse(text, nullptr, false);
  } catch (const models::TextError& error) {
    throw traces::InputError(file, error.problem() + "; " + hint);
  }
}

Json read_object(const std::string& file, std::size_t most_bytes, const std::string& hint) {
  Json json = read_json(file, most_bytes, hint);
  if (!json.is_object()) throw traces::InputError(file, "is not a JSON object; " + hint);
  return json;
}

void expect_format(const Json& json, const std::string& format, const std::string& file) {
  if (!json.contains("format") || json["format"] != format || !json.contains("version") ||
      json["version"] != 1) {
    throw traces::InputError(file, "is not a " + format + " of version 1");
  }
}

void expect_statistic(const std::string& name, const Json& value, const std::string& file) {
  if (value.is_number() && value.get<double>() >= 0) return;
  throw traces::InputError(
      file, name + ": expected a number that is not negative, found " + value.dump());
}

namespace {

// The same however a directory was typed: "../run/" is "../run".
std::string name_of(const std::string& directory) {
  const std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).string();
}

// Of all traces of a run, whole: files of one name may be different ones.
std::string paths_of(const Json& traces) {
  if (traces.is_string()) return printable(traces.get<std::string>());
  std::string text;
  for (const Json& each : traces) {
    text.append(text.empty() ? "" : ", ").append(printable(each.get<std::string>()));
  }
  return text;
}

// Older versions do not say it.
void expect_checksum(const std::string& directory, const Json& record, const std::string& name,
                     const Json& content, const std::string& file) {
  const Json checksum = checksum_of(content);
  if (record.value(name, checksum) == checksum) return;
  throw traces::InputError(
      directory + "/run.json",
      "is of another run than " + file + ", of which " + name + " would be " + checksum.dump());
}

// Null for what comes from elsewhere and has no configuration.
Json configuration_of_run(const std::string& directory) {
  const std::string file = directory + "/config.resolved.json";
  std::error_code none;
  if (!std::filesystem::exists(file, none)) return {};
  return read_object(file, models::kMostWrittenBytes, "nestwalk run -o writes it");
}

}  // namespace

Case read_case(const std::string& directory) { return read_case_files(directory).run; }

CaseFiles read_case_files(const std::string& directory) {
  const std::string hint = "nestwalk run -o writes it";
  const std::string file = directory + "/stats.json";
  Json stats = read_object(file, models::kMostResultBytes, hint);
  expect_format(stats, "nestwalk-stats", file);
  if (!stats.contains("statistics") || !stats["statistics"].is_object() ||
      stats["statistics"].empty()) {
    throw traces::InputError(file, "has no statistics");
  }
  for (const auto& [name, value] : stats["statistics"].items()) {
    expect_statistic(name, value, file);
  }
  if (const auto contradiction = contradiction_of(stats)) {
    throw traces::InputError(file, *contradiction);
  }
  Json record = read_object(directory + "/run.json", models::kMostResultBytes, hint);
  if (record.value("format", Json()) != "nestwalk-run") {
    throw traces::InputError(directory + "/run.json", "is not a nestwalk-run");
  }
  if (!record.contains("ended_early") || !record["ended_early"].is_string()) {
    throw traces::InputError(directory + "/run.json", "does not say whether the run ended early");
  }
  const Json& early = record["ended_early"];
  const Json complete = early == "";
  if (stats.value("ended_early", early) != early || stats.value("complete", complete) != complete ||
      record.value("complete", complete) != complete) {
    throw traces::InputError(directory + "/run.json",
                             "and stats.json do not agree whether the run ended early");
  }
  // Older versions do not say these.
  const Json core = stats.value("core", Json(""));
  if (!core.is_string()) {
    throw traces::InputError(file, "core: expected words, found " + core.dump());
  }
  const auto values = used_values_from(stats.value("values", Json()));
  if (stats.contains("values") && !values) {
    throw traces::InputError(file,
                             "values: expected how many were used, how many of these are "
                             "guesses, and how many of those have a range, found " +
                                 stats["values"].dump());
  }
  const Json traces = record.value("trace", Json(""));
  const bool all_words =
      std::all_of(traces.begin(), traces.end(), [](const Json& each) { return each.is_string(); });
  if (!traces.is_string() && !(traces.is_array() && all_words)) {
    throw traces::InputError(directory + "/run.json",
                             "trace: expected names of files, found " + traces.dump());
  }
  expect_checksum(directory, record, "stats_checksum", stats, "stats.json");
  // Older versions do not say it there.
  if (stats.contains("core") && record.value("core", core) != core) {
    throw traces::InputError(
        directory + "/run.json",
        "core: expected that of stats.json, " + core.dump() + ", found " + record["core"].dump());
  }
  Json configuration = configuration_of_run(directory);
  if (!configuration.is_null()) {
    expect_checksum(directory, record, "configuration_checksum", configuration,
                    "config.resolved.json");
  }
  const Json own = configuration.is_object() ? values_of(configuration) : Json();
  const Json seed = own.is_object() ? own.value("guest.seed", Json()) : Json();
  if (!seed.is_null() && record.value("seed", seed) != seed) {
    throw traces::InputError(directory + "/run.json",
                             "seed: expected that of config.resolved.json, " + seed.dump() +
                                 ", found " + record["seed"].dump());
  }
  const Json clock = own.is_object() ? own.value("machine.clock_mhz", Json()) : Json();
  if (!clock.is_null()) {
    const double mhz = clock.is_number() ? clock.get<double>() : 0;
    if (mhz <= 0) {
      throw traces::InputError(
          directory + "/config.resolved.json",
          "machine.clock_mhz: expected a number above 0, found " + clock.dump());
    }
    if (const auto contradiction = contradiction_of_clock(stats, mhz, "config.resolved.json")) {
      throw traces::InputError(file, *contradiction);
    }
  }
  Case found = case_of(printable(name_of(directory)), stats["statistics"], record["ended_early"],
                       core.get<std::string>(), values);
  found.configuration = own;
  found.of = {{"trace", paths_of(traces)}, {"directory", found.name}};
  return {std::move(found), std::move(configuration), std::move(stats), std::move(record)};
}

ExitCode report_trouble(const std::vector<Case>& cases) {
  ExitCode code = kDone;
  for (const Case& each : cases) {
    if (!is_whole(each)) warn(trouble_of(each));
    code = worse_of(code, each.exit_code);
  }
  return code;
}

}  // namespace nestwalk::sim
