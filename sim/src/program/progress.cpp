// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/progress.hpp"

#include <unistd.h>

#include <cstdio>

#include "program/output.hpp"

namespace nestwalk::sim {

using addrspace::u64;

Progress::Progress() : shown_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (on_line_) std::fputs("\r\x1b[K", stderr);
}

bool Progress::is_due() {
  if (!shown_) return false;
  const Clock::time_point now = Clock::now();
  if (now < next_) return false;
  next_ = now + std::chrono::milliseconds(200);
  on_line_ = true;
  return true;
}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void Progress::update(u64 done, u64 total, u64 records) {
  if (!is_due()) return;
  const double millions = static_cast<double>(records) / 1e6;
  std::fprintf(stderr, "\r\x1b[K%.1f M records, %.1f M/s", millions, millions / seconds());
  show_time_left(done, total);
}

void Progress::runs(u64 done, u64 total) {
  if (!is_due()) return;
  const std::string of = total == 0 ? "" : std::to_string(done) + " of ";
  std::fprintf(stderr, "\r\x1b[K%s%s, %.1f a minute", of.c_str(),
               counted(total == 0 ? done : total, "run").c_str(),
               60 * static_cast<double>(done) / seconds());
  show_time_left(done, total);
}

void Progress::show_time_left(u64 done, u64 total) const {
  if (total == 0 || done == 0) return;
  const double part = static_cast<double>(done) / static_cast<double>(total);
  std::fprintf(stderr, ", %.0f %%, %.0f s left", 100 * part, seconds() * (1 / part - 1));
}

}  // namespace nestwalk::sim
