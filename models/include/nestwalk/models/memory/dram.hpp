// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Main memory: channels with a data bus each, banks, and in each bank one open row. Names of times
// are those of JEDEC's DDR4 and DDR5 standards.
#pragma once

#include <algorithm>
#include <vector>

#include "nestwalk/models/base/parameter.hpp"
#include "nestwalk/models/memory/divisor.hpp"

namespace nestwalk::models {

struct DramShape {
  u32 channels = 1;
  u32 banks = 1;
  u32 bank_groups = 1;
  u32 row_bytes = 8192;
  u32 controller_ps = 0;
  u32 tcl_ps = 0;
  u32 trcd_ps = 0;
  u32 trp_ps = 0;
  u32 tras_ps = 0;
  u32 tccd_ps = 0;
  u32 tburst_ps = 0;
  u32 row_timeout_ps = 0;

  static constexpr auto parameters() {
    using namespace parameter;
    constexpr Number kTime{0, 10'000'000};
    return std::tuple{
        Row{"channels", &DramShape::channels, Number{1, 64},
            "channels of the memory; of DDR5, subchannels"},
        Row{"banks", &DramShape::banks, Number{1, 1024}, "banks of each channel, of all its ranks"},
        Row{"bank_groups", &DramShape::bank_groups, Number{1, 64},
            "groups of banks that neighbouring lines of a channel take turns in"},
        Row{"row_bytes", &DramShape::row_bytes, PowerOfTwo{256, 1 << 20}, "bytes of a row",
            kInBytes},
        Row{"controller_ps", &DramShape::controller_ps, kTime,
            "from the last cache to a bank and back, without the bank's own times", kInPicoseconds},
        Row{"tcl_ps", &DramShape::tcl_ps, kTime, "tCL: a column command to its first data",
            kInPicoseconds},
        Row{"trcd_ps", &DramShape::trcd_ps, kTime, "tRCD: an activated row to its first column",
            kInPicoseconds},
        Row{"trp_ps", &DramShape::trp_ps, kTime, "tRP: a precharge to the next row",
            kInPicoseconds},
        Row{"tras_ps", &DramShape::tras_ps, kTime, "tRAS: an activated row to its precharge",
            kInPicoseconds},
        Row{"tccd_ps", &DramShape::tccd_ps, kTime,
            "tCCD_L: a column command to the next command of the bank", kInPicoseconds},
        Row{"tburst_ps", &DramShape::tburst_ps, kTime, "a line's time on the channel's data bus",
            kInPicoseconds},
        Row{"row_timeout_ps", &DramShape::row_timeout_ps, kTime,
            "a row that was not used for so long is closed; 0: never", kInPicoseconds}};
  }
};

/// The times of a shape in cycles.
struct DramTimes {
  DramTimes(const DramShape& shape, ClockRate clock)
      : controller(clock.cycles(shape.controller_ps)),
        tcl(clock.cycles(shape.tcl_ps)),
        trcd(clock.cycles(shape.trcd_ps)),
        trp(clock.cycles(shape.trp_ps)),
        tras(clock.cycles(shape.tras_ps)),
        tccd(clock.cycles(shape.tccd_ps)),
        burst(clock.cycles(shape.tburst_ps)),
        row_timeout(shape.row_timeout_ps == 0 ? kNever : clock.cycles(shape.row_timeout_ps)) {}

  /// What an access takes that waits for no other, by the state of its row.
  Cycle row_hit() const { return controller + tcl + burst; }
  Cycle row_empty() const { return trcd + row_hit(); }
  Cycle row_conflict() const { return trp + row_empty(); }

  Cycle controller, tcl, trcd, trp, tras, tccd, burst, row_timeout;
};

struct DramCounts {
  u64 row_hits = 0;
  u64 row_empty = 0;
  u64 row_conflicts = 0;
  u64 write_backs = 0;
  Cycle waiting = 0;  ///< for busy banks and buses
};

/// The data bus of a channel. Each burst takes the earliest time at which the bus is free, though
/// bursts that were asked for before may come later.
class DramBus {
 public:
  /// When a burst begins that could begin at `wanted`, being asked for at `now`.
  Cycle reserve(Cycle wanted, Cycle burst, Cycle now) {
    if (wanted < free_at_) [[unlikely]]
      return reserve_between(wanted, burst, now);
    if (bursts_.size() == bursts_.capacity()) forget_past(burst, now);
    bursts_.push_back(wanted);
    free_at_ = wanted + burst;
    return wanted;
  }

 private:
  Cycle reserve_between(Cycle wanted, Cycle burst, Cycle now);
  void forget_past(Cycle burst, Cycle now);

  std::vector<Cycle> bursts_;  ///< when they begin, in order
  Cycle free_at_ = 0;          ///< after the last of them
};

class Dram {
 public:
  Dram(const DramShape& shape, u32 line_bytes, ClockRate clock);

  const DramCounts& counts() const { return counts_; }
  void write_back(u64 line, Cycle now) {
    ++counts_.write_backs;
    access(line, now);
  }
  /// An access to a line that arrives now; the cycle in which its data are back.
  Cycle access(u64 line, Cycle now) {
    // Neighbouring lines go to different channels, then to different groups of banks, then fill a
    // row in each of them, then go to the next banks.
    const Divisor::Parts in_channel = channels_.divide(line);
    const Divisor::Parts in_group = groups_.divide(in_channel.quotient);
    const Divisor::Parts in_bank = banks_of_group_.divide(in_group.quotient >> row_shift_);
    const u64 row = in_bank.quotient;
    Channel& channel = all_[in_channel.remainder];
    Bank& bank = channel.banks[in_group.remainder * banks_of_group_.value() + in_bank.remainder];
    const Cycle arrival = now + times_.controller;
    Cycle unloaded = arrival;
    Cycle column = std::max(arrival, bank.next_command);
    if (column - bank.next_command >= times_.row_timeout && bank.open_row != kNoneOpen) {
      close_idle(bank);
      column = std::max(arrival, bank.next_command);
    }
    if (bank.open_row == row) {
      ++counts_.row_hits;
    } else {
      if (bank.open_row == kNoneOpen) {
        ++counts_.row_empty;
      } else {
        ++counts_.row_conflicts;
        column = std::max(column, bank.activated + times_.tras) + times_.trp;
        unloaded += times_.trp;
      }
      bank.open_row = row;
      bank.activated = column;
      column += times_.trcd;
      unloaded += times_.trcd;
    }
    const Cycle data = channel.bus.reserve(column + times_.tcl, times_.burst, now);
    bank.next_command = data - times_.tcl + times_.tccd;
    counts_.waiting += data - times_.tcl - unloaded;
    return data + times_.burst;
  }

 private:
  static constexpr u64 kNoneOpen = ~u64{0};
  struct Bank {
    u64 open_row = kNoneOpen;
    Cycle activated = 0;     ///< when its row was
    Cycle next_command = 0;  ///< the earliest, after the last one
  };
  void close_idle(Bank& bank) const {
    const Cycle idle = bank.next_command + times_.row_timeout;
    bank.next_command = std::max(idle, bank.activated + times_.tras) + times_.trp;
    bank.open_row = kNoneOpen;
  }
  struct Channel {
    std::vector<Bank> banks;
    DramBus bus;
  };

  DramTimes times_;
  DramCounts counts_;
  Divisor channels_, groups_, banks_of_group_;
  u32 row_shift_;  ///< log2 of the lines in a row
  std::vector<Channel> all_;
};

}  // namespace nestwalk::models
