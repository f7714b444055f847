// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Range operands of AArch64's TLBI R... (FEAT_TLBIRANGE): TG in bits 47:46 (1 for 4K, 2 for 16K, 3
// for 64K), SCALE in 45:44, NUM in 43:39, TTL in 38:37 (0: of any level), BaseADDR in 36:0. The
// range is (NUM + 1) * 2^(5 * SCALE + 1) granules from BaseADDR, which counts granules; where
// VTCR_EL2.DS is set, 64 KiB (Arm ARM C5.5, "TLBI RIPAS2E1IS").
#pragma once

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

/// How a VM's addresses stand in operands, from its VTCR_EL2.
struct RangeEncoding {
  unsigned granule_shift = 12;
  unsigned base_shift = 12;

  static constexpr RangeEncoding of(u64 vtcr) {
    constexpr unsigned kGranules[] = {12, 16, 14, 12};  // TG0; 3 is reserved
    const unsigned granule = kGranules[vtcr >> 14 & 3];
    const bool wide = (vtcr >> 32 & 1) != 0;
    return {granule, wide ? 16 : granule};
  }
  friend constexpr bool operator==(const RangeEncoding&, const RangeEncoding&) = default;
};

struct TlbiRange {
  u64 start;
  u64 bytes;
  friend constexpr bool operator==(const TlbiRange&, const TlbiRange&) = default;
};

constexpr u64 range_operand(RangeEncoding encoding, u64 start, unsigned scale, u64 units) {
  const u64 granule = encoding.granule_shift / 2 - 5;
  return granule << 46 | u64{scale} << 44 | (units - 1) << 39 |
         (start >> encoding.base_shift & low_mask(37));
}
/// What an operand means. The granule says nothing of VTCR_EL2.DS: that of `encoding` counts.
constexpr TlbiRange range_of(RangeEncoding encoding, u64 operand) {
  const u64 scale = operand >> 44 & 3;
  const u64 units = (operand >> 39 & 31) + 1;
  return {(operand & low_mask(37)) << encoding.base_shift,
          units << (5 * scale + 1) << encoding.granule_shift};
}

/// Covers [start, start + bytes) and nothing else: calls single(address) for one granule, and
/// range(operand) for many. Both ends are whole granules.
template <class Single, class Range>
constexpr void for_each_range(RangeEncoding encoding, u64 start, u64 bytes, Single&& single,
                              Range&& range) {
  const u64 base_mask = low_mask(encoding.base_shift);
  for (u64 granules = bytes >> encoding.granule_shift; granules != 0;) {
    u64 covered = 1;
    if (granules == 1 || (start & base_mask) != 0) {
      single(start);
    } else {
      unsigned scale = 3;
      while (granules >> (5 * scale + 1) == 0) --scale;
      const u64 whole = granules >> (5 * scale + 1);
      const u64 units = whole < 32 ? whole : 32;
      range(range_operand(encoding, start, scale, units));
      covered = units << (5 * scale + 1);
    }
    start += covered << encoding.granule_shift;
    granules -= covered;
  }
}

}  // namespace nestwalk::addrspace
