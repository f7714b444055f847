// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/distribution.hpp"

namespace nestwalk::software {

void Distribution::add_other(u64 value, u64 times) {
  if (value >= kSmall) {
    large_[value] += times;
    return;
  }
  small_.resize(kSmall);
  small_[value] += times;
}

// The value that would have this place if all stood in a row.
u64 Distribution::at_rank(u64 rank) const {
  u64 before = 0;
  for (u64 value = 0; value < small_.size(); ++value) {
    before += small_[value];
    if (before > rank) return value;
  }
  for (const auto& [value, times] : large_) {
    before += times;
    if (before > rank) return value;
  }
  return 0;
}

void Distribution::add(const Distribution& other) {
  count_ += other.count_;
  sum_ += other.sum_;
  if (!other.small_.empty()) small_.resize(kSmall);
  for (u64 value = 0; value < other.small_.size(); ++value) small_[value] += other.small_[value];
  for (const auto& [value, times] : other.large_) large_[value] += times;
}

void Distribution::take_away(const Distribution& other) {
  count_ -= other.count_;
  sum_ -= other.sum_;
  for (u64 value = 0; value < other.small_.size(); ++value) small_[value] -= other.small_[value];
  for (const auto& [value, times] : other.large_) {
    if ((large_[value] -= times) == 0) large_.erase(value);
  }
}

std::vector<Distribution::Bin> Distribution::bins() const {
  std::vector<Bin> bins;
  const auto put = [&](u64 value, u64 times) {
    if (times == 0) return;
    const u64 width = width_at(value);
    const u64 first = value / width * width;
    if (bins.empty() || bins.back().first != first) bins.push_back({first, first + (width - 1), 0});
    bins.back().count += times;
  };
  for (u64 value = 0; value < small_.size(); ++value) put(value, small_[value]);
  for (const auto& [value, times] : large_) put(value, times);
  return bins;
}

}  // namespace nestwalk::software
