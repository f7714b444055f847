// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `gate` says of runs that are not as a baseline has them: what matters first.
#pragma once

#include "comparisons/explanation.hpp"
#include "comparisons/suite.hpp"

namespace nestwalk::sim {

/// What is not as it was.
struct Change {
  std::string run;
  std::string statistic;
  std::string before;
  std::string now;
  double percent;  ///< infinite for what was 0, not a number for what appeared or vanished
  Verdict verdict = Verdict::None;
};

/// A value of a configuration that is not as it was; empty where there is none.
struct ConfigurationChange {
  std::string run;
  std::string path;
  std::string before;
  std::string now;
};

struct GateReport {
  std::vector<std::string> runs;
  std::vector<Change> headline;  ///< of the statistics that the suite names, the worst first
  std::vector<Change> others;    ///< likewise
  std::vector<ConfigurationChange> configurations;
  std::vector<Explanation> explanations;  ///< of runs that changed, where they were asked for
  std::size_t missing = 0;                ///< runs of the baseline that are not there

  bool passed() const { return headline.empty() && others.empty(); }
  bool has_changed(const std::string& run) const;
};

struct Judged {
  const std::vector<Case>& now;
  const Baseline& before;
  const Json& tolerances;  ///< in percent, by statistic or pattern
  const Headline& headline;
  bool whole = true;  ///< every run of the baseline has to be there
};
GateReport judge(const Judged& work);
/// Of this statistic: that of its name, or else of the last pattern that has it; 0 if there is
/// none.
double tolerance_of(const std::string& statistic, const Json& tolerances);

/// `all`: the other statistics as well, not only how many they are.
std::string as_text(const GateReport& report, bool all);
/// For a pull request: the other statistics are folded.
std::string as_markdown(const GateReport& report);
/// JUnit's XML: a test case for each run.
std::string as_junit(const GateReport& report);
/// A line for each run that changed, as GitHub's workflows take them.
std::string as_annotations(const GateReport& report);
Json as_json(const GateReport& report);

}  // namespace nestwalk::sim
