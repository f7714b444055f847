// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The least that a simulator of nested paging can do, for `scripts/speed` to compare with: the same
// reader of traces, a first TLB of 16 sets of 4 ways, a second one of 256 sets of 12, and on a miss
// in both the 24 reads of a walk over tables in memory, which are made when they are first needed.
// No time, no caches, no fences, no statistics but two.

#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <memory>

#include "nestwalk/traces/io.hpp"
#include "nestwalk/traces/reader.hpp"

namespace {

using nestwalk::traces::u64;

constexpr unsigned kPageShift = 12, kIndexBits = 9, kLevels = 4;
constexpr u64 kPresent = 1;

/// Host memory, which costs nothing until it is touched.
class Memory {
 public:
  Memory() {
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
      std::perror("plain-loop: mmap");
      std::exit(1);
    }
    words_ = static_cast<u64*>(at);
  }
  u64& word(u64 address) { return words_[address / 8]; }
  u64 frame() { return next_frame_++ << kPageShift; }

 private:
  static constexpr u64 kBytes = u64{1} << 34;
  u64* words_ = nullptr;
  u64 next_frame_ = 1;
};

u64 index_at(u64 address, unsigned level) {
  return address >> (kPageShift + kIndexBits * level) & ((1u << kIndexBits) - 1);
}
u64 offset_of(u64 address) { return address & ((u64{1} << kPageShift) - 1); }

class Tables {
 public:
  /// 4 reads of host entries for each of 4 guest entries, which are reads themselves, and 4 for the
  /// page.
  u64 walk(u64 gva) {
    u64 table = guest_root_;
    for (unsigned level = kLevels; level-- > 0;) {
      u64& entry = memory_.word(host_address(table + index_at(gva, level) * 8));
      if ((entry & kPresent) == 0) entry = next_guest_frame_++ << kPageShift | kPresent;
      table = entry & ~kPresent;
    }
    return host_address(table + offset_of(gva));
  }

 private:
  u64 host_address(u64 gpa) {
    u64 table = host_root_;
    for (unsigned level = kLevels; level-- > 0;) {
      u64& entry = memory_.word(table + index_at(gpa, level) * 8);
      if ((entry & kPresent) == 0) entry = memory_.frame() | kPresent;
      table = entry & ~kPresent;
    }
    return table + offset_of(gpa);
  }

  Memory memory_;
  u64 host_root_ = memory_.frame();
  u64 next_guest_frame_ = 1;
  u64 guest_root_ = next_guest_frame_++ << kPageShift;
};

/// Least recently used: the first way of a set is the one that was used last.
template <unsigned kSets, unsigned kWays>
class Tlb {
 public:
  const u64* find(u64 page) {
    auto& set = sets_[page % kSets];
    for (unsigned way = 0; way < kWays; ++way) {
      if (set[way].page == page) {
        const Entry found = set[way];
        for (; way > 0; --way) set[way] = set[way - 1];
        set[0] = found;
        return &set[0].frame;
      }
    }
    return nullptr;
  }
  void fill(u64 page, u64 frame) {
    auto& set = sets_[page % kSets];
    for (unsigned way = kWays - 1; way > 0; --way) set[way] = set[way - 1];
    set[0] = {page, frame};
  }

 private:
  struct Entry {
    u64 page = ~u64{0};
    u64 frame = 0;
  };
  std::array<std::array<Entry, kWays>, kSets> sets_;
};

int run(const char* path) {
  nestwalk::traces::StreamReader reader(nestwalk::traces::open_source(path), 0);
  const auto tables = std::make_unique<Tables>();
  const auto first = std::make_unique<Tlb<16, 4>>();
  const auto second = std::make_unique<Tlb<256, 12>>();
  u64 accesses = 0, walks = 0, sum = 0;
  nestwalk::traces::Chunk chunk;
  while (reader.next(chunk)) {
    for (const auto& access : chunk.accesses) {
      const u64 gva = access.gva.value(), page = gva >> kPageShift;
      ++accesses;
      const u64* frame = first->find(page);
      if (frame == nullptr) {
        frame = second->find(page);
        if (frame == nullptr) {
          ++walks;
          second->fill(page, tables->walk(gva) >> kPageShift);
          frame = second->find(page);
        }
        first->fill(page, *frame);
      }
      sum += *frame << kPageShift | offset_of(gva);
    }
  }
  std::printf("%llu accesses, %llu walks, sum %llx\n", static_cast<unsigned long long>(accesses),
              static_cast<unsigned long long>(walks), static_cast<unsigned long long>(sum));
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fputs("usage: plain-loop TRACE\n", stderr);
    return 2;
  }
  return run(words[1]);
}
