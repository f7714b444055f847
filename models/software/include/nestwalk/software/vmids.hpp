// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which VMID (on x86: VPID) each guest of the machine has. Where there are more guests than VMIDs,
// one that comes to a core again may need another.
#pragma once

#include "nestwalk/models/wheel.hpp"
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

  /// Since all were taken back, cores are being fenced: until then no guest comes to one.
  void begin_fencing() { fencing_ = true; }
  bool is_fencing() const { return fencing_; }
  /// The actor runs when that is over.
  void wait(models::Actor& actor, u32 what) { waiting_.push_back({&actor, what}); }
  void end_fencing(models::Wheel& wheel) {
    fencing_ = false;
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
  bool fencing_ = false;
  std::vector<Waiting> waiting_;
};

}  // namespace nestwalk::software
