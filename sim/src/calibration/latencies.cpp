// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/latencies.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "calibration/preset_value.hpp"

namespace nestwalk::sim {
namespace {

/// What a value has to move the objective by to be determined by the points.
constexpr double kNoise = 0.004;
constexpr int kRestarts = 12;
constexpr Term kAll[] = {Term::L1, Term::L2, Term::L3, Term::Memory, Term::SecondTlb, Term::Walk};

constexpr struct {
  Term term;
  const char* path;
  long unit;
  /// The bounds, as parts of the preset's value, where it has no range of its own. What a VM gets
  /// of a last level and of a memory that others use as well is no property of the processor: there
  /// the range of a guess does not bind.
  double least, most;
  bool is_shared;
} kRows[] = {
    {Term::L1, "caches.l1d.latency_cycles", 1, 0.5, 2, false},
    {Term::L2, "caches.l2.latency_cycles", 1, 0.5, 2, false},
    {Term::L3, "caches.l3.latency_cycles", 1, 0.5, 4, true},
    {Term::Memory, "memory.controller_ps", 500, 0.2, 5, true},
    {Term::SecondTlb, "tlb.second.latency_cycles", 1, 0.4, 3, false},
    {Term::Walk, "walker.guest_walk_cache.latency_cycles", 1, 0, 40, false},
};

std::size_t index(Term term) { return static_cast<std::size_t>(term); }

long rounded(double value) { return std::lround(value); }

}  // namespace

Latencies::Latencies(const Configuration& base) {
  for (const auto& fact : kRows) {
    Row& row = rows_[index(fact.term)];
    row.path = fact.path;
    row.unit = fact.unit;
    const std::optional<PresetValue> found = preset_value(base, fact.path);
    if (!found || !found->value.is_number()) continue;
    row.exists = true;
    row.value = row.before = found->value.get<long>();
    const double value = static_cast<double>(row.value);
    row.least = rounded(value * fact.least);
    row.most = rounded(value * fact.most);
    if (found->range) {
      row.has_range = true;
      row.range_least = static_cast<long>(found->range->first);
      row.range_most = static_cast<long>(found->range->second);
      if (!fact.is_shared) {
        row.least = row.range_least;
        row.most = row.range_most;
      }
    }
  }
}

double Latencies::cycles(Term term) const {
  const Row& row = rows_[index(term)];
  const double value = static_cast<double>(row.value);
  return term == Term::Memory ? value / 1e3 / cycle_ns_ : value;
}

bool Latencies::move(Term term, long steps) {
  Row& row = rows_[index(term)];
  if (!row.exists) return false;
  const long next = std::clamp(row.value + steps * row.unit, row.least, row.most);
  if (next == row.value) return false;
  row.value = next;
  return true;
}

void Latencies::reset(Term term) {
  Row& row = rows_[index(term)];
  row.value = row.before;
}

bool Latencies::is_preset(Term term) const {
  const Row& row = rows_[index(term)];
  return row.value == row.before;
}

void Latencies::apply(Configuration& machine) const {
  for (const Row& row : rows_) {
    if (!row.exists) continue;
    machine.set(std::string("machine.") + row.path + "=" + std::to_string(row.value), "calibrate");
  }
}

std::vector<Cost> predicted(std::vector<Cost> costs, const Latencies& ran, const Latencies& other) {
  for (Cost& cost : costs) {
    for (const Term term : kAll) {
      double count = cost.counts[index(term)];
      // A load that the memory serves has looked into the last level.
      const Term last = ran.has(Term::L3) ? Term::L3 : Term::L2;
      if (term == last) count += cost.counts[index(Term::Memory)];
      cost.cycles += count * (other.cycles(term) - ran.cycles(term));
    }
  }
  return costs;
}

double objective(const std::vector<Cost>& costs, const std::vector<double>& targets, double ns) {
  double sum = 0;
  for (std::size_t n = 0; n < costs.size(); ++n) {
    const double error = std::abs(std::log(costs[n].cycles * ns / targets[n]));
    sum += error + 4 * error * error;
  }
  return sum / static_cast<double>(costs.size());
}

Latencies fitted(const Latencies& ran, const std::vector<Cost>& costs,
                 const std::vector<double>& targets, double ns, u64 seed, Terms fixed) {
  const auto judged = [&](const Latencies& some) {
    return objective(predicted(costs, ran, some), targets, ns);
  };
  // Large steps first; each as often as it helps.
  const auto descend = [&](Latencies from) {
    double least = judged(from);
    for (bool moves = true; moves;) {
      moves = false;
      for (const long steps : {64, 16, 4, 2, 1}) {
        for (const Term term : kAll) {
          if ((fixed & bit_of(term)) != 0) continue;
          for (const long direction : {-steps, steps}) {
            Latencies next = from;
            while (next.move(term, direction)) {
              const double found = judged(next);
              if (found >= least - 1e-9) break;
              least = found;
              from = next;
              moves = true;
            }
          }
        }
      }
    }
    return std::pair(least, from);
  };
  std::mt19937_64 dice(seed);
  auto best = descend(ran);
  for (int restart = 0; restart < kRestarts; ++restart) {
    Latencies from = best.second;
    for (const Term term : kAll) {
      const double span = ran.cycles(term) / 2 + 4;
      const double part = static_cast<double>(dice() % 2001) / 1000 - 1;
      if ((fixed & bit_of(term)) == 0) from.move(term, std::lround(span * part));
    }
    const auto found = descend(from);
    if (found.first < best.first - 1e-9) best = found;
  }
  return best.second;
}

Latencies sparse(const Latencies& ran, const std::vector<Cost>& costs,
                 const std::vector<double>& targets, double ns, u64 seed) {
  const auto judged = [&](const Latencies& some) {
    return objective(predicted(costs, ran, some), targets, ns);
  };
  Terms fixed = 0;
  Latencies best = fitted(ran, costs, targets, ns, seed);
  for (const Term term : kAll) {
    Latencies start = best;
    start.reset(term);
    const Latencies other =
        fitted(start, predicted(costs, ran, start), targets, ns, seed, fixed | bit_of(term));
    if (judged(other) > judged(best) + kNoise) continue;
    best = other;
    fixed |= bit_of(term);
  }
  return best;
}

std::vector<FittedValue> Latencies::values(const std::vector<Cost>& costs,
                                           const std::vector<double>& targets, double ns) const {
  std::vector<FittedValue> result;
  const double best = objective(costs, targets, ns);
  for (const Term term : kAll) {
    const Row& row = rows_[index(term)];
    if (!row.exists) continue;
    FittedValue value{row.path, row.before, row.value};
    const auto note = [&](const std::string& text) {
      if (!value.note.empty()) value.note += "; ";
      value.note += text;
    };
    Latencies moved = *this;
    const long fifth = std::max<long>(row.value / row.unit / 5, 1);
    // At the upper bound the other direction tells as much.
    if (!moved.move(term, fifth)) moved.move(term, -fifth);
    const std::vector<Cost> after = predicted(costs, *this, moved);
    bool is_determined = true;
    const auto undetermined = [&](const std::string& text) {
      is_determined = false;
      note(text);
    };
    if (objective(after, targets, ns) - best < kNoise) {
      undetermined("a fifth more or less does not matter");
    } else {
      const Latencies others = fitted(moved, after, targets, ns, 1, bit_of(term));
      if (objective(predicted(costs, *this, others), targets, ns) - best < kNoise) {
        std::string names;
        for (const Term other : kAll) {
          if (other != term && others.cycles(other) != cycles(other)) {
            names.append(" ").append(rows_[index(other)].path);
          }
        }
        undetermined("not told apart from" + names);
      }
    }
    if (!is_preset(term) && (row.value == row.least || row.value == row.most)) {
      undetermined("at its bound");
    }
    if (row.has_range && (row.value < row.range_least || row.value > row.range_most)) {
      note("outside of the preset's range, " + std::to_string(row.range_least) + " to " +
           std::to_string(row.range_most));
    }
    if (!is_determined) value.range = {row.least, row.most};
    result.push_back(std::move(value));
  }
  return result;
}

}  // namespace nestwalk::sim
