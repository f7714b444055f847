// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A second, naive translator: written from the manuals, recursive, without time, sharing no code
// with the walker or with the engine's formats. The differential test holds it against the walker.
#pragma once

#include <functional>

#include "nestwalk/models/fault.hpp"

namespace nestwalk::models::naive {

constexpr u64 field(u64 value, unsigned high, unsigned low) {
  return value >> low & ((u64{2} << (high - low)) - 1);
}
constexpr bool has(u64 value, unsigned bit) { return (value >> bit & 1) != 0; }

struct Shape {
  unsigned levels, page_shift, index_bits, input_bits;
  bool signed_input;
  u64 root;
};

struct Machine {
  Architecture architecture;
  Shape guest, nested;
  std::function<bool(u64)> exists;  ///< is there host memory at an address?
  std::function<u64(u64)> load;
};

struct Answer {
  FaultKind kind = FaultKind::None;
  bool nested = false, for_table = false, table_write = false;
  u64 guest_physical = 0;  ///< of a nested fault
  u64 host = 0;
  unsigned shift = 63;
  friend bool operator==(const Answer&, const Answer&) = default;
};

/// What one entry says.
struct Seen {
  enum { Nothing, Wrong, Table, Leaf } kind = Nothing;
  u64 next = 0;
  bool r = true, w = true, x = true, u = true;
  bool kernel_x = true;
  bool a = true, d = true;
};

// Intel SDM vol. 3A, tables 4-14 to 4-20.
inline Seen x86_guest(u64 e, unsigned level) {
  Seen s;
  if (!has(e, 0)) return s;
  s.w = has(e, 1);
  s.u = has(e, 2);
  s.a = has(e, 5);
  s.x = s.kernel_x = !has(e, 63);
  const bool large = level > 0 && has(e, 7);
  const bool leaf = level == 0 || large;
  s.d = has(e, 6);
  s.kind = leaf ? Seen::Leaf : Seen::Table;
  s.next = field(e, 51, 12) << 12;
  if (field(e, 51, 48) != 0 || (large && level > 2)) s.kind = Seen::Wrong;
  if (large && level == 1 && field(e, 20, 13) != 0) s.kind = Seen::Wrong;
  if (large && level == 2 && field(e, 29, 13) != 0) s.kind = Seen::Wrong;
  if (large) s.next &= ~u64{0x1000};  // PAT
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
  const u64 type = field(e, 5, 3);
  if (s.w && !s.r) s.kind = Seen::Wrong;
  if (field(e, 51, 48) != 0 || (large && level > 2)) s.kind = Seen::Wrong;
  if (s.kind == Seen::Table && field(e, 6, 3) != 0) s.kind = Seen::Wrong;
  if (s.kind == Seen::Leaf && (type == 2 || type == 3 || type == 7)) s.kind = Seen::Wrong;
  if (large && level == 1 && field(e, 20, 12) != 0) s.kind = Seen::Wrong;
  if (large && level == 2 && field(e, 29, 12) != 0) s.kind = Seen::Wrong;
  return s;
}
// RISC-V privileged spec, "Virtual Address Translation Process".
inline Seen riscv(u64 e, unsigned level, bool nested) {
  Seen s;
  if (!has(e, 0)) return s;
  s.kind = Seen::Wrong;
  s.r = has(e, 1);
  s.w = has(e, 2);
  s.x = s.kernel_x = has(e, 3);
  s.u = has(e, 4);
  s.a = has(e, 6);
  s.d = has(e, 7);
  const u64 number = field(e, 53, 10);
  s.next = number << 12;
  if ((s.w && !s.r) || field(e, 60, 54) != 0 || has(e, 63) || field(e, 62, 61) == 3) return s;
  if (!s.r && !s.x) {
    if (level == 0 || s.u || s.a || s.d || field(e, 62, 61) != 0) return s;
    s = Seen{};
    s.kind = Seen::Table;
    s.next = number << 12;
    return s;
  }
  if (level > 0 && (number & ((u64{1} << 9 * level) - 1)) != 0) return s;
  s.kind = Seen::Leaf;
  if (nested && !s.u) s.r = s.w = s.x = s.kernel_x = false;
  if (nested) s.u = true;
  return s;
}
// Arm ARM D8, "VMSAv8-64 descriptor formats", 48-bit output addresses.
inline Seen arm(u64 e, unsigned level, bool nested, unsigned page_shift) {
  Seen s;
  if (!has(e, 0)) return s;
  const bool block = !has(e, 1);
  const bool may_block = page_shift == 12 ? level == 1 || level == 2 : level == 1;
  if (block && !may_block) return s;
  const bool leaf = block || level == 0;
  const unsigned low = page_shift + (block ? level * (page_shift - 3) : 0);
  s.next = field(e, 47, low) << low;
  s.kind = leaf ? Seen::Leaf : Seen::Table;
  if (!leaf) {
    if (nested) return s;
    s.u = !has(e, 61);
    s.w = !has(e, 62);
    s.x = !has(e, 60);
    s.kernel_x = !has(e, 59);
    return s;
  }
  s.a = has(e, 10);
  if (nested) {
    s.r = has(e, 6);
    s.w = has(e, 7);
    s.x = s.kernel_x = !has(e, 54);
  } else {
    s.u = has(e, 6);
    s.w = !has(e, 7);
    s.x = !has(e, 54);
    s.kernel_x = !has(e, 53);
  }
  return s;
}

class Translator {
 public:
  explicit Translator(const Machine& machine) : m_(machine) {}

  Answer translate(u64 address, AccessKind access, bool user) {
    answer_ = {};
    access_ = access;
    user_ = user;
    const Shape& g = m_.guest;
    const u64 upper = address >> (g.input_bits - (g.signed_input ? 1 : 0));
    const u64 ones = ~u64{0} >> (g.input_bits - (g.signed_input ? 1 : 0));
    if (upper != 0 && !(g.signed_input && upper == ones)) return stop(FaultKind::BadAddress);
    guest(address, g.root, g.levels - 1, Seen{});
    return answer_;
  }

 private:
  Answer stop(FaultKind kind) {
    answer_.kind = kind;
    return answer_;
  }
  Seen see(u64 entry, unsigned level, bool nested) const {
    switch (m_.architecture) {
      case Architecture::X86_64:
        return nested ? x86_nested(entry, level) : x86_guest(entry, level);
      case Architecture::RiscV64:
        return riscv(entry, level, nested);
      case Architecture::AArch64:
        return arm(entry, level, nested, nested ? m_.nested.page_shift : m_.guest.page_shift);
    }
    return {};
  }
  static u64 index(const Shape& shape, u64 address, unsigned level) {
    const u64 all = address << (64 - shape.input_bits) >> (64 - shape.input_bits);
    const u64 shifted = all >> (shape.page_shift + shape.index_bits * level);
    return level == shape.levels - 1 ? shifted : shifted & ((u64{1} << shape.index_bits) - 1);
  }
  static Seen below(const Seen& table, Seen entry) {
    entry.r = entry.r && table.r;
    entry.w = entry.w && table.w;
    entry.x = entry.x && table.x;
    entry.kernel_x = entry.kernel_x && table.kernel_x;
    entry.u = entry.u && table.u;
    return entry;
  }
  // Is software asked to set a flag (Arm without FEAT_HAFDBS, RISC-V without Svadu)?
  bool flag_is_missing(const Seen& s, bool write) const {
    if (m_.architecture == Architecture::X86_64) return false;
    return !s.a || (m_.architecture == Architecture::RiscV64 && write && !s.d);
  }

  // The second stage; false if it stopped.
  bool nested(u64 address, bool r, bool w, bool x, bool for_table, bool table_write, u64& host) {
    answer_.nested = true;
    answer_.for_table = for_table;
    answer_.table_write = table_write;
    answer_.guest_physical = address;
    if (address >> m_.nested.input_bits != 0) return stop(FaultKind::BadAddress), false;
    u64 table = m_.nested.root;
    Seen above;
    for (unsigned level = m_.nested.levels - 1;; --level) {
      const u64 slot = table + 8 * index(m_.nested, address, level);
      if (!m_.exists(slot)) return stop(FaultKind::BusError), false;
      const Seen s = below(above, see(m_.load(slot), level, true));
      if (s.kind == Seen::Nothing) return stop(FaultKind::NotPresent), false;
      if (s.kind == Seen::Wrong) return stop(FaultKind::Malformed), false;
      if (s.kind == Seen::Table) {
        table = s.next;
        above = s;
        continue;
      }
      const bool arm_flag = m_.architecture == Architecture::AArch64 && !s.a;
      if (arm_flag) return stop(FaultKind::AccessFlag), false;
      if ((r && !s.r) || (w && !s.w) || (x && !s.x)) return stop(FaultKind::Permission), false;
      if (flag_is_missing(s, w)) return stop(FaultKind::AccessFlag), false;
      const unsigned shift = m_.nested.page_shift + m_.nested.index_bits * level;
      host = s.next + (address & ((u64{1} << shift) - 1));
      if (!for_table && shift < answer_.shift) answer_.shift = shift;
      answer_.nested = answer_.for_table = answer_.table_write = false;
      answer_.guest_physical = 0;
      return true;
    }
  }

  bool guest_permits(const Seen& s) const {
    if (user_ && !s.u) return false;
    switch (access_) {
      case AccessKind::Read:
        return s.r;
      case AccessKind::Write:
        return s.w;
      case AccessKind::Execute:
        return user_ ? s.x : !s.u && s.kernel_x;
    }
    return false;
  }

  void guest(u64 address, u64 table, unsigned level, const Seen& above) {
    const u64 place = table + 8 * index(m_.guest, address, level);
    u64 slot = 0;
    if (!nested(place, true, false, false, true, false, slot)) return;
    if (!m_.exists(slot)) return void(stop(FaultKind::BusError));
    const Seen entry = see(m_.load(slot), level, false);
    const Seen s = below(above, entry);
    const bool write = access_ == AccessKind::Write;
    if (s.kind == Seen::Nothing) return void(stop(FaultKind::NotPresent));
    if (s.kind == Seen::Wrong) return void(stop(FaultKind::Malformed));
    if (s.kind == Seen::Leaf) {
      if (m_.architecture == Architecture::AArch64 && !s.a)
        return void(stop(FaultKind::AccessFlag));
      if (!guest_permits(s)) return void(stop(FaultKind::Permission));
      if (flag_is_missing(s, write)) return void(stop(FaultKind::AccessFlag));
    }
    const bool updates = m_.architecture == Architecture::X86_64 &&
                         (!s.a || (s.kind == Seen::Leaf && write && !s.d));
    if (updates && !nested(place, true, true, false, true, true, slot)) return;
    if (s.kind == Seen::Table) return guest(address, s.next, level - 1, s);
    answer_.shift = m_.guest.page_shift + m_.guest.index_bits * level;
    const u64 data = s.next + (address & ((u64{1} << answer_.shift) - 1));
    u64 host = 0;
    const bool fetch = access_ == AccessKind::Execute;
    if (!nested(data, !write && !fetch, write, fetch, false, false, host)) return;
    answer_.host = host;
  }

  Machine m_;
  Answer answer_;
  AccessKind access_ = AccessKind::Read;
  bool user_ = false;
};

}  // namespace nestwalk::models::naive
