// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The host's processors, and who is on each: a vCPU, or a hypervisor that gives its guest memory.
// Those that want the same one take turns: who has been on it for a slice gives it up when somebody
// waits, first come, first served.
#pragma once

#include <deque>

#include "nestwalk/models/time/wheel.hpp"
#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

/// Which vCPU of the machine it is, and on which core it takes its turns.
struct VcpuPlace {
  u32 vcpu;
  u32 core;
};

class Cores {
 public:
  static constexpr Cycle kDefaultSlice = 10'000'000;
  explicit Cores(u32 count, Cycle slice = kDefaultSlice) : cores_(count), slice_(slice) {}

  /// One more of those who will ask for the core.
  void join(u32 number) { ++cores_[number].users; }
  bool is_used(u32 number) const { return cores_[number].users != 0; }
  bool is_shared(u32 number) const { return cores_[number].users > 1; }

  /// True if the user has the core at once; else it runs when those before it gave it up.
  bool ask(u32 number, models::Actor& user, Cycle now) {
    Core& core = cores_[number];
    if (core.free) {
      take(core, now);
      return true;
    }
    core.waiting.push_back(&user);
    refresh(core);
    return false;
  }
  void give_up(u32 number, Cycle now) {
    Core& core = cores_[number];
    core.free = true;
    core.alarm = models::kNever;
    refresh(core);
    if (core.waiting.empty()) return;
    models::Actor& next = *core.waiting.front();
    core.waiting.pop_front();
    take(core, now);
    next.on_cycle(0);
  }
  /// Whoever has it is through with coming there.
  void begin_slice(u32 number, Cycle now) {
    cores_[number].slice_end = now + slice_;
    refresh(cores_[number]);
  }
  /// Its slice is over, and somebody waits.
  bool must_give_up(u32 number, Cycle now) const {
    return !cores_[number].waiting.empty() && now >= cores_[number].slice_end;
  }

  /// Who is on the core wants to look up from its work then.
  void set_alarm(u32 number, Cycle at) {
    cores_[number].alarm = at;
    refresh(cores_[number]);
  }
  /// When it has to: for that, or since its slice is over.
  const Cycle& attention(u32 number) const { return cores_[number].attention; }

  /// A guest runs there, whoever's it is: interrupts take time from it.
  void set_in_guest(u32 number, bool in) { cores_[number].in_guest = in; }
  bool in_guest(u32 number) const { return cores_[number].in_guest; }
  void take_time(u32 number, Cycle cycles) {
    cores_[number].lost += cycles;
    taken_ += cycles;
  }
  /// Who comes back to it has not paid that yet.
  void owe(u32 number, Cycle cycles) { cores_[number].lost += cycles; }
  /// From all of them so far.
  Cycle taken() const { return taken_; }
  bool owes(u32 number) const { return cores_[number].lost != 0; }
  /// What was taken since the last call.
  Cycle lost(u32 number) { return std::exchange(cores_[number].lost, 0); }

 private:
  struct Core {
    std::deque<models::Actor*> waiting;
    Cycle slice_end = 0;
    Cycle alarm = models::kNever;
    Cycle attention = models::kNever;
    Cycle lost = 0;
    u32 users = 0;
    bool free = true;
    bool in_guest = false;
  };
  static void refresh(Core& core) {
    core.attention = core.waiting.empty() ? core.alarm : std::min(core.alarm, core.slice_end);
  }
  void take(Core& core, Cycle now) {
    core.free = false;
    core.slice_end = now + slice_;
    refresh(core);
  }

  std::vector<Core> cores_;
  Cycle slice_;
  Cycle taken_ = 0;
};

}  // namespace nestwalk::software
