// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Main memory: channels, banks, and in each bank one open row. A bank serves one access after the
// other, in the order of arrival.
#pragma once

#include <vector>

#include "nestwalk/models/base/parameter.hpp"
#include "nestwalk/models/memory/divisor.hpp"

namespace nestwalk::models {

struct DramShape {
  u32 channels = 1;
  u32 banks = 1;
  u32 row_bytes = 8192;
  u32 row_hit_cycles = 100;
  u32 row_empty_cycles = 100;
  u32 row_conflict_cycles = 100;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"channels", &DramShape::channels, Number{1, 64}, "channels of the memory"},
        Row{"banks", &DramShape::banks, Number{1, 1024}, "banks of each channel"},
        Row{"row_bytes", &DramShape::row_bytes, PowerOfTwo{256, 1 << 20}, "bytes of a row",
            kInBytes},
        Row{"row_hit_cycles", &DramShape::row_hit_cycles, Number{1, 100'000},
            "cycles of an access whose row is open", kInCycles},
        Row{"row_empty_cycles", &DramShape::row_empty_cycles, Number{1, 100'000},
            "cycles of an access where no row is open", kInCycles},
        Row{"row_conflict_cycles", &DramShape::row_conflict_cycles, Number{1, 100'000},
            "cycles of an access where another row is open", kInCycles}};
  }
};

struct DramCounts {
  u64 row_hits = 0;
  u64 row_empty = 0;
  u64 row_conflicts = 0;
  u64 write_backs = 0;
  Cycle waiting = 0;  ///< for busy banks
};

class Dram {
 public:
  Dram(const DramShape& shape, u32 line_bytes);

  const DramCounts& counts() const { return counts_; }
  void write_back(u64 line, Cycle now) {
    ++counts_.write_backs;
    access(line, now);
  }
  /// An access to a line that arrives now; the cycle in which its data are back.
  Cycle access(u64 line, Cycle now) {
    // Neighbouring lines go to different channels, then fill a row, then go to the next bank.
    const Divisor::Parts in_channel = channels_.divide(line);
    const u64 row_of_all = in_channel.quotient >> row_shift_;
    const Divisor::Parts in_bank = bank_count_.divide(row_of_all);
    Bank& bank = banks_[in_channel.remainder * shape_.banks + in_bank.remainder];
    const u64 row = in_bank.quotient;
    const Cycle start = now > bank.free_at ? now : bank.free_at;
    counts_.waiting += start - now;
    u32 cycles = shape_.row_conflict_cycles;
    if (bank.open_row == row) {
      cycles = shape_.row_hit_cycles;
      ++counts_.row_hits;
    } else if (bank.open_row == kNoneOpen) {
      cycles = shape_.row_empty_cycles;
      ++counts_.row_empty;
    } else {
      ++counts_.row_conflicts;
    }
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
  DramCounts counts_;
  Divisor channels_;
  Divisor bank_count_;
  u32 row_shift_;  ///< log2 of the lines in a row
  std::vector<Bank> banks_;
};

}  // namespace nestwalk::models
