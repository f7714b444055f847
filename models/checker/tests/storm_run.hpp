// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's operations at random under a policy of fences, told to a checker and to an adversary
// that shares no rule with it.
#pragma once

#include "both.hpp"
#include "engine_log.hpp"

namespace nestwalk::checker {

struct StormResult {
  u64 operations = 0;
  u64 errors = 0;
  u64 warnings = 0;
  u64 excess = 0;
  bool harmed = false;   ///< says the adversary
  u64 hits = 0;          ///< of accesses between operations, on stale copies
  u64 unexplained = 0;   ///< hits, ever, without an open obligation
  std::string findings;  ///< in words

  /// Checker and adversary agree.
  bool agrees() const { return unexplained == 0 && harmed == (errors != 0); }
  /// They say what is known of the policy.
  bool is_as_known(const FencePolicy& policy) const {
    const bool wrong = policy.is_original();
    const bool narrow = &policy == &FencePolicy::Precise;
    return wrong == (errors != 0) && wrong == (hits != 0) && (!narrow || excess == 0);
  }
};

template <class Shape>
class StormRun {
 public:
  explicit StormRun(const FencePolicy& policy, u64 seed, Kicks kicks = {})
      : policy_(policy),
        kicks_(kicks),
        feed_(both_),
        engine_(policy, feed_.lines(), kicks),
        storm_(engine_, seed) {}

  StormResult run(u64 operations) {
    while (result_.operations < operations) {
      engine_.kick();
      // Operations whose fences may wait return together.
      engine_.together([&] {
        const u64 count = policy_.deferred ? 1 + storm_.below(7) : 1;
        for (u64 n = 0; n < count; ++n, ++result_.operations) {
          storm_.step();
          if (!kicks_.on) probe();
        }
      });
      engine_.resume();
      result_.hits += probe() ? 1 : 0;
    }
    feed_.stop();
    both_.checker.finish();
    result_.errors = both_.checker.errors();
    result_.warnings = both_.checker.warnings();
    result_.harmed = both_.adversary.harmed();
    for (const Finding& finding : both_.checker.findings()) {
      result_.findings += describe(finding);
      if (finding.failure == Failure::Excess) result_.excess += finding.count;
    }
    return result_;
  }

 private:
  // The guest's access on processor 1: does it go wrong?
  bool probe() {
    Access access;
    access.when = {1, result_.operations};
    access.vm = engine_.kVm;
    access.position = result_.operations;
    access.gpa = access.gva = storm_.place(8).value();
    access.write = storm_.below(2) != 0;
    Adversary::Wrong wrong{};
    const bool hit = both_.adversary.would_hit(1, access.vm, access.gpa, access.write, wrong);
    if (hit && !both_.checker.is_open(access.vm, 1, access.gpa)) ++result_.unexplained;
    both_.checker.accessed(access);
    return hit;
  }

  const FencePolicy& policy_;
  const Kicks kicks_;
  Both both_;
  LineFeed feed_;
  EngineLog<Shape> engine_;
  Storm<Shape> storm_;
  StormResult result_;
};

}  // namespace nestwalk::checker
