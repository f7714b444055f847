// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Plays accesses on a core, one after the other: each begins when the data of the one before it are
// there. The plainest of processors; enough to predict every cycle by hand.
#pragma once

#include <span>

#include "nestwalk/models/machine/board.hpp"
#include "nestwalk/models/time/process.hpp"

namespace nestwalk::models {

class Player final : private Upcoming {
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
    process_.start(run(at));
  }

  bool finished() const { return next_ == accesses_.size(); }
  u64 played() const { return next_; }
  const Mmu::Outcome& outcome() const { return outcome_; }
  Cycle finished_at() const { return finished_at_; }

 private:
  Task<> run(Cycle at) {
    co_await EventAt(wheel_, at);
    for (; next_ != accesses_.size(); ++next_) {
      Mmu::Request request = accesses_[next_];
      request.upcoming = this;
      Call translation(
          [&](Actor& owner) { return core_.mmu->translate(request, owner, 0, outcome_); });
      co_await translation;
      if (!outcome_.fault && data_ == Data::Read) {
        Call access([&](Actor& owner) { return access_data(request, owner); });
        co_await access;
      }
      finished_at_ = wheel_.now();
      if (outcome_.fault) co_return;
    }
  }
  u64 upcoming(u32 others) const override {
    const u64 number = next_ + 1 + others;
    return number < accesses_.size() ? accesses_[number].address : 0;
  }
  bool access_data(const Mmu::Request& request, Actor& owner) {
    const bool fetch = request.access == AccessKind::Execute;
    return hierarchy_.access(fetch ? core_.paths.fetches : core_.paths.data, Hpa(outcome_.host),
                             request.access == AccessKind::Write, owner, 0, served_);
  }

  Wheel& wheel_;
  MemoryHierarchy& hierarchy_;
  Board::Core& core_;
  Data data_;
  std::span<const Mmu::Request> accesses_;
  u64 next_ = 0;
  Mmu::Outcome outcome_;
  Served served_ = Served::None;
  Cycle finished_at_ = 0;
  Process process_;
};

}  // namespace nestwalk::models
