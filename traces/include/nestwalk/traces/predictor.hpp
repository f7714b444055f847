// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Predicting addresses and frames, identically on both sides of the file. Memory is bounded and
// every block starts afresh, so that each can be read alone.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

/// A table that begins as zeros. Pages that nobody touched cost nothing, which matters to traces of
/// few records and of many vCPUs.
template <class T, std::size_t kEntries>
class ZeroedTable {
 public:
  ZeroedTable() : entries_(static_cast<T*>(std::calloc(kEntries, sizeof(T)))) {
    if (!entries_) throw std::bad_alloc();
  }
  T* data() const { return entries_.get(); }
  /// Zeros again. To be called before each use.
  void reset() {
    if (used_) std::memset(static_cast<void*>(data()), 0, kEntries * sizeof(T));
    used_ = true;
  }

 private:
  struct Free {
    void operator()(T* entries) const { std::free(entries); }
  };
  std::unique_ptr<T[], Free> entries_;
  bool used_ = false;
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
    map.switch_space(root, asid);
  }

 private:
  ZeroedTable<Frame, FrameMap::kEntries> frames_;

 public:
  FrameMap map{frames_.data()};
};

}  // namespace nestwalk::traces
