// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/fit.hpp"

#include <bit>
#include <cmath>

#include "calibration/latencies.hpp"
#include "calibration/preset_value.hpp"
#include "calibration/structures.hpp"

namespace nestwalk::sim {
namespace {

/// A candidate has to be better by so much of the objective, so that noise moves nothing.
constexpr double kGain = 0.004;
/// A candidate that changes less than this is no candidate.
constexpr double kNothing = 1e-4;
/// In the search, points with more pages than these are left out: to touch them all takes long. Of
/// many points, every second one of the long footprints will do.
constexpr u64 kMostPagesSought = 1 << 17;
constexpr std::size_t kManyPoints = 30;
constexpr u64 kShortBytes = u64{32} << 20;

struct State {
  Structures structures;
  Latencies latencies;
  std::vector<Cost> costs;
  double objective = 0;
};

class Search {
 public:
  Search(const MeasuredMachine& measured, const Configuration& base,
         const std::vector<Point>& points, const FitOptions& options)
      : measured_(measured), base_(base), all_(points), options_(options), probes_(options.jobs) {
    for (const Point& point : all_) {
      const bool is_second = point.bytes > kShortBytes && std::countr_zero(point.bytes) % 2 != 0;
      if (all_.size() > kManyPoints && is_second) continue;
      if (point.bytes / point.page_bytes <= kMostPagesSought) points_.push_back(point);
    }
    if (points_.empty()) points_ = all_;
    set_targets();
  }

  State run() {
    State best = start();
    for (unsigned pass = 0; pass < options_.passes; ++pass) {
      const double before = best.objective;
      for (const Structure& structure : best.structures.all()) improve(best, structure);
      say("pass " + std::to_string(pass + 1), best);
      if (before - best.objective < kGain) break;
    }
    go_back(best);
    // From here on all points count. Latencies change a little what is counted, so once again.
    points_ = all_;
    set_targets();
    best.costs = run_points(best, points_);
    best.latencies = sparse(best.latencies, best.costs, targets_, ns_, options_.seed);
    best.costs = run_points(best, points_);
    best.objective = objective(best.costs, targets_, ns_);
    say("end", best);
    return best;
  }

  Configuration machine_of(const State& state) const {
    Configuration machine = base_;
    if (measured_.clock_mhz != 0) {
      machine.set("machine.clock_mhz=" + std::to_string(measured_.clock_mhz), "calibrate");
    }
    state.structures.apply(machine);
    state.latencies.apply(machine);
    return machine;
  }
  Agreement agreement(const State& state) const {
    return agreement_of(measured_, points_, state.costs, ns_);
  }
  const std::vector<double>& targets() const { return targets_; }
  double ns_of_cycle() const { return ns_; }

 private:
  void set_targets() {
    targets_.clear();
    for (const Point& point : points_) targets_.push_back(measured_.find(point)->ns);
  }

  State start() {
    const auto sought = options_.passes == 0 ? Structures::Sought::None : Structures::Sought::All;
    State state{Structures(base_, measured_, sought), Latencies(base_), {}, 0};
    ns_ = sim::ns_of_cycle(machine_of(state));
    state.latencies.set_cycle(ns_);
    state.costs = run_points(state, points_);
    solve(state);
    say("start", state);
    return state;
  }

  std::vector<Cost> run_points(const State& state, const std::vector<Point>& points) {
    return probes_.costs(machine_of(state), state.structures.surroundings(), points);
  }

  // Fits the latencies to what was counted with those of the state.
  void solve(State& state) {
    const std::vector<Cost> counted = state.costs;
    const Latencies ran = state.latencies;
    state.latencies = fitted(ran, counted, targets_, ns_, options_.seed);
    state.costs = predicted(counted, ran, state.latencies);
    state.objective = objective(state.costs, targets_, ns_);
  }

  // Looks beyond one candidate that is no better.
  void improve(State& best, const Structure& structure) {
    for (const int direction : {-1, 1}) {
      int beyond = 0;
      std::optional<Structures> next = best.structures.moved(structure, direction);
      for (; next && beyond < 2; next = next->moved(structure, direction)) {
        std::optional<State> candidate = tried(best, *next, structure, next->named(structure));
        ++beyond;
        if (!candidate) continue;
        if (std::abs(candidate->objective - best.objective) < kNothing) {
          best.structures.note(structure, "does not matter to these points");
          return;
        }
        if (structure.partner) improve(*candidate, best.structures.at(*structure.partner));
        if (candidate->objective > best.objective - kGain) continue;
        best = std::move(*candidate);
        beyond = 0;
      }
    }
  }

  // What the search left has to be better than the preset by more than the noise: all structures
  // together, since some make up for others; then each alone.
  void go_back(State& best) {
    const double most = best.objective + kGain;
    std::vector<Structure> left;
    std::optional<Structures> home;
    for (const Structure& structure : best.structures.all()) {
      std::optional<Structures> next = (home ? *home : best.structures).returned(structure);
      if (!next) continue;
      home = std::move(next);
      left.push_back(structure);
    }
    if (!home) return;
    const Structure every;
    if (const auto candidate = tried(best, *home, every, "all structures of the preset")) {
      if (candidate->objective <= most) best = *candidate;
    }
    for (const Structure& structure : left) {
      const std::optional<Structures> next = best.structures.returned(structure);
      if (!next) continue;
      const auto candidate = tried(best, *next, structure, next->named(structure));
      if (candidate && candidate->objective <= most) best = *candidate;
    }
  }

  // Nothing if no such machine can be.
  std::optional<State> tried(const State& best, const Structures& structures,
                             const Structure& structure, const std::string& what) {
    State candidate = best;
    candidate.structures = structures;
    try {
      rerun(candidate, structure);
    } catch (const NoResult& error) {
      if (error.code() != kUsage) throw;
      return std::nullopt;
    }
    solve(candidate);
    say(what, candidate);
    return candidate;
  }

  // Only the points that the structure can move.
  void rerun(State& state, const Structure& structure) {
    std::vector<Point> some;
    std::vector<std::size_t> places;
    for (std::size_t n = 0; n < points_.size(); ++n) {
      const Point& point = points_[n];
      if (!structure.moves(point)) continue;
      some.push_back(point);
      places.push_back(n);
    }
    const std::vector<Cost> costs = run_points(state, some);
    for (std::size_t n = 0; n < some.size(); ++n) state.costs[places[n]] = costs[n];
  }

  void say(const std::string& what, const State& state) const {
    std::string text = what + ": objective " + std::to_string(state.objective) + ";";
    for (const Term term :
         {Term::L1, Term::L2, Term::L3, Term::Memory, Term::SecondTlb, Term::Walk}) {
      text.append(" ").append(std::to_string(state.latencies.cycles(term)));
    }
    options_.progress(text);
  }

  const MeasuredMachine& measured_;
  const Configuration& base_;
  const std::vector<Point> all_;
  std::vector<Point> points_;  ///< that count now
  const FitOptions& options_;
  SimulatedProbes probes_;
  std::vector<double> targets_;
  double ns_ = 1;
};

}  // namespace

Fit fit(const MeasuredMachine& measured, const Configuration& base,
        const std::vector<Point>& points, const FitOptions& options) {
  Search search(measured, base, points, options);
  const State best = search.run();
  Fit result;
  result.surroundings = best.structures.surroundings();
  result.agreement = search.agreement(best);
  result.values = best.latencies.values(best.costs, search.targets(), search.ns_of_cycle());
  for (FittedValue& each : best.structures.values()) result.values.push_back(std::move(each));
  if (measured.clock_mhz != 0) {
    result.values.insert(result.values.begin(),
                         {"clock_mhz", base.value_at("machine.clock_mhz")[0], measured.clock_mhz,
                          "additions that wait for each other"});
  }
  return result;
}

Json preset_of(const Fit& fit, const MeasuredMachine& measured, const Configuration& base,
               const std::string& name) {
  const std::string source = "measured " + measured.date + ": " + measured.cpu +
                             (measured.is_virtual ? ", VM" : ", native");
  Json preset = {{"name", name}, {"like", base.machine_name()}};
  preset["about"] = measured.cpu + (measured.is_virtual ? ", as measured in a VM: " : ": ") +
                    sentence_of(fit.agreement) + "; nestwalk validate " +
                    text_of(fit.surroundings) + (fit.agreement.of_medians ? " --times median" : "");
  const Json& machine = base.document()["machine"];
  for (const FittedValue& each : fit.values) {
    if (each.value == each.before) continue;
    const bool says = each.source == "cpuid";
    Json value = Json::array({each.value, says ? "cpuid of the machine: " + measured.cpu : source});
    if (each.range) {
      value[1] = "guess fitted to what was " + source + ", which does not determine it";
      value.push_back(each.range->first);
      value.push_back(each.range->second);
    }
    put_value(preset, machine, each.path, std::move(value));
  }
  return preset;
}

}  // namespace nestwalk::sim
