// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How far a command is, for a person who waits.
#pragma once

#include <chrono>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::sim {

/// Shows rate and time left on standard error when that is a terminal, otherwise nothing.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool shown() const { return shown_; }
  /// `done` of the total (0: nobody knows it), and how many records that were.
  void update(addrspace::u64 done, addrspace::u64 total, addrspace::u64 records);
  /// How many runs of several are over; total 0: nobody knows how many there will be.
  void runs(addrspace::u64 done, addrspace::u64 total);

 private:
  /// Is it time to show something?
  bool is_due();
  void show_time_left(addrspace::u64 done, addrspace::u64 total) const;
  double seconds() const;

  using Clock = std::chrono::steady_clock;

  bool shown_;
  bool on_line_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_ + std::chrono::seconds(1);
};

}  // namespace nestwalk::sim
