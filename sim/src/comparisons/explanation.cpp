// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/explanation.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "configuration/values.hpp"
#include "nestwalk/traces/reader.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

// ---- what differs ----

std::optional<Json> part_of(const Json& whole, const std::string& key) {
  if (whole.is_array()) {
    const std::size_t place = std::stoul(key);
    return place < whole.size() ? std::optional<Json>(whole[place]) : std::nullopt;
  }
  const auto found = whole.find(key);
  return found == whole.end() ? std::nullopt : std::optional<Json>(*found);
}

std::vector<std::string> keys_of(const Json& one, const Json& other) {
  std::vector<std::string> keys;
  if (one.is_array()) {
    for (std::size_t n = 0; n < std::max(one.size(), other.size()); ++n) {
      keys.push_back(std::to_string(n));
    }
    return keys;
  }
  for (const auto& [key, value] : one.items()) keys.push_back(key);
  for (const auto& [key, value] : other.items()) {
    if (!one.contains(key)) keys.push_back(key);
  }
  return keys;
}

bool has_parts(const Json& value) {
  return value.is_object() || (value.is_array() && !value.empty() && value[0].is_object());
}

void collect_changes(const std::optional<Json>& before, const std::optional<Json>& now,
                     const std::string& path, std::vector<ValueChange>& changes) {
  if (before == now || path == "machine.name") return;
  const bool has_both = before && now && has_parts(*before) && has_parts(*now);
  if (parameter_at(path) != nullptr || !has_both || before->type() != now->type()) {
    changes.push_back({path, before, now});
    return;
  }
  for (const std::string& key : keys_of(*before, *now)) {
    collect_changes(part_of(*before, key), part_of(*now, key),
                    path.empty() ? key : path + "." + key, changes);
  }
}

// What another version of the program had, or did not have yet.
bool can_be_set(const ValueChange& change) {
  if (change.path.starts_with("machine.")) return true;
  return parameter_at(change.path) != nullptr && change.before && change.now;
}

// ---- sets ----

std::vector<Things> divided(const Things& all, std::size_t parts) {
  std::vector<Things> result;
  for (std::size_t n = 0, begin = 0; n < parts; ++n) {
    const std::size_t end = begin + (all.size() - begin) / (parts - n);
    result.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(begin),
                        all.begin() + static_cast<std::ptrdiff_t>(end));
    begin = end;
  }
  return result;
}

Things without(const Things& all, const Things& some) {
  Things result;
  std::ranges::set_difference(all, some, std::back_inserter(result));
  return result;
}

Things numbered(std::size_t count) {
  Things all;
  for (std::size_t n = 0; n < count; ++n) all.push_back(n);
  return all;
}

// ---- runs ----

/// Runs in which some of the values are those of now, and all others those of before.
class PartialRuns {
 public:
  PartialRuns(Plan plan, std::vector<traces::Header> headers, Explanation& explanation,
              const ExplanationEffort& effort)
      : plan_(std::move(plan)),
        headers_(std::move(headers)),
        explanation_(explanation),
        effort_(effort) {}

  void know(const Things& now, const Json& statistics) { known_[now] = statistics; }
  /// Throws SearchEnded.
  void make(const std::vector<Things>& sets);
  /// Null if it cannot be, or is not known.
  const Json& statistics(const Things& now) const {
    static const Json kNone;
    const auto found = known_.find(now);
    return found == known_.end() ? kNone : found->second;
  }

 private:
  Plan plan_of(const Things& now) const;
  void refuse(const Things& now, const std::string& why) {
    known_[now] = Json();
    if (explanation_.refused++ == 0) explanation_.first_refused = why;
  }

  Plan plan_;
  std::vector<traces::Header> headers_;
  Explanation& explanation_;
  ExplanationEffort effort_;
  std::map<Things, Json> known_;
  Progress progress_;
};

Plan PartialRuns::plan_of(const Things& now) const {
  std::vector<Replacement> back;
  for (std::size_t n = 0; n < explanation_.changes.size(); ++n) {
    if (std::ranges::binary_search(now, n)) continue;
    back.push_back({explanation_.changes[n].path, explanation_.changes[n].before});
  }
  Plan plan = plan_;
  plan.directory.clear();
  plan.configuration.replace(back);
  (void)Configuration(plan.configuration).resolve(headers_);
  return plan;
}

void PartialRuns::make(const std::vector<Things>& sets) {
  std::vector<Things> wanted;
  std::vector<Plan> plans;
  for (const Things& set : sets) {
    if (known_.contains(set) || std::ranges::find(wanted, set) != wanted.end()) continue;
    try {
      plans.push_back(plan_of(set));
      wanted.push_back(set);
    } catch (...) {
      const Failure failure = current_failure();
      if (failure.code == kInternal) throw;
      refuse(set, failure.message);
    }
  }
  if (plans.empty()) return;
  if (!explanation_.ended_early.empty()) throw SearchEnded();
  if (explanation_.runs + plans.size() > effort_.most_runs) {
    explanation_.ended_early =
        "more than " + counted(effort_.most_runs, "run") + " would be needed";
    throw SearchEnded();
  }
  const std::vector<std::string> names(plans.size(), plan_.name);
  const std::vector<Case> cases = run_cases(
      names, [&](std::size_t n) { return std::move(plans[n]); }, effort_.at_a_time,
      [&](std::size_t ended) { progress_.runs(explanation_.runs + ended, 0); });
  const bool ended = interrupted();
  for (std::size_t n = 0; n < cases.size(); ++n) {
    if (is_whole(cases[n])) {
      known_[wanted[n]] = cases[n].statistics;
      ++explanation_.runs;
    } else if (!ended) {
      ++explanation_.runs;
      refuse(wanted[n], trouble_of(cases[n]));
    }
  }
  if (!ended) return;
  explanation_.ended_early = "interrupted";
  throw SearchEnded();
}

// ---- reasons ----

double number_in(const Json& statistics, const std::string& name) {
  const Json value = statistics.value(name, Json());
  return value.is_number() ? value.get<double>() : 0;  // runs leave out what is 0
}

class Reasons {
 public:
  Reasons(PartialRuns& runs, std::size_t count) : runs_(runs), all_(numbered(count)) {}

  /// As much as can be known.
  void find(Reason& reason) const;

 private:
  std::optional<double> share(const Things& set, const std::string& name) const {
    const Json& statistics = runs_.statistics(set);
    if (statistics.is_null()) return std::nullopt;
    const double none = number_in(runs_.statistics({}), name);
    return (number_in(statistics, name) - none) / (number_in(runs_.statistics(all_), name) - none);
  }
  bool explains(const Things& set, const std::string& name) const {
    const std::optional<double> part = share(set, name);
    return part && *part >= kLeastShare && *part <= 2 - kLeastShare;
  }

  PartialRuns& runs_;
  Things all_;
};

void Reasons::find(Reason& reason) const {
  const auto first_that_explains = [&](const std::vector<Things>& sets) {
    runs_.make(sets);
    const auto found = std::ranges::find_if(
        sets, [&](const Things& set) { return explains(set, reason.statistic); });
    return found == sets.end()
               ? std::nullopt
               : std::optional<std::size_t>(static_cast<std::size_t>(found - sets.begin()));
  };
  const Smallest smallest = smallest_of(all_.size(), first_that_explains);
  reason.values = smallest.things;
  reason.is_smallest = smallest.is_smallest;
  const Things rest = without(all_, reason.values);
  std::vector<Things> wanted = {rest};
  if (reason.values.size() > 1) {
    for (const std::size_t each : reason.values) wanted.push_back({each});
  }
  try {
    if (reason.is_smallest) runs_.make(wanted);
  } catch (const SearchEnded&) {
    reason.is_smallest = false;
  }
  reason.together = share(reason.values, reason.statistic);
  if (!rest.empty()) reason.others = share(rest, reason.statistic);
  for (std::size_t n = 1; n < wanted.size(); ++n) {
    reason.alone.push_back(share(wanted[n], reason.statistic));
  }
}

// ---- words ----

std::string percent_text(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", std::abs(share) < 5e-4 ? 0.0 : 100 * share);
  return text;
}

// "gives 5.0 %", or of several values "give".
std::string gives(const std::optional<double>& share, bool several = false) {
  if (share) return (several ? "give " : "gives ") + percent_text(*share);
  return several ? "are refused or were not run" : "is refused or was not run";
}

std::string value_text(const std::optional<Json>& value) {
  return value ? printable(value->dump()) : "none";
}

std::string change_text(const ValueChange& change) {
  return printable(change.path) + " " + value_text(change.before) + " -> " + value_text(change.now);
}

std::string number_text(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

bool by_values(const Reason& reason) { return !reason.values.empty(); }

// What is missing of 100 % when both sets are set alone.
std::string interaction_text(const std::vector<std::optional<double>>& parts, double whole) {
  double sum = 0;
  for (const std::optional<double>& part : parts) {
    if (!part) return "";
    sum += *part;
  }
  constexpr double kNegligible = 0.0005;
  if (std::abs(whole - sum) < kNegligible) return "";
  return "; " + percent_text(whole - sum) + " only together";
}

std::string set_text(const Explanation& explanation, const Reason& reason) {
  std::string text;
  for (const std::size_t n : reason.values) {
    text += (text.empty() ? "" : ", ") + change_text(explanation.changes[n]);
  }
  return text;
}

std::string sentence_of(const Explanation& explanation, const Reason& reason) {
  const std::size_t others = explanation.changes.size() - reason.values.size();
  std::string text;
  if (!by_values(reason)) {
    text = explanation.changes.empty() ? "" : "the values that differ make no difference";
  } else if (reason.values.size() == 1) {
    text = set_text(explanation, reason) +
           (others == 0 ? ", the only value that differs," : " alone") + " " +
           gives(reason.together) + " of the change";
  } else {
    text = counted(reason.values.size(), "value") + " together " + gives(reason.together, true) +
           " of the change: " + set_text(explanation, reason);
    for (std::size_t n = 0; n < reason.alone.size(); ++n) {
      text += "; " + printable(explanation.changes[reason.values[n]].path) + " alone " +
              gives(reason.alone[n]);
    }
    if (reason.together) text += interaction_text(reason.alone, *reason.together);
  }
  if (by_values(reason) && others != 0) {
    text += others == 1 ? "; the other value " : "; the other " + counted(others, "value") + " ";
    text += gives(reason.others, others != 1);
    if (reason.together) text += interaction_text({reason.together, reason.others}, 1);
  }
  if (!reason.is_smallest) text += "; whether fewer values do was not found";
  if (reason.by_program != 0) {
    char change[64];
    std::snprintf(change, sizeof change, "%+.15g", reason.by_program);
    text += std::string(text.empty() ? "" : "; ") +
            "with equal values the program (or the trace) makes " + change;
  }
  return text;
}

std::string explanation_text(const Explanation& explanation) {
  std::string text = "\nWhy " + printable(explanation.title);
  if (!explanation.why_not.empty()) text += ": " + explanation.why_not;
  if (explanation.why_not.empty()) {
    text += ", of " + counted(explanation.changes.size(), "value") + " that " +
            (explanation.changes.size() == 1 ? "differs" : "differ") + ":\n";
    for (const Reason& reason : explanation.reasons) {
      text += "\n- " + printable(reason.statistic) + " " + number_text(reason.before) + " -> " +
              number_text(reason.now) + ": " + sentence_of(explanation, reason);
    }
  }
  text += "\n";
  if (!explanation.left.empty()) {
    text += "\nNot set back, since not both programs have it:";
    for (const std::string& path : explanation.left) text += " " + printable(path);
    text += "\n";
  }
  if (explanation.refused != 0) {
    text += "\n" + counted(explanation.refused, "combination") + " of values " +
            (explanation.refused == 1 ? "was" : "were") +
            " refused and skipped, so that sets may be larger; the first: " +
            printable(explanation.first_refused) + "\n";
  }
  if (explanation.runs != 0)
    text += "\n" + counted(explanation.runs, "run") + " made to find this out.\n";
  if (!explanation.ended_early.empty())
    text += "\nNot finished: " + explanation.ended_early + ".\n";
  return text;
}

Json json_of(const std::optional<double>& share) { return share ? Json(*share) : Json(); }

Json json_of(const Explanation& explanation, const Reason& reason) {
  Json values = Json::array();
  for (std::size_t n = 0; n < reason.values.size(); ++n) {
    const ValueChange& change = explanation.changes[reason.values[n]];
    values.push_back({{"path", change.path},
                      {"before", change.before.value_or(Json())},
                      {"now", change.now.value_or(Json())},
                      {"share", json_of(reason.values.size() == 1 ? reason.together
                                        : n < reason.alone.size() ? reason.alone[n]
                                                                  : std::nullopt)}});
  }
  return {{"statistic", reason.statistic},
          {"before", reason.before},
          {"now", reason.now},
          {"by_program", reason.by_program},
          {"values", values},
          {"share", json_of(reason.together)},
          {"share_of_others", json_of(reason.others)},
          {"smallest", reason.is_smallest}};
}

}  // namespace

std::vector<ValueChange> value_changes(const Json& before, const Json& now) {
  std::vector<ValueChange> changes;
  collect_changes(before, now, "", changes);
  return changes;
}

Smallest smallest_of(
    std::size_t count,
    const std::function<std::optional<std::size_t>(const std::vector<Things>&)>& explains) {
  Things things = numbered(count);
  try {
    for (std::size_t parts = 2; things.size() > 1;) {
      parts = std::min(parts, things.size());
      std::vector<Things> sets = divided(things, parts);
      if (const auto found = explains(sets)) {
        things = sets[*found];
        parts = 2;
        continue;
      }
      if (parts > 2) {
        for (Things& set : sets) set = without(things, set);
        if (const auto found = explains(sets)) {
          things = sets[*found];
          --parts;
          continue;
        }
      }
      if (parts == things.size()) break;
      parts *= 2;
    }
  } catch (const SearchEnded&) {
    return {things, false};
  }
  return {things, true};
}

Explanation explain(const ExplanationWanted& wanted, const ExplanationEffort& effort) {
  Explanation explanation;
  explanation.title = wanted.title;
  explanation.run = wanted.now.name;
  if (wanted.statistics.empty()) {
    explanation.why_not = "no leading statistic differs";
    return explanation;
  }
  if (!wanted.before.is_object()) {
    explanation.why_not = "the baseline does not have its configuration; --update writes it";
    return explanation;
  }
  Plan now = wanted.now;
  const std::vector<traces::Header> headers = {
      traces::Reader(traces::open_source(now.trace)).header()};
  (void)now.configuration.resolve(headers);
  for (ValueChange& each : value_changes(document_of(wanted.before),
                                         document_of(values_of(now.configuration.document())))) {
    if (can_be_set(each)) {
      explanation.changes.push_back(std::move(each));
    } else {
      explanation.left.push_back(each.path);
    }
  }
  if (explanation.changes.empty()) {
    explanation.why_not =
        "no value of its configuration differs" +
        std::string(wanted.statistics_before.is_null() ? "" : ": the program did, or the trace");
    return explanation;
  }
  PartialRuns runs(std::move(now), headers, explanation, effort);
  const Things all = numbered(explanation.changes.size());
  runs.know(all, wanted.statistics_now);
  try {
    runs.make({{}});
  } catch (const SearchEnded&) {
    explanation.why_not = "its former configuration was not run";
    return explanation;
  }
  const Json none = runs.statistics({});
  if (none.is_null()) {
    explanation.why_not = "its former configuration cannot be run: " + explanation.first_refused;
    return explanation;
  }
  const Reasons reasons(runs, all.size());
  for (const std::string& name : wanted.statistics) {
    Reason reason;
    reason.statistic = name;
    reason.now = number_in(wanted.statistics_now, name);
    const double with_equal_program = number_in(none, name);
    reason.before = wanted.statistics_before.is_null() ? with_equal_program
                                                       : number_in(wanted.statistics_before, name);
    reason.by_program = with_equal_program - reason.before;
    if (with_equal_program != reason.now) reasons.find(reason);
    explanation.reasons.push_back(std::move(reason));
  }
  return explanation;
}

std::string as_text(const std::vector<Explanation>& explanations) {
  std::string text;
  for (const Explanation& each : explanations) text += explanation_text(each);
  return text;
}

Json as_json(const std::vector<Explanation>& explanations) {
  Json all = Json::array();
  for (const Explanation& each : explanations) {
    Json reasons = Json::array();
    for (const Reason& reason : each.reasons) reasons.push_back(json_of(each, reason));
    all.push_back({{"run", each.run},
                   {"why_not", each.why_not},
                   {"values", each.changes.size()},
                   {"not_set_back", each.left},
                   {"runs", each.runs},
                   {"refused", each.refused},
                   {"first_refused", each.first_refused},
                   {"ended_early", each.ended_early},
                   {"reasons", reasons}});
  }
  return all;
}

bool is_whole(const Explanation& explanation) { return explanation.ended_early.empty(); }

}  // namespace nestwalk::sim
