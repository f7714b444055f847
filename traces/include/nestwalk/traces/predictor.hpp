// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Predicting addresses and frames, identically on both sides of the file. Memory is bounded and
// every block starts afresh, so that each can be read alone.
#pragma once

#include <algorithm>
#include <vector>

#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

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
      const u64 chosen = u64{0} - static_cast<u64>(use_previous | (*last == 0));
      return *last ^ ((*last ^ *previous) & chosen);
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
  AddressPredictor() : last_(kEntries) {}

  void reset() {
    std::fill(last_.begin(), last_.end(), 0);
    history = AddressHistory(last_.data());
  }

 private:
  static constexpr std::size_t kEntries = 1 << 16;
  std::vector<u64> last_;

 public:
  AddressHistory history{last_.data()};
};

/// How the addresses of a page relate. The distances are multiples of the page size.
struct Frame {
  u64 gpa = kGvaKnown;  ///< GPA - address; its low bits are the flags of the known addresses
  u64 hpa = 0;          ///< HPA - address

  u8 known() const { return static_cast<u8>(gpa & kAddressesKnown); }
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
    salt_ = ((root ^ asid << 48) * 0x9E3779B97F4A7C15) >> 48;
  }
  Frame& at(u64 address) const { return frames_[((address >> kPageShift) + salt_) % kEntries]; }

 private:
  Frame* frames_;
  u64 salt_ = 0;
};

class FramePredictor {
 public:
  FramePredictor() : frames_(FrameMap::kEntries) {}

  void reset(u64 root, u64 asid) {
    static const std::vector<Frame> fresh(FrameMap::kEntries);
    std::copy(fresh.begin(), fresh.end(), frames_.begin());
    map.switch_space(root, asid);
  }

 private:
  std::vector<Frame> frames_;

 public:
  FrameMap map{frames_.data()};
};

}  // namespace nestwalk::traces
