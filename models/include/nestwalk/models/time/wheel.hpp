// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The one global order of time: every event of every core, to the cycle.
//
// Events of one cycle run in the order in which they were scheduled. Whoever is about to wait may
// ask to run on instead (`advance`): that is granted only when nothing else is due before or in
// that cycle, so the order of events, and with it every result, is the same as if it had waited. It
// is the same for every horizon, too: an event beyond it waits in its place.
#pragma once

#include <array>
#include <vector>

#include "nestwalk/models/base/check.hpp"

namespace nestwalk::models {

class Actor {
 public:
  /// Runs at the cycle that it was scheduled for; `what` is the number given then.
  virtual void on_cycle(u32 what) = 0;

 protected:
  Actor() = default;
  Actor(const Actor&) = default;
  Actor& operator=(const Actor&) = default;
  ~Actor() = default;
};

class Wheel {
 public:
  /// Events less than this many cycles ahead cost no comparison with others.
  static constexpr u32 kSlots = 1024;

  Wheel();

  Cycle now() const { return now_; }
  /// When the next event is due; kNever if there is none.
  Cycle next() const { return next_; }
  u64 events() const { return events_; }
  /// Nobody else has a turn before that cycle: `advance` is granted to every cycle before it.
  Cycle quiet_until() const { return quiet_until_; }

  void schedule(Cycle at, Actor& actor, u32 what);

  /// Makes it `at`, if nothing else happens until then. If not, schedule.
  bool advance(Cycle at) {
    if (at < quiet_until_) [[likely]] {
      now_ = at;
      return true;
    }
    return advance_far(at);
  }

  /// Runs what is due up to and in that cycle.
  void run_until(Cycle horizon);
  /// Called from within: nothing after that cycle runs before the next run_until.
  void stop_after(Cycle at) {
    if (at >= horizon_) return;
    horizon_ = at;
    look_ahead();
  }
  void run() { run_until(kNever - 1); }

 private:
  static constexpr u32 kNone = ~u32{0};
  struct Event {
    Actor* actor;
    u32 what;
    u32 next;
  };
  struct Slot {
    u32 first = kNone;
    u32 last = kNone;
  };
  struct Far {
    Cycle at;
    u64 order;
    Actor* actor;
    u32 what;
    // For a heap with the earliest on top.
    friend bool operator<(const Far& a, const Far& b) {
      return a.at != b.at ? a.at > b.at : a.order > b.order;
    }
  };

  bool advance_far(Cycle at);
  u32 take_event();
  void append(Cycle at, Actor& actor, u32 what);
  void bring_near();
  void look_ahead();
  Cycle earliest() const;
  u32 first_occupied() const;

  Cycle now_ = 0;
  Cycle next_ = kNever;
  Cycle quiet_until_ = kNever;  ///< no event, no horizon, and no far event that comes near
  Cycle horizon_ = kNever - 1;
  u64 events_ = 0;
  u64 order_ = 0;
  u32 free_ = kNone;
  std::vector<Event> pool_;
  std::array<Slot, kSlots> slots_;
  std::array<u64, kSlots / 64> occupied_{};
  std::vector<Far> far_;
};

}  // namespace nestwalk::models
