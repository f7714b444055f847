// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/progress.hpp"

#include <unistd.h>

#include <cstdio>

namespace nestwalk::sim {

using addrspace::u64;

Progress::Progress() : shown_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (on_line_) std::fputs("\r\x1b[K", stderr);
}

void Progress::update(u64 done, u64 total, u64 records) {
  if (!shown_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(200);
  on_line_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double millions = static_cast<double>(records) / 1e6;
  std::fprintf(stderr, "\r\x1b[K%.1f M records, %.1f M/s", millions, millions / seconds);
  if (total == 0 || done == 0) return;
  const double part = static_cast<double>(done) / static_cast<double>(total);
  std::fprintf(stderr, ", %.0f %%, %.0f s left", 100 * part, seconds * (1 / part - 1));
}

}  // namespace nestwalk::sim
