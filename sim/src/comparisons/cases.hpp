// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Several runs and what came out of them: what `compare` and `gate` look at.
#pragma once

#include "configuration/configuration.hpp"
#include "program/command_line.hpp"
#include "results/statistics.hpp"

namespace nestwalk::sim {

/// What a run is of, in words: {"trace", "guest.nwt"}, {"preset", "zen4"}, {"policy", "lazy"}.
using RunOf = std::vector<std::pair<std::string, std::string>>;
/// Null if it does not say.
const std::string* find_in(const RunOf& of, const std::string& key);

/// A run to be made.
struct Plan {
  std::string name;
  std::string trace;
  Configuration configuration;
  RunOf of = {};
  std::string directory = {};  ///< where all of it is written, over what is there; empty: nowhere
  std::string command = {};    ///< for the record there
};

/// A run that was made.
struct Case {
  std::string name;
  Json statistics;           ///< by name
  std::string ended_early;   ///< why; empty if it did not: interrupted ones may lack statistics
  std::string failure = {};  ///< why there are no statistics; empty if there are
  ExitCode exit_code = kDone;
  std::string core = {};                  ///< its model in words; empty if that is not known
  std::optional<UsedValues> values = {};  ///< of the machine; nothing if that is not known
  RunOf of = {};
  Json configuration = {};  ///< values by path, as values_of() has them; null if they are not known
};

bool is_whole(const Case& run);
/// Of one that is not whole, in words.
std::string trouble_of(const Case& run);
/// Throws NoResult otherwise.
void expect_whole(const Case& run);
/// "whole", "failed" or "ended early".
const char* outcome_of(const Case& run);

/// Adds --jobs: how many runs are made at a time.
void declare_jobs(CommandLine& line);
unsigned jobs_of(const CommandLine& line);

/// Makes the runs, some at a time, each in a process of its own. A plan that cannot be run takes
/// nothing with it: its case says why.
std::vector<Case> run_cases(std::vector<Plan> plans, unsigned at_a_time);
/// The same for plans that are not kept: each is made where it is run. `progress` is told how many
/// runs are over.
std::vector<Case> run_cases(const std::vector<std::string>& names,
                            const std::function<Plan(std::size_t)>& plan_of, unsigned at_a_time,
                            const std::function<void(std::size_t ended)>& progress = {});
/// What `nestwalk run -o` wrote.
struct CaseFiles {
  Case run;
  Json configuration;  ///< config.resolved.json; null if there is none
  Json stats;          ///< stats.json
  Json record;         ///< run.json
};
CaseFiles read_case_files(const std::string& directory);
Case read_case(const std::string& directory);

/// Says on standard error what failed or ended early; the exit code of the worst.
ExitCode report_trouble(const std::vector<Case>& cases);

/// JSON from a file of so many bytes at most, discarded if it is none; a file that cannot be read
/// is an InputError.
Json read_json(const std::string& file, std::size_t most_bytes, const std::string& hint);
/// A JSON object from a file of so many bytes at most; anything else is an InputError.
Json read_object(const std::string& file, std::size_t most_bytes, const std::string& hint);
/// InputError, unless it says that it is this, of version 1.
void expect_format(const Json& json, const std::string& format, const std::string& file);
/// InputError, unless a statistic can have this value.
void expect_statistic(const std::string& name, const Json& value, const std::string& file);

}  // namespace nestwalk::sim
