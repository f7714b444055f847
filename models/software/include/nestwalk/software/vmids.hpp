// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which VMID (on x86: VPID) each guest of the machine has. Where there are more guests than VMIDs,
// one that comes to a core again may need another.
#pragma once

#include <algorithm>
#include <deque>

#include "nestwalk/models/time/wheel.hpp"
#include "nestwalk/software/tag_pool.hpp"

namespace nestwalk::software {

class Vmids {
 public:
  using Holder = TagPool::Holder;
  Vmids(u16 most, u32 cores) : pool_(most), on_core_(cores, nullptr) {}

  bool is_current(const Holder& holder) const { return pool_.is_current(holder); }
  /// A new one for a guest that no core runs. True if all others were taken back.
  bool renew(Holder& holder) {
    std::vector<Holder*> running;
    for (Holder* const each : on_core_) {
      if (each != nullptr) running.push_back(each);
    }
    return pool_.renew(holder, running);
  }
  /// Whose guest is on the core; null for nobody's.
  void put_on(u32 core, Holder* holder) { on_core_[core] = holder; }

  /// All were taken back for the guest that comes to this core: every core has to be fenced from
  /// there. Until that is done nobody enters a guest, and one core after the other does it.
  void owe_fences(u32 core) { owing_.push_back(core); }
  bool owes_fences(u32 core) const {
    return std::find(owing_.begin(), owing_.end(), core) != owing_.end();
  }
  bool may_enter(u32 core) const { return owing_.empty() || owing_.front() == core; }
  bool may_all_enter() const { return owing_.empty(); }
  /// The actor runs when another core has done it.
  void wait(models::Actor& actor, u32 what) { waiting_.push_back({&actor, what}); }
  /// The first core that owes fences has completed them.
  void end_fences(models::Wheel& wheel) {
    owing_.pop_front();
    for (const Waiting& each : waiting_) wheel.schedule(wheel.now(), *each.actor, each.what);
    waiting_.clear();
  }

 private:
  struct Waiting {
    models::Actor* actor;
    u32 what;
  };
  TagPool pool_;
  std::vector<Holder*> on_core_;
  std::deque<u32> owing_;  ///< cores
  std::vector<Waiting> waiting_;
};

}  // namespace nestwalk::software
