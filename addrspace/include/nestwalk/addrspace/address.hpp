// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Addresses, ranges and page iteration.
//
// A guest access goes Gva -> Gpa -> Hpa; the host reaches an Hpa through an Hva. The four are
// distinct types, so an address of one space where another belongs does not compile.
#pragma once

#include <compare>
#include <cstdint>

#include "nestwalk/addrspace/error.hpp"

namespace nestwalk::addrspace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

inline constexpr unsigned kFrameShift = 12;
inline constexpr u64 kFrameBytes = u64{1} << kFrameShift;

inline constexpr u64 kKiB = u64{1} << 10;
inline constexpr u64 kMiB = u64{1} << 20;
inline constexpr u64 kGiB = u64{1} << 30;
inline constexpr u64 kTiB = u64{1} << 40;

constexpr bool is_power_of_two(u64 value) { return value != 0 && (value & (value - 1)) == 0; }
constexpr u64 align_down(u64 value, u64 alignment) { return value & ~(alignment - 1); }
constexpr bool is_aligned(u64 value, u64 alignment) { return (value & (alignment - 1)) == 0; }
/// The low `bits` bits set; all 64 for 64 and above.
constexpr u64 low_mask(unsigned bits) { return bits >= 64 ? ~u64{0} : (u64{1} << bits) - 1; }

/// A 64-bit address in the space that `Tag` names. `+` and `-` wrap as the hardware's adders do;
/// where a caller's numbers may overflow, `Range::make` is the check.
template <class Tag>
class Address {
 public:
  constexpr Address() = default;
  constexpr explicit Address(u64 value) : value_(value) {}

  constexpr u64 value() const { return value_; }

  constexpr Address aligned_down(u64 alignment) const {
    return Address(align_down(value_, alignment));
  }
  constexpr bool is_aligned(u64 alignment) const {
    return addrspace::is_aligned(value_, alignment);
  }
  constexpr u64 offset_in(u64 alignment) const { return value_ & (alignment - 1); }

  constexpr Address& operator+=(u64 bytes) {
    value_ += bytes;
    return *this;
  }
  constexpr Address& operator-=(u64 bytes) {
    value_ -= bytes;
    return *this;
  }

  friend constexpr Address operator+(Address a, u64 bytes) { return Address(a.value_ + bytes); }
  friend constexpr Address operator-(Address a, u64 bytes) { return Address(a.value_ - bytes); }
  friend constexpr u64 operator-(Address a, Address b) { return a.value_ - b.value_; }
  friend constexpr auto operator<=>(Address, Address) = default;
  friend constexpr bool operator==(Address, Address) = default;

 private:
  u64 value_ = 0;
};

struct GvaTag {
  static constexpr const char* kName = "GVA";
};
struct GpaTag {
  static constexpr const char* kName = "GPA";
};
struct HpaTag {
  static constexpr const char* kName = "PA";
};
struct HvaTag {
  static constexpr const char* kName = "VA";
};

using Gva = Address<GvaTag>;  ///< guest virtual
using Gpa = Address<GpaTag>;  ///< guest physical
using Hpa = Address<HpaTag>;  ///< host physical
using Hva = Address<HvaTag>;  ///< host virtual

/// `size` bytes from `start`. Held as start and size, so that a range may end at 2^64.
template <class A>
class Range {
 public:
  constexpr Range() = default;

  /// Fails with AddressOverflow when the last byte would lie beyond 2^64.
  static constexpr Result<Range> make(A start, u64 size) {
    if (size != 0 && start.value() + (size - 1) < start.value()) return Error::AddressOverflow;
    return Range(start, size);
  }
  /// For bounds that are known to be ordered.
  static constexpr Range between(A start, A end) { return Range(start, end - start); }

  constexpr A start() const { return start_; }
  constexpr u64 size() const { return size_; }
  /// One past the last byte; wraps to 0 for a range that ends at 2^64.
  constexpr A end() const { return start_ + size_; }
  /// The last byte of a range that is not empty.
  constexpr A last() const { return start_ + (size_ - 1); }
  constexpr bool empty() const { return size_ == 0; }

  constexpr bool contains(A address) const { return address - start_ < size_; }
  /// An empty range is contained wherever its start lies inside or at the end.
  constexpr bool contains(Range other) const {
    const u64 offset = other.start_ - start_;
    return offset <= size_ && other.size_ <= size_ - offset;
  }
  constexpr bool overlaps(Range other) const {
    if (empty() || other.empty()) return false;
    return start_ <= other.last() && other.start_ <= last();
  }
  constexpr Range intersection(Range other) const {
    if (!overlaps(other)) return Range(start_, 0);
    const A first = start_ < other.start_ ? other.start_ : start_;
    const A last_byte = last() < other.last() ? last() : other.last();
    return Range(first, last_byte - first + 1);
  }
  constexpr bool is_aligned(u64 alignment) const {
    return start_.is_aligned(alignment) && addrspace::is_aligned(size_, alignment);
  }

  friend constexpr bool operator==(Range, Range) = default;

 private:
  constexpr Range(A start, u64 size) : start_(start), size_(size) {}

  A start_{};
  u64 size_ = 0;
};

using GvaRange = Range<Gva>;
using GpaRange = Range<Gpa>;
using HpaRange = Range<Hpa>;

/// The page-aligned addresses of a range, for `for (Gpa page : *Pages<Gpa>::of(range, size))`.
template <class A>
class Pages {
 public:
  class Iterator {
   public:
    constexpr Iterator(A at, u64 left, u64 step) : at_(at), left_(left), step_(step) {}
    constexpr A operator*() const { return at_; }
    constexpr Iterator& operator++() {
      at_ += step_;
      --left_;
      return *this;
    }
    friend constexpr bool operator==(const Iterator& a, const Iterator& b) {
      return a.left_ == b.left_;
    }

   private:
    A at_;
    u64 left_;
    u64 step_;
  };

  /// Fails with Unaligned unless `page_bytes` is a power of two that divides start and size.
  static constexpr Result<Pages> of(Range<A> range, u64 page_bytes) {
    if (!is_power_of_two(page_bytes) || !range.is_aligned(page_bytes)) return Error::Unaligned;
    return Pages(range, page_bytes);
  }

  constexpr Iterator begin() const { return {range_.start(), count(), page_bytes_}; }
  constexpr Iterator end() const { return {range_.end(), 0, page_bytes_}; }
  constexpr u64 count() const { return range_.size() / page_bytes_; }

 private:
  friend class Result<Pages>;
  constexpr Pages(Range<A> range, u64 page_bytes) : range_(range), page_bytes_(page_bytes) {}

  Range<A> range_;
  u64 page_bytes_;
};

}  // namespace nestwalk::addrspace
