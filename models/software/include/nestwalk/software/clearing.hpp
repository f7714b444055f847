// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Clears frames, as a kernel does before somebody else gets them.
#pragma once

#include "nestwalk/models/machine/board.hpp"

namespace nestwalk::software {

/// Stores to the lines of a run of frames, one after the other: through the caches of a core, where
/// several misses are under way, or around them. A named object that lives until it has ended.
class LineClearing final : public models::Actor {
 public:
  /// What is longer goes around all of this: it is charged, and leaves caches as they are.
  static constexpr addrspace::u64 kMostBytes = 64 * addrspace::kKiB;

  LineClearing(models::Board& board, addrspace::u32 core, const models::SoftwareShape& costs,
               models::Hpa start, addrspace::u64 bytes);
  /// It is never over at once; `owner` runs when it is.
  bool begin(models::Actor& owner);

  void on_cycle(addrspace::u32 what) override;

 private:
  static constexpr addrspace::u32 kNext = 0, kStored = 1;
  /// So many lines wait for caches at a time.
  static constexpr addrspace::u32 kMostUnderWay = 64;

  void store_next();
  void end_if_done();
  models::Cycle due(addrspace::u64 line) const { return begin_ + pace_ * line / lines_; }

  models::Board& board_;
  models::MemoryHierarchy::PathId path_;
  bool around_;
  models::Hpa start_;
  addrspace::u64 lines_;
  models::Cycle pace_;  ///< of all lines, if nothing has to be waited for
  models::Cycle begin_ = 0;
  addrspace::u64 next_ = 0;
  addrspace::u32 under_way_ = 0;
  bool waits_ = false;
  models::Served served_ = models::Served::None;
  models::Actor* owner_ = nullptr;
};

/// The bytes are a multiple of a frame's.
models::Task<> clear(models::Board& board, addrspace::u32 core, const models::SoftwareShape& costs,
                     models::Hpa start, addrspace::u64 bytes);
/// What it takes where caches are left as they are.
models::Cycle clearing_cycles(const models::SoftwareShape& costs, addrspace::u64 bytes);

}  // namespace nestwalk::software
