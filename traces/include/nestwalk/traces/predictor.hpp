// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Predicting addresses and frames, identically on both sides of the file. Memory is bounded and
// every block starts afresh, so that each can be read alone.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

/// A table that begins as zeros. Before its first use, and where nobody touches it, it costs
/// nothing, which matters to traces of few records and of many vCPUs. Not from the heap: of a large
/// allocation a sanitizer marks every byte.
template <class T, std::size_t kEntries>
class ZeroedTable {
 public:
  T* data() const { return entries_.get(); }
  /// Zeros. To be called before each use.
  void reset() {
    if (entries_) {
      std::memset(static_cast<void*>(data()), 0, kBytes);
      return;
    }
    void* const zeros =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (zeros == MAP_FAILED) throw std::bad_alloc();
    entries_.reset(static_cast<T*>(zeros));
  }

 private:
  static constexpr std::size_t kBytes = kEntries * sizeof(T);

  struct Unmap {
    void operator()(T* entries) const { munmap(entries, kBytes); }
  };
  std::unique_ptr<T[], Unmap> entries_;
};

/// Predicts an access's address: the one that was accessed after the same recent history of access
/// kinds, sizes and instruction counts, which stands in for the program counter. A value, so that a
/// loop can keep it in registers; the table belongs to an AddressPredictor.
class AddressHistory {
 public:
  explicit AddressHistory(u64* last) : last_(last) {}

  /// What an access adds to the history.
  static constexpr u8 context_of(AccessKind kind, u32 size, u32 instructions) {
    return static_cast<u8>(static_cast<u32>(kind) * 85 + size * 31 +
                           std::min<u32>(instructions, 255) * 7);
  }

  struct Slot {
    u64* last;      ///< the address after the same history; 0 when there was none
    u64* previous;  ///< the stream's previous address, data and fetches apart

    // Without a branch, which would be hard to predict.
    u64 base(bool use_previous) const {
      const u64 before = *previous;
      const u64 remembered = *last == 0 ? before : *last;
      return use_previous ? before : remembered;
    }
    void update(u64 address) const { *last = *previous = address; }
  };
  Slot next(u8 context, bool fetch) {
    history_ = history_ << 8 | context;
    return {&last_[history_ * 0x9E3779B97F4A7C15 >> 48], &previous_[fetch]};
  }

 private:
  u64* last_;
  u64 history_ = 0;
  u64 previous_[2] = {};
};

class AddressPredictor {
 public:
  void reset() {
    last_.reset();
    history = AddressHistory(last_.data());
  }

 private:
  ZeroedTable<u64, 1 << 16> last_;

 public:
  AddressHistory history{last_.data()};
};

/// How the addresses of a page relate. The distances are multiples of the page size. All zeros:
/// only the GVA is known.
struct Frame {
  u64 gpa =
      0;  ///< GPA - address; its low bits are the flags of the known addresses, GVA's inverted
  u64 hpa = 0;  ///< HPA - address

  static Frame of(u8 known, u64 gpa_distance, u64 hpa_distance) {
    return {gpa_distance | (known ^ u64{kGvaKnown}), hpa_distance};
  }
  u8 inverted_known() const { return static_cast<u8>(gpa & kAddressesKnown); }
  u8 known() const { return inverted_known() ^ kGvaKnown; }
  u64 gpa_distance() const { return gpa & ~(kPageBytes - 1); }
  friend bool operator==(const Frame&, const Frame&) = default;
};

/// Predicts the frame of a page: the one that was last used with the same address space and page
/// number. Direct-mapped, without tags: a wrong prediction is corrected in the file. A value, as
/// AddressHistory is.
class FrameMap {
 public:
  static constexpr std::size_t kEntries = 1 << 16;

  explicit FrameMap(Frame* frames) : frames_(frames) {}

  /// Keeps address spaces apart that have the same page numbers.
  void switch_space(u64 root, u64 asid) {
    salt_ = ((root ^ asid << 48) * 0x9E3779B97F4A7C15) >> 48 << kPageShift;
  }
  Frame& at(u64 address) const { return frames_[(address + salt_) >> kPageShift & (kEntries - 1)]; }

 private:
  Frame* frames_;
  u64 salt_ = 0;
};

class FramePredictor {
 public:
  void reset(u64 root, u64 asid) {
    frames_.reset();
    map = FrameMap(frames_.data());
    map.switch_space(root, asid);
  }

 private:
  ZeroedTable<Frame, FrameMap::kEntries> frames_;

 public:
  FrameMap map{frames_.data()};
};

}  // namespace nestwalk::traces
