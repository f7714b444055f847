// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Plays accesses on a core, one after the other: each begins when the data of the one before it are
// there. The plainest of processors; enough to predict every cycle by hand.
#pragma once

#include <span>

#include "nestwalk/models/board.hpp"

namespace nestwalk::models {

class Player final : public Actor, private Upcoming {
 public:
  enum class Data : u8 { Read, Skip };  ///< after the translation: the access, or nothing

  Player(Board& board, u32 core, Data data = Data::Read)
      : wheel_(board.wheel()),
        hierarchy_(board.hierarchy()),
        core_(board.core(core)),
        data_(data) {}

  /// Begins to play at `at`; run the wheel. Stops at the first fault.
  void play(std::span<const Mmu::Request> accesses, Cycle at) {
    accesses_ = accesses;
    next_ = 0;
    state_ = State::Translate;
    wheel_.schedule(at, *this, 0);
  }

  bool finished() const { return next_ == accesses_.size(); }
  u64 played() const { return next_; }
  const Mmu::Outcome& outcome() const { return outcome_; }
  Cycle finished_at() const { return finished_at_; }

  void on_cycle(u32) override {
    while (step()) {
    }
  }

 private:
  enum class State : u8 { Translate, Access, Retire };

  // One step; true if the next one is due in this cycle.
  bool step() {
    switch (state_) {
      case State::Translate:
        if (next_ == accesses_.size()) return false;
        state_ = data_ == Data::Read ? State::Access : State::Retire;
        return translate();
      case State::Access:
        if (outcome_.fault) break;
        state_ = State::Retire;
        return access(accesses_[next_]);
      case State::Retire:
        if (outcome_.fault) break;
        ++next_;
        finished_at_ = wheel_.now();
        state_ = State::Translate;
        return true;
    }
    finished_at_ = wheel_.now();
    return false;
  }
  bool translate() {
    Mmu::Request request = accesses_[next_];
    request.upcoming = this;
    return core_.mmu->translate(request, *this, 0, outcome_);
  }
  u64 upcoming(u32 others) const override {
    const u64 number = next_ + 1 + others;
    return number < accesses_.size() ? accesses_[number].address : 0;
  }
  bool access(const Mmu::Request& request) {
    const bool fetch = request.access == AccessKind::Execute;
    return hierarchy_.access(fetch ? core_.paths.fetches : core_.paths.data, Hpa(outcome_.host),
                             request.access == AccessKind::Write, *this, 0, served_);
  }

  Wheel& wheel_;
  MemoryHierarchy& hierarchy_;
  Board::Core& core_;
  Data data_;
  State state_ = State::Translate;
  std::span<const Mmu::Request> accesses_;
  u64 next_ = 0;
  Mmu::Outcome outcome_;
  Served served_ = Served::None;
  Cycle finished_at_ = 0;
};

}  // namespace nestwalk::models
