// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a trace holds, in numbers: how much of what, over which memory, and how soon again.
#pragma once

#include <array>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "nestwalk/traces/reader.hpp"

namespace nestwalk::traces {

/// A page of an address space; or, likewise, a root and an ASID.
struct Page {
  u64 number = 0;
  u64 space = 0;

  friend bool operator==(const Page&, const Page&) = default;
  struct Hash {
    std::size_t operator()(const Page& page) const {
      return (page.number ^ page.space * 0xD6E8FEB86659FD93) * 0x9E3779B97F4A7C15;
    }
  };
};

/// LRU stack distances of pages: how many other pages were accessed since a page was, exactly.
class PageReuse {
 public:
  static constexpr u64 kFirst = ~u64{0};

  PageReuse() { renumber(); }

  /// The distance of this access, or kFirst.
  u64 access(Page page);
  u64 pages() const { return position_of_.size(); }

 private:
  void add(std::size_t position, u64 value);
  u64 count_up_to(std::size_t position) const;
  void renumber();

  std::unordered_map<Page, std::size_t, Page::Hash> position_of_;  ///< of its latest access
  std::vector<u64> tree_;  ///< Fenwick's: which positions are the latest of their page
  std::size_t next_ = 1;
};

class Summary {
 public:
  /// Bucket 0: the same page again; bucket n: at least 2^(n-1) other pages in between.
  static constexpr std::size_t kBuckets = 40;

  explicit Summary(u64 window_accesses) : window_accesses_(window_accesses) {}

  void add(const Chunk& chunk);

  u64 accesses(AccessKind kind) const { return accesses_[static_cast<u8>(kind)]; }
  u64 flagged(u8 flag) const;
  u64 events(std::size_t kind) const { return events_[kind]; }
  u64 instructions() const { return instructions_; }
  u64 spaces() const { return space_numbers_.size(); }
  /// Distinct pages of 2^`shift` bytes: 12, 21 or 30. By GVA and address space, or by GPA in a
  /// trace that has no GVA.
  u64 pages(unsigned shift) const;
  u64 first_accesses() const { return reuse_.pages(); }
  const std::array<u64, kBuckets>& reuse() const { return reuse_buckets_; }
  /// Distinct 4 KiB pages in each window of accesses; the last one may be shorter.
  std::vector<u64> working_sets() const;

 private:
  void add(const Access& access, u64 space);
  void enter_page(Page page);

  u64 window_accesses_;
  u64 accesses_[3] = {};
  u64 flags_[256] = {};
  u64 events_[std::variant_size_v<EventDetail>] = {};
  u64 instructions_ = 0;
  u64 in_window_ = 0;
  Page current_page_;
  PageReuse reuse_;
  std::array<u64, kBuckets> reuse_buckets_{};
  std::unordered_set<Page, Page::Hash> large_pages_[2];
  std::unordered_set<Page, Page::Hash> window_pages_;
  std::vector<u64> working_sets_;
  std::unordered_map<Page, u64, Page::Hash> space_numbers_;  ///< in the order of their appearance
};

}  // namespace nestwalk::traces
