// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/sure.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "program/progress.hpp"
#include "program/signals.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {

using addrspace::u64;

namespace {

constexpr const char* kTime = "time.cycles";
/// Of two machines, cycles say nothing.
constexpr const char* kTimeByTheClock = "time.ns";

// ---- runs ----

Sure::Machine drawn(const SureWanted::Machine& wanted, unsigned draws, u64 seed) {
  Sure::Machine machine{wanted.name, guesses_of(wanted.configuration), {}};
  std::vector<Configuration> machines;
  for (const Plan& plan : wanted.policies) machines.push_back(plan.configuration);
  const std::vector<Guess>& guesses = machine.guesses.varied;
  std::vector<std::vector<u64>> places;
  for (const Guess& guess : guesses) {
    machine.varied.push_back({guess, {}, {}});
    places.push_back(places_of(wanted.name, guess, draws, seed));
  }
  for (unsigned draw = 0; draw < draws; ++draw) {
    std::vector<u64> values;
    for (std::size_t n = 0; n < places.size(); ++n) {
      values.push_back(value_at(guesses[n], places[n][draw], draws * kStratumParts));
    }
    values = permitted_values(guesses, values, wanted.configuration, machines);
    for (std::size_t n = 0; n < values.size(); ++n) machine.varied[n].values.push_back(values[n]);
  }
  return machine;
}

Plan plan_of_draw(Plan plan, const Sure::Machine& machine, const Configuration& before,
                  unsigned draw) {
  std::vector<VariedNumber> numbers;
  for (const Sure::Varied& each : machine.varied) {
    numbers.push_back({each.guess.path, each.values[draw]});
  }
  plan.configuration.vary_machine(numbers, before);
  return plan;
}

/// The runs of the presets themselves, then those of each draw.
class DrawnRuns {
 public:
  DrawnRuns(const SureWanted& wanted, const std::vector<Sure::Machine>& machines) {
    for (std::size_t n = 0; n < machines.size(); ++n) {
      for (const Plan& plan : wanted.machines[n].policies) each_.push_back({plan, n});
    }
    for (unsigned draw = 0; draw <= wanted.draws; ++draw) {
      for (const auto& [plan, machine] : each_) {
        names_.push_back(draw == 0 ? plan.name : plan.name + ", draw " + std::to_string(draw));
      }
    }
    plan_of_ = [this, &wanted, &machines](std::size_t n) {
      const auto& [plan, machine] = each_[n % each_.size()];
      const auto draw = static_cast<unsigned>(n / each_.size());
      return draw == 0 ? plan
                       : plan_of_draw(plan, machines[machine],
                                      wanted.machines[machine].configuration, draw - 1);
    };
  }

  std::size_t count() const { return each_.size(); }
  std::size_t machine_of(std::size_t n) const { return each_[n].second; }

  std::vector<Case> run(unsigned at_a_time) const {
    Progress progress;
    return run_cases(names_, plan_of_, at_a_time,
                     [&](std::size_t ended) { progress.runs(ended, names_.size()); });
  }

 private:
  std::vector<std::pair<Plan, std::size_t>> each_;
  std::vector<std::string> names_;
  std::function<Plan(std::size_t)> plan_of_;
};

// A draw without a result is no smaller number of draws.
void expect_all_whole(const std::vector<Case>& cases, std::size_t own) {
  const auto broken =
      std::ranges::count_if(cases, [](const Case& each) { return !is_whole(each); });
  if (broken == 0) return;
  if (interrupted()) {
    const auto whole = static_cast<std::ptrdiff_t>(cases.size()) - broken;
    throw NoResult(kIncomplete, "interrupted after " + std::to_string(whole) + " of " +
                                    std::to_string(cases.size()) + " runs");
  }
  for (std::size_t n = 0; n < own; ++n) expect_whole(cases[n]);
  const Case& first =
      *std::ranges::find_if(cases, [](const Case& each) { return !is_whole(each); });
  throw NoResult(kIncomplete,
                 std::to_string(broken) + " of " + std::to_string(cases.size()) +
                     " runs have no result, so there is none; the first: " + trouble_of(first));
}

// ---- what they say ----

/// Values by run and draw, of what was run.
class Values {
 public:
  Values(const std::vector<Case>& cases, std::size_t count, unsigned draws)
      : cases_(cases), count_(count), draws_(draws) {}

  double own(std::size_t run, const std::string& name) const { return at(run, 0, name); }
  std::vector<double> drawn(std::size_t run, const std::string& name) const {
    std::vector<double> values;
    for (unsigned draw = 1; draw <= draws_; ++draw) values.push_back(at(run, draw, name));
    return values;
  }
  /// Of a statistic that is a fraction, all values are, whole ones too.
  bool is_count(const std::string& name) const {
    return std::ranges::none_of(cases_, [&](const Case& each) {
      return each.statistics.value(name, Json()).is_number_float();
    });
  }
  /// Of all runs, in the order in which they come.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    std::set<std::string> known;
    for (const Case& each : cases_) {
      for (const auto& [name, value] : each.statistics.items()) {
        if (known.insert(name).second) names.push_back(name);
      }
    }
    return names;
  }

 private:
  // Statistics that a run leaves out are 0.
  double at(std::size_t run, unsigned draw, const std::string& name) const {
    return cases_[draw * count_ + run].statistics.value(name, 0.0);
  }

  const std::vector<Case>& cases_;
  std::size_t count_;
  unsigned draws_;
};

double ratio_of(double more, double less) { return more == less ? 1 : more / std::max(less, 1.0); }

std::vector<double> ratios_of(const std::vector<double>& more, const std::vector<double>& less) {
  std::vector<double> ratios;
  for (std::size_t n = 0; n < more.size(); ++n) ratios.push_back(ratio_of(more[n], less[n]));
  return ratios;
}

Sure::Order order_of(const Values& values, std::size_t one, std::size_t other,
                     const char* statistic) {
  if (values.own(other, statistic) < values.own(one, statistic)) std::swap(one, other);
  const double less = values.own(one, statistic), more = values.own(other, statistic);
  const std::vector<double> ratios =
      ratios_of(values.drawn(other, statistic), values.drawn(one, statistic));
  const bool is_tie = less == more;
  const auto holds =
      std::ranges::count_if(ratios, [&](double ratio) { return is_tie ? ratio == 1 : ratio > 1; });
  return {one,
          other,
          is_tie,
          statistic,
          static_cast<unsigned>(holds),
          spread_of(ratio_of(more, less), ratios)};
}

// Policies of a machine, and machines under a policy.
std::vector<Sure::Order> orders_of(const Values& values, std::size_t machines,
                                   std::size_t policies) {
  std::vector<Sure::Order> orders;
  for (std::size_t n = 0; n < machines * policies; ++n) {
    for (std::size_t m = n + 1; m < machines * policies; ++m) {
      if (n / policies == m / policies) {
        orders.push_back(order_of(values, n, m, kTime));
      } else if (n % policies == m % policies) {
        orders.push_back(order_of(values, n, m, kTimeByTheClock));
      }
    }
  }
  return orders;
}

std::string ratio_name(const Sure& found, const Sure::Order& order) {
  return found.runs[order.more].own.name + " : " + found.runs[order.less].own.name;
}

std::vector<Sure::Effect> effects_of(const Sure& found, const Values& values) {
  std::vector<Sure::Effect> effects;
  for (std::size_t n = 0; n < found.runs.size(); ++n) {
    const Sure::Runs& run = found.runs[n];
    effects.push_back(
        {std::string(kTime) + " of " + run.own.name, values.drawn(n, kTime), {run.machine}});
  }
  for (const Sure::Order& order : found.orders) {
    effects.push_back({ratio_name(found, order),
                       ratios_of(values.drawn(order.more, order.statistic),
                                 values.drawn(order.less, order.statistic)),
                       {found.runs[order.more].machine, found.runs[order.less].machine}});
  }
  return effects;
}

void correlate(Sure& found) {
  for (std::size_t n = 0; n < found.machines.size(); ++n) {
    for (Sure::Varied& varied : found.machines[n].varied) {
      const std::vector<double> values(varied.values.begin(), varied.values.end());
      for (const Sure::Effect& effect : found.effects) {
        const bool may = std::ranges::find(effect.machines, n) != effect.machines.end();
        varied.correlations.push_back(may ? rank_correlation(values, effect.values)
                                          : std::numeric_limits<double>::quiet_NaN());
      }
    }
  }
}

// ---- output ----

// Not more than what is the same on every host.
double rounded(double value) { return std::round(value * 1e4) / 1e4; }

Json number_of(double value, bool is_count) {
  return is_count ? Json(static_cast<u64>(value)) : Json(value);
}

Json json_of(const Spread& spread, bool is_count) {
  return {
      {"preset", number_of(spread.own, is_count)}, {"least", number_of(spread.least, is_count)},
      {"p5", number_of(spread.p5, is_count)},      {"median", number_of(spread.median, is_count)},
      {"p95", number_of(spread.p95, is_count)},    {"most", number_of(spread.most, is_count)}};
}

const char* range_name(const Guess& guess) {
  return guess.has_own_range ? "preset" : "half to twice";
}

Json json_of(const Sure& found, const Sure::Machine& machine) {
  Json varied = Json::array();
  for (const Sure::Varied& each : machine.varied) {
    Json correlations = Json::object();
    for (std::size_t n = 0; n < found.effects.size(); ++n) {
      if (std::isnan(each.correlations[n])) continue;
      correlations[found.effects[n].name] = rounded(each.correlations[n]);
    }
    varied.push_back({{"path", each.guess.path},
                      {"value", each.guess.value},
                      {"least", each.guess.least},
                      {"most", each.guess.most},
                      {"range", range_name(each.guess)},
                      {"rank_correlations", correlations}});
  }
  const Guesses& guesses = machine.guesses;
  return {{"name", machine.name},
          {"guesses", guesses.total()},
          {"with_range", guesses.with_range()},
          {"half_to_twice", guesses.varied.size() - guesses.with_range()},
          {"not_varied",
           {{"words", guesses.words}, {"zeros", guesses.zeros}, {"of_user", guesses.of_user}}},
          {"varied", varied}};
}

std::string number_text(double value, bool is_count) { return text_of(number_of(value, is_count)); }

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// Those that there are, with commas between them.
std::string listed(const std::vector<std::pair<std::size_t, std::string>>& counts) {
  std::string text;
  for (const auto& [count, words] : counts) {
    if (count == 0) continue;
    text += (text.empty() ? "" : ", ") + words;
  }
  return text;
}

std::string guesses_text(const Sure& found, const Sure::Machine& machine) {
  const Guesses& guesses = machine.guesses;
  const std::size_t with_range = guesses.with_range();
  const std::size_t without = guesses.varied.size() - with_range;
  const std::string name = printable(machine.name);
  if (guesses.total() == 0) return name + " has no guesses\n";
  std::string text = "no guess of " + name + " is varied";
  if (!guesses.varied.empty()) {
    text = counted(found.draws, "draw") + (found.draws == 1 ? " varies " : " vary ") +
           std::to_string(guesses.varied.size()) + " of " + name + "'s " +
           counted(guesses.total(), "guess", "es") + " (" +
           listed({{with_range, std::to_string(with_range) + " within the preset's range"},
                   {without, std::to_string(without) + " from half to twice the value"}}) +
           ")";
  }
  const std::string stay =
      listed({{guesses.words, counted(guesses.words, "word")},
              {guesses.zeros, std::to_string(guesses.zeros) + " of value 0"},
              {guesses.of_user, std::to_string(guesses.of_user) + " set by the user"}});
  if (!stay.empty()) text += (guesses.varied.empty() ? ": " : "; not varied: ") + stay;
  return text + "\n";
}

// With more than two digits where two would say that times are the same which are not.
std::string range_text(const Spread& ratio) {
  const auto says_too_little = [&](int digits) {
    const std::string least = fixed(ratio.least, digits), most = fixed(ratio.most, digits);
    const std::string same = fixed(1, digits);
    return (least == same && ratio.least != 1) || (most == same && ratio.most != 1) ||
           (least == most && ratio.least != ratio.most);
  };
  int digits = 2;
  while (digits < 9 && says_too_little(digits)) ++digits;
  std::string text = fixed(ratio.least, digits);
  if (ratio.least != ratio.most) text += " to " + fixed(ratio.most, digits);
  return text;
}

std::string sentence_of(const Sure& found, const Sure::Order& order) {
  const std::string less = printable(found.runs[order.less].own.name);
  const std::string more = printable(found.runs[order.more].own.name);
  const std::string text = order.is_tie ? less + " and " + more + " take the same time"
                                        : less + " takes less time than " + more;
  return text + " in " + std::to_string(order.holds) + " of " + counted(found.draws, "draw") +
         ": " + more + " takes " + range_text(order.ratio) + " times as long (" + order.statistic +
         ")\n";
}

Table statistics_table(const Sure& found) {
  Table table = {{"statistic"}};
  for (const Sure::Runs& run : found.runs) {
    for (const std::string& column :
         {run.own.name, std::string("least"), std::string("median"), std::string("most")}) {
      table[0].push_back({column});
    }
  }
  for (std::size_t row = 0; row < found.runs[0].statistics.size(); ++row) {
    table.push_back({{found.runs[0].statistics[row].name}});
    for (const Sure::Runs& run : found.runs) {
      const auto& [name, is_count, spread] = run.statistics[row];
      for (const double value : {spread.own, spread.least, spread.median, spread.most}) {
        table.back().push_back({number_text(value, is_count)});
      }
    }
  }
  return table;
}

// Those of a machine that are shown: the time of its first run, and the first ratio that it is in.
std::vector<std::size_t> shown_effects(const Sure& found, std::size_t machine) {
  std::vector<std::size_t> shown;
  for (std::size_t n = 0; n < found.effects.size(); ++n) {
    const bool is_ratio = n >= found.runs.size();
    if (shown.size() != (is_ratio ? 1u : 0u)) continue;
    const auto& machines = found.effects[n].machines;
    if (std::ranges::find(machines, machine) != machines.end()) shown.push_back(n);
  }
  return shown;
}

constexpr std::size_t kMostShown = 8;

// The guesses that go with an effect, if any does, from the one that goes with it most.
std::vector<const Sure::Varied*> top_of(const Sure& found, const Sure::Machine& machine,
                                        const std::vector<std::size_t>& effects) {
  const auto weight = [&](const Sure::Varied* each) {
    double most = 0;
    for (const std::size_t n : effects) most = std::max(most, std::abs(each->correlations[n]));
    return most;
  };
  std::vector<const Sure::Varied*> top;
  for (const Sure::Varied& each : machine.varied) {
    if (weight(&each) > noise_of_correlations(found.draws)) top.push_back(&each);
  }
  std::ranges::stable_sort(top,
                           [&](const auto* a, const auto* b) { return weight(a) > weight(b); });
  return top;
}

Table guesses_table(const Sure& found, const Sure::Machine& machine,
                    const std::vector<std::size_t>& effects,
                    const std::vector<const Sure::Varied*>& guesses) {
  Table table = {{"guess of " + machine.name, "value", "least", "most"}};
  for (const std::size_t n : effects) table[0].push_back({found.effects[n].name});
  for (const Sure::Varied* each : guesses) {
    table.push_back({{each->guess.path},
                     {std::to_string(each->guess.value)},
                     {std::to_string(each->guess.least)},
                     {std::to_string(each->guess.most)}});
    for (const std::size_t n : effects) {
      table.back().push_back({fixed(each->correlations[n], 2)});
    }
  }
  return table;
}

std::string correlations_text(const Sure& found, std::size_t n, const std::string& format,
                              const char* paragraph) {
  const Sure::Machine& machine = found.machines[n];
  const std::vector<std::size_t> effects = shown_effects(found, n);
  std::vector<const Sure::Varied*> top = top_of(found, machine, effects);
  const std::string beyond = fixed(noise_of_correlations(found.draws), 2) + ", the noise of " +
                             counted(found.draws, "draw");
  if (top.empty()) {
    return "no guess of " + printable(machine.name) + " has a rank correlation beyond " + beyond +
           "\n" + paragraph;
  }
  const std::size_t shown = std::min(top.size(), kMostShown), more = top.size() - shown;
  top.resize(shown);
  std::string text = "rank correlations beyond " + beyond + ":\n" + paragraph +
                     formatted(guesses_table(found, machine, effects, top), format) + paragraph;
  if (more != 0)
    text += "and " + std::to_string(more) + " more: JSON and CSV have all\n" + paragraph;
  return text;
}

// One table, a row for each of what the JSON has.
Table flat_table(const Sure& found) {
  Table table = {{"kind", "of", "name", "preset", "least", "median", "most", "holds", "draws",
                  "rank correlation"}};
  const std::string draws = std::to_string(found.draws);
  for (const Sure::Runs& run : found.runs) {
    for (const auto& [name, is_count, spread] : run.statistics) {
      table.push_back({"statistic", run.own.name, name, number_text(spread.own, is_count),
                       number_text(spread.least, is_count), number_text(spread.median, is_count),
                       number_text(spread.most, is_count), "", draws, ""});
    }
  }
  for (const Sure::Order& order : found.orders) {
    const Spread& ratio = order.ratio;
    table.push_back({"ratio", ratio_name(found, order), order.statistic, fixed(ratio.own, 6),
                     fixed(ratio.least, 6), fixed(ratio.median, 6), fixed(ratio.most, 6),
                     std::to_string(order.holds), draws, ""});
  }
  for (const Sure::Machine& machine : found.machines) {
    for (const Sure::Varied& each : machine.varied) {
      for (std::size_t n = 0; n < found.effects.size(); ++n) {
        if (std::isnan(each.correlations[n])) continue;
        table.push_back({"guess of " + machine.name, found.effects[n].name, each.guess.path,
                         std::to_string(each.guess.value), std::to_string(each.guess.least), "",
                         std::to_string(each.guess.most), "", draws,
                         fixed(each.correlations[n], 4)});
      }
    }
  }
  return table;
}

}  // namespace

Sure find_how_sure(const SureWanted& wanted, unsigned at_a_time) {
  Sure found{wanted.draws, wanted.seed, {}, {}, {}, {}};
  for (const SureWanted::Machine& machine : wanted.machines) {
    found.machines.push_back(drawn(machine, wanted.draws, wanted.seed));
  }
  const DrawnRuns drawn_runs(wanted, found.machines);
  const std::vector<Case> cases = drawn_runs.run(at_a_time);
  expect_all_whole(cases, drawn_runs.count());
  const Values values(cases, drawn_runs.count(), wanted.draws);
  const std::vector<std::string> names =
      wanted.statistics.empty() ? values.names() : wanted.statistics;
  for (std::size_t n = 0; n < drawn_runs.count(); ++n) {
    found.runs.push_back({cases[n], drawn_runs.machine_of(n), {}});
    for (const std::string& name : names) {
      found.runs[n].statistics.push_back(
          {name, values.is_count(name), spread_of(values.own(n, name), values.drawn(n, name))});
    }
  }
  found.orders =
      orders_of(values, found.machines.size(), drawn_runs.count() / found.machines.size());
  found.effects = effects_of(found, values);
  correlate(found);
  return found;
}

Json as_json(const Sure& found) {
  Json machines = Json::array(), cases = Json::array(), orders = Json::array();
  for (const Sure::Machine& machine : found.machines) machines.push_back(json_of(found, machine));
  for (const Sure::Runs& run : found.runs) {
    Json statistics = Json::object();
    for (const auto& [name, is_count, spread] : run.statistics) {
      statistics[name] = json_of(spread, is_count);
    }
    cases.push_back({{"name", run.own.name},
                     {"machine", found.machines[run.machine].name},
                     {"core", run.own.core},
                     {"values", as_json(*run.own.values)},
                     {"statistics", statistics}});
  }
  for (const Sure::Order& order : found.orders) {
    orders.push_back({{"less", found.runs[order.less].own.name},
                      {"more", found.runs[order.more].own.name},
                      {"same", order.is_tie},
                      {"statistic", order.statistic},
                      {"holds", order.holds},
                      {"ratio", json_of(order.ratio, false)}});
  }
  return {{"format", "nestwalk-sure"},
          {"version", 1},
          {"draws", found.draws},
          {"seed", found.seed},
          {"noise_of_rank_correlations", rounded(noise_of_correlations(found.draws))},
          {"machines", machines},
          {"cases", cases},
          {"orders", orders}};
}

std::string formatted(const Sure& found, const std::string& format) {
  if (format == "csv") return formatted(flat_table(found), format);
  const char* const paragraph = format == "markdown" ? "\n" : "";
  std::string text;
  for (const Sure::Machine& machine : found.machines) {
    text += guesses_text(found, machine) + paragraph;
  }
  for (const Sure::Order& order : found.orders) text += sentence_of(found, order) + paragraph;
  text += std::string(*paragraph == '\0' ? "\n" : "") +
          "each with the least, median and most of the preset itself and the draws:\n" + paragraph +
          formatted(statistics_table(found), format) + paragraph;
  const std::string before = *paragraph == '\0' ? "\n" : "";
  if (noise_of_correlations(found.draws) >= 1) {
    return text + before + "too few draws for rank correlations\n" + paragraph;
  }
  for (std::size_t n = 0; n < found.machines.size(); ++n) {
    text += before + correlations_text(found, n, format, paragraph);
  }
  return text;
}

}  // namespace nestwalk::sim
