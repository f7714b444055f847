// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which values of a configuration moved a statistic: the difference of two configurations is run in
// parts, by delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
// Input", 2002).
#pragma once

#include <functional>
#include <optional>

#include "comparisons/cases.hpp"

namespace nestwalk::sim {

/// Two configurations of one run.
struct ExplanationWanted {
  std::string title;  ///< "lazy changed"
  Plan now;
  Json before;  ///< values by path; null if they are not known
  /// Of the run that `before` is of; null: the program that runs is the one that made it.
  Json statistics_before;
  Json statistics_now;
  std::vector<std::string> statistics;  ///< that are to be explained
};

/// A value that differs.
struct ValueChange {
  std::string path;
  std::optional<Json> before;  ///< nothing: there was none
  std::optional<Json> now;
};
/// Those of two documents, each as deep as it can be set alone. A parameter is one value.
std::vector<ValueChange> value_changes(const Json& before, const Json& now);

/// Of one statistic. Shares are parts of the change that all values make, nothing where the
/// configuration is refused.
struct Reason {
  std::string statistic;
  double before = 0;  ///< of the run that is explained
  double now = 0;
  double by_program = 0;            ///< with equal values; the rest is the change of the values
  std::vector<std::size_t> values;  ///< the smallest set that was found: places in `changes`
  bool is_smallest = true;          ///< otherwise the search did not come to its end
  std::optional<double> together;
  std::vector<std::optional<double>> alone;  ///< of each of these, where there are several
  std::optional<double> others;              ///< of all others, without these
};

struct Explanation {
  std::string title;
  std::string run;
  std::string why_not;               ///< in a sentence; empty if there are reasons
  std::vector<ValueChange> changes;  ///< that were tried
  std::vector<std::string> left;     ///< paths that this program cannot set back
  std::vector<Reason> reasons;
  std::size_t runs = 0;
  std::size_t refused = 0;  ///< parts that are no configuration, and were skipped
  std::string first_refused;
  std::string ended_early;  ///< why; empty if it did not
};

/// A set explains a change if it gives that much of it, and no more than as much above it.
inline constexpr double kLeastShare = 0.95;

/// Of sets of `count` things, a smallest one that `explains`: without any one of its elements (or
/// parts, while it is large) it does not. All of them do. `explains` gets several sets to judge at
/// once, and gives the first that does; it throws SearchEnded when no more can be tried.
using Things = std::vector<std::size_t>;
struct SearchEnded {};
struct Smallest {
  Things things;
  bool is_smallest;
};
Smallest smallest_of(
    std::size_t count,
    const std::function<std::optional<std::size_t>(const std::vector<Things>&)>& explains);

inline constexpr std::size_t kMostRuns = 200;
/// At most so many runs, some at a time.
struct ExplanationEffort {
  unsigned at_a_time;
  std::size_t most_runs;
};
Explanation explain(const ExplanationWanted& wanted, const ExplanationEffort& effort);

/// Lines that are Markdown, too.
std::string as_text(const std::vector<Explanation>& explanations);
Json as_json(const std::vector<Explanation>& explanations);
bool is_whole(const Explanation& explanation);

}  // namespace nestwalk::sim
