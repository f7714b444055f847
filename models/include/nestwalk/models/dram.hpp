// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Main memory: channels, banks, and in each bank one open row. A bank serves one access after the
// other, in the order of arrival.
#pragma once

#include <vector>

#include "nestwalk/models/time.hpp"

namespace nestwalk::models {

struct DramShape {
  u32 channels = 1;
  u32 banks = 1;  ///< per channel
  u32 row_bytes = 8192;
  u32 row_hit_cycles = 100;
  u32 row_empty_cycles = 100;     ///< no row is open
  u32 row_conflict_cycles = 100;  ///< another row is
};

class Dram {
 public:
  Dram(const DramShape& shape, u32 line_bytes);

  /// An access to a line that arrives now; the cycle in which its data are back.
  Cycle access(u64 line, Cycle now) {
    // Neighbouring lines go to different channels, then fill a row, then go to the next bank.
    const u64 in_channel = line / shape_.channels;
    const u64 row_of_all = in_channel / lines_per_row_;
    Bank& bank = banks_[line % shape_.channels * shape_.banks + row_of_all % shape_.banks];
    const u64 row = row_of_all / shape_.banks;
    const Cycle start = now > bank.free_at ? now : bank.free_at;
    const u32 cycles = bank.open_row == row         ? shape_.row_hit_cycles
                       : bank.open_row == kNoneOpen ? shape_.row_empty_cycles
                                                    : shape_.row_conflict_cycles;
    bank.open_row = row;
    bank.free_at = start + cycles;
    return bank.free_at;
  }

 private:
  static constexpr u64 kNoneOpen = ~u64{0};
  struct Bank {
    u64 open_row = kNoneOpen;
    Cycle free_at = 0;
  };

  DramShape shape_;
  u64 lines_per_row_;
  std::vector<Bank> banks_;
};

}  // namespace nestwalk::models
