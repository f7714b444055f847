// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an entry of each format says: a second time, bit by bit from the manuals, sharing nothing
// with the engine's formats.
#pragma once

#include "nestwalk/models/translation/fault.hpp"

namespace nestwalk::models::naive {

constexpr u64 field(u64 value, unsigned high, unsigned low) {
  return value >> low & ((u64{2} << (high - low)) - 1);
}
constexpr bool has(u64 value, unsigned bit) { return (value >> bit & 1) != 0; }

/// The upper bits of an address that tables translate.
enum class Half { Zero, Sign, Ones };

struct Shape {
  bool on = true;
  unsigned levels, page_shift, index_bits, input_bits;
  Half half;
  bool wide;  ///< Arm: descriptors with 52-bit addresses
  u64 root;
  bool reserves_63 = false;  ///< x86: EFER.NXE is clear
  bool tables_limit = true;  ///< Arm: TCR_EL1.HPD is clear
};

/// What one entry says.
struct Seen {
  enum { Nothing, Wrong, Table, Leaf } kind = Nothing;
  u64 next = 0;
  bool r = true, w = true, x = true, u = true;
  bool kernel_x = true;
  bool a = true, d = true;
  bool global = false;
  MemoryType memory = MemoryType::WriteBack;
  bool memory_is_modelled = true;
  u64 accessed = 0;      ///< the entry once its accessed flag is set
  u64 dirtied = 0;       ///< and for a write
  unsigned doubled = 0;  ///< log2 of the pages for which a TLB may keep it
};

// Intel SDM vol. 3A, tables 4-14 to 4-20; AMD APM vol. 2, 5.3.3, where bit 8 is MBZ in the PML4 and
// above; 48 physical bits; IA32_PAT as after reset.
inline Seen x86_guest(u64 e, unsigned level, bool amd, bool reserves_63 = false) {
  Seen s;
  if (!has(e, 0)) return s;
  s.w = has(e, 1);
  s.u = has(e, 2);
  s.a = has(e, 5);
  s.x = s.kernel_x = !has(e, 63);
  const bool large = level > 0 && has(e, 7);
  const bool leaf = level == 0 || large;
  s.d = has(e, 6);
  s.global = leaf && has(e, 8);
  s.kind = leaf ? Seen::Leaf : Seen::Table;
  s.next = field(e, 51, 12) << 12;
  s.accessed = e | 1u << 5;
  s.dirtied = s.accessed | 1u << 6;
  if (field(e, 51, 48) != 0 || (large && level > 2)) s.kind = Seen::Wrong;
  if (reserves_63 && has(e, 63)) s.kind = Seen::Wrong;  // vol. 3A, 4.6.2 "Access Rights": RSVD
  if (amd && level >= 3 && has(e, 8)) s.kind = Seen::Wrong;
  if (large && level == 1 && field(e, 20, 13) != 0) s.kind = Seen::Wrong;
  if (large && level == 2 && field(e, 29, 13) != 0) s.kind = Seen::Wrong;
  if (large) s.next &= ~u64{0x1000};  // PAT
  // PWT and PCD: WB, WT, UC-, UC; the upper half of the register repeats that.
  static constexpr MemoryType kPat[] = {MemoryType::WriteBack, MemoryType::WriteThrough,
                                        MemoryType::Device, MemoryType::Device};
  s.memory = kPat[field(e, 4, 3)];
  s.memory_is_modelled = field(e, 4, 3) != 2;  // UC- counts as UC
  return s;
}

// Intel SDM vol. 3C, tables "Format of an EPT ...", "EPT Misconfigurations".
inline Seen x86_nested(u64 e, unsigned level) {
  Seen s;
  s.r = has(e, 0);
  s.w = has(e, 1);
  s.x = s.kernel_x = has(e, 2);
  if (!s.r && !s.w && !s.x) return s;
  const bool large = level > 0 && has(e, 7);
  s.kind = level == 0 || large ? Seen::Leaf : Seen::Table;
  s.next = field(e, 51, 12) << 12;
  s.a = has(e, 8);
  s.d = has(e, 9);
  s.accessed = e | 1u << 8;
  s.dirtied = s.accessed | 1u << 9;
  const u64 type = field(e, 5, 3);
  if (s.w && !s.r) s.kind = Seen::Wrong;
  if (field(e, 51, 48) != 0 || (large && level > 2)) s.kind = Seen::Wrong;
  if (s.kind == Seen::Table && field(e, 6, 3) != 0) s.kind = Seen::Wrong;
  if (s.kind == Seen::Leaf && (type == 2 || type == 3 || type == 7)) s.kind = Seen::Wrong;
  if (large && level == 1 && field(e, 20, 12) != 0) s.kind = Seen::Wrong;
  if (large && level == 2 && field(e, 29, 12) != 0) s.kind = Seen::Wrong;
  static constexpr MemoryType kTypes[] = {MemoryType::Device,       MemoryType::WriteCombining,
                                          MemoryType::Other,        MemoryType::Other,
                                          MemoryType::WriteThrough, MemoryType::WriteProtected,
                                          MemoryType::WriteBack,    MemoryType::Other};
  s.memory = kTypes[type];
  s.memory_is_modelled = !has(e, 6);  // "ignore PAT"
  return s;
}

// AMD APM vol. 2, 5.3 "Long-Mode Page Translation" and 15.25 "Nested Paging": the host's format; a
// user's access at every level; no global pages.
inline Seen amd_nested(u64 e, unsigned level) {
  Seen s = x86_guest(e, level, true);
  if (s.kind == Seen::Nothing) return s;
  if (!s.u) s.r = s.w = s.x = s.kernel_x = false;
  s.u = true;
  s.global = false;
  return s;
}

// RISC-V privileged spec, "Virtual Address Translation Process"; Svpbmt; Svnapot.
inline Seen riscv(u64 e, unsigned level, bool nested, u64 address) {
  Seen s;
  if (!has(e, 0)) return s;
  s.kind = Seen::Wrong;
  s.r = has(e, 1);
  s.w = has(e, 2);
  s.x = s.kernel_x = has(e, 3);
  s.u = has(e, 4);
  s.global = has(e, 5) && !nested;
  s.a = has(e, 6);
  s.d = has(e, 7);
  s.accessed = e | 1u << 6;
  s.dirtied = s.accessed | 1u << 7;
  const u64 number = field(e, 53, 10);
  s.next = number << 12;
  if ((s.w && !s.r) || field(e, 60, 54) != 0 || field(e, 62, 61) == 3) return s;
  if (!s.r && !s.x) {
    if (level == 0 || s.u || s.a || s.d || field(e, 63, 61) != 0) return s;
    s = Seen{};
    s.kind = Seen::Table;
    s.next = number << 12;
    return s;
  }
  if (level > 0 && (number & ((u64{1} << 9 * level) - 1)) != 0) return s;
  // Table "Page table entry encodings when pte.N=1": i = 0, ppn[0] = x xxxx 1000, 64 KiB; all
  // others are reserved. "ppn[i][napot_bits-1:0] is replaced by vpn[i][napot_bits-1:0]."
  if (has(e, 63)) {
    if (level != 0 || number % 16 != 8) return s;
    s.next = (number - 8 + field(address, 15, 12)) << 12;
    s.doubled = 4;
  }
  s.kind = Seen::Leaf;
  if (nested && !s.u) s.r = s.w = s.x = s.kernel_x = false;
  if (nested) s.u = true;
  static constexpr MemoryType kTypes[] = {MemoryType::WriteBack, MemoryType::Uncached,
                                          MemoryType::Device};
  s.memory = kTypes[field(e, 62, 61)];
  return s;
}

// The engine's MAIR_EL1, and MemAttr[3:0] of stage 2 without FWB.
inline MemoryType arm_memory(u64 e, bool nested) {
  static constexpr MemoryType kMair[] = {
      MemoryType::WriteBack,   MemoryType::WriteThrough, MemoryType::Uncached,  MemoryType::Device,
      MemoryType::DeviceNGnRE, MemoryType::DeviceNGRE,   MemoryType::DeviceGRE, MemoryType::Device};
  if (!nested) return kMair[field(e, 4, 2)];
  switch (field(e, 5, 2)) {
    case 0b0000:
      return MemoryType::Device;
    case 0b0001:
      return MemoryType::DeviceNGnRE;
    case 0b0010:
      return MemoryType::DeviceNGRE;
    case 0b0011:
      return MemoryType::DeviceGRE;
    case 0b0101:
      return MemoryType::Uncached;
    case 0b1010:
      return MemoryType::WriteThrough;
    case 0b1111:
      return MemoryType::WriteBack;
    default:
      return MemoryType::Other;
  }
}
// Arm ARM D8, "VMSAv8-64 descriptor formats"; 48 physical bits.
inline Seen arm(u64 e, unsigned level, bool nested, const Shape& shape, bool hardware_dirty,
                u64 address) {
  Seen s;
  if (!has(e, 0)) return s;
  const bool block = !has(e, 1);
  // 4K: 1 GiB and 2 MiB; 16K: 32 MiB; 64K: 512 MiB. With 52-bit descriptors one level more.
  const unsigned highest = (shape.page_shift == 12 ? 2 : 1) + (shape.wide ? 1 : 0);
  if (block && (level == 0 || level > highest)) return s;
  const bool leaf = block || level == 0;
  const unsigned low = shape.page_shift + (block ? level * (shape.page_shift - 3) : 0);
  s.kind = leaf ? Seen::Leaf : Seen::Table;
  if (!shape.wide) {
    s.next = field(e, 47, low) << low;
  } else if (shape.page_shift == 16) {
    s.next = field(e, 47, low) << low | field(e, 15, 12) << 48;
  } else {
    s.next = field(e, 49, low) << low | field(e, 9, 8) << 50;
  }
  if (s.next >> 48 != 0) s.kind = Seen::Wrong;  // Address size fault
  if (!leaf) {
    // "Hierarchical control": stage 1 only, and not with HPD.
    if (nested || !shape.tables_limit) return s;
    s.u = !has(e, 61);
    s.w = !has(e, 62);
    s.x = !has(e, 60);
    s.kernel_x = !has(e, 59);
    return s;
  }
  // "The Contiguous bit": 4K: 16 pages, 16 of 2M, 16 of 1G; 16K: 128 pages, 32 of 32M; 64K: 32
  // pages, 32 of 512M. Without input and output aligned alike, it is wrong, and a hint not taken.
  if (has(e, 52)) {
    if (shape.page_shift == 12 && level <= 2) s.doubled = 4;
    if (shape.page_shift == 14 && level <= 1) s.doubled = level == 0 ? 7 : 5;
    if (shape.page_shift == 16 && level <= 1) s.doubled = 5;
    const u64 all = (u64{1} << (low + s.doubled)) - (u64{1} << low);
    if ((s.next & all) != (address & all)) s.doubled = 0;
  }
  s.a = has(e, 10);
  s.accessed = s.dirtied = e | 1u << 10;
  s.memory = arm_memory(e, nested);
  s.d = nested ? has(e, 7) : !has(e, 7);
  const bool modifier = has(e, 51);
  s.w = s.d || (hardware_dirty && modifier);
  if (s.d || modifier) {
    s.dirtied = nested ? s.accessed | u64{1} << 7 : s.accessed & ~(u64{1} << 7);
  }
  if (nested) {
    s.r = has(e, 6);
    s.x = s.kernel_x = !has(e, 54);
  } else {
    s.u = has(e, 6);
    s.x = !has(e, 54);
    s.kernel_x = !has(e, 53);
    s.global = !has(e, 11);
  }
  return s;
}

}  // namespace nestwalk::models::naive
