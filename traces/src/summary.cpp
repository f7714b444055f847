// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/summary.hpp"

#include <algorithm>

namespace nestwalk::traces {
namespace {

constexpr unsigned kLargeShifts[] = {21, 30};
constexpr std::size_t kLeastPositions = 1 << 16;

}  // namespace

u64 PageReuse::access(Page page) {
  if (next_ == tree_.size()) renumber();
  const auto [found, is_new] = position_of_.try_emplace(page, next_);
  u64 distance = kFirst;
  if (!is_new) {
    distance = position_of_.size() - count_up_to(found->second);
    add(found->second, u64{0} - 1);
    found->second = next_;
  }
  add(next_++, 1);
  return distance;
}

void PageReuse::add(std::size_t position, u64 value) {
  for (; position < tree_.size(); position += position & (0 - position)) tree_[position] += value;
}

u64 PageReuse::count_up_to(std::size_t position) const {
  u64 count = 0;
  for (; position != 0; position -= position & (0 - position)) count += tree_[position];
  return count;
}

// The positions are used up: numbers the pages anew, in the same order.
void PageReuse::renumber() {
  std::vector<std::size_t*> positions;
  for (auto& [page, position] : position_of_) positions.push_back(&position);
  std::sort(positions.begin(), positions.end(),
            [](const std::size_t* a, const std::size_t* b) { return *a < *b; });
  tree_.assign(std::max(kLeastPositions, 4 * positions.size()), 0);
  next_ = 1;
  for (std::size_t* position : positions) {
    *position = next_;
    add(next_++, 1);
  }
}

void Summary::add(const Chunk& chunk) {
  const u64 space =
      space_numbers_.try_emplace({chunk.root, chunk.asid}, space_numbers_.size()).first->second;
  for (const Access& access : chunk.accesses) add(access, space);
  if (chunk.event == nullptr) return;
  ++events_[chunk.event->detail.index()];
  instructions_ += chunk.event->instructions;
}

void Summary::add(const Access& access, u64 space) {
  ++accesses_[static_cast<u8>(access.kind)];
  ++flags_[access.flags];
  instructions_ += access.instructions;
  const u64 address = access.has(kGvaKnown) ? access.gva.value() : access.gpa.value();
  const Page page{address >> kPageShift, space};
  if (page == current_page_ && in_window_ != 0) {
    ++reuse_buckets_[0];
  } else {
    enter_page(page);
  }
  if (++in_window_ == window_accesses_) {
    working_sets_.push_back(window_pages_.size());
    window_pages_.clear();
    in_window_ = 0;
  }
}

void Summary::enter_page(Page page) {
  current_page_ = page;
  window_pages_.insert(page);
  const u64 distance = reuse_.access(page);
  if (distance == PageReuse::kFirst) {
    for (unsigned n = 0; n < 2; ++n) {
      large_pages_[n].insert({page.number >> (kLargeShifts[n] - kPageShift), page.space});
    }
  } else {
    ++reuse_buckets_[static_cast<std::size_t>(std::bit_width(distance))];
  }
}

u64 Summary::flagged(u8 flag) const {
  u64 count = 0;
  for (unsigned flags = 0; flags < 256; ++flags) count += (flags & flag) != 0 ? flags_[flags] : 0;
  return count;
}

u64 Summary::pages(unsigned shift) const {
  if (shift == kPageShift) return reuse_.pages();
  return large_pages_[shift == kLargeShifts[0] ? 0 : 1].size();
}

std::vector<u64> Summary::working_sets() const {
  std::vector<u64> sets = working_sets_;
  if (in_window_ != 0) sets.push_back(window_pages_.size());
  return sets;
}

}  // namespace nestwalk::traces
