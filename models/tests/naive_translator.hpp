// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A second, naive translator: written from the manuals, recursive, without time, sharing no code
// with the walker or with the engine's formats. The differential test holds it against the walker.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "naive_formats.hpp"

namespace nestwalk::models::naive {

struct Machine {
  Architecture architecture;
  Shape guest, nested;
  bool npt = false;                   ///< x86: AMD's nested tables
  bool hardware_dirty = false;        ///< EPT A/D, FEAT_HAFDBS, Svadu
  bool kernel_touches_user = true;    ///< no SMAP, SUM, no PAN
  bool kernel_executes_user = false;  ///< x86: no SMEP
  bool wxn = false, ptw = false;      ///< Arm: SCTLR_EL1.WXN, HCR_EL2.PTW
  bool write_protect = true;          ///< x86: CR0.WP
  bool mxr = false, vs_mxr = false;   ///< RISC-V: sstatus.MXR, vsstatus.MXR
  std::function<bool(u64)> exists;    ///< is there host memory at an address?
  std::function<u64(u64)> load;
};

struct Answer {
  FaultKind kind = FaultKind::None;
  bool nested = false, for_table = false, table_write = false;
  unsigned level = 0;      ///< of the entry that faulted
  unsigned granted = 0;    ///< what the second stage allows: 1 r, 2 w, 4 x
  u64 guest_physical = 0;  ///< of a nested fault
  // Without a fault:
  u64 host = 0;
  unsigned guest_shift = 63, nested_shift = 63;
  unsigned guest_good_for = 63, nested_good_for = 63;  ///< with neighbours that are one translation
  unsigned user_rights = 7, kernel_rights = 7;         ///< of the first stage: 1 r, 2 w, 4 x
  unsigned nested_rights = 7;
  bool global = false;
  MemoryType memory = MemoryType::WriteBack;
  bool memory_is_modelled = true;
};

/// An entry that a translation read.
struct Reading {
  u64 at;
  u64 input;  ///< virtual, or guest-physical in the second stage
  unsigned level;
  bool nested;
  bool table;     ///< it points to one
  bool of_table;  ///< in the second stage: on the way to an entry of the first
};

class Translator {
 public:
  explicit Translator(const Machine& machine) : m_(machine) {}

  Machine& machine() { return m_; }
  /// Entries as they are once the last translation has set their flags.
  const std::map<u64, u64>& updated() const { return updated_; }
  const std::vector<Reading>& readings() const { return readings_; }

  Answer translate(u64 address, AccessKind access, bool user) {
    answer_ = {};
    updated_.clear();
    readings_.clear();
    access_ = access;
    user_ = user;
    if (!m_.guest.on) {
      data(address);
      return answer_;
    }
    if (!accepts(m_.guest, address)) {
      answer_.level = m_.guest.levels - 1;
      return stop(FaultKind::BadAddress);
    }
    guest(address, m_.guest.root, m_.guest.levels - 1, Seen{});
    return answer_;
  }

 private:
  Answer stop(FaultKind kind) {
    answer_.kind = kind;
    return answer_;
  }
  static bool accepts(const Shape& shape, u64 address) {
    const unsigned sign = shape.half == Half::Sign ? 1 : 0;
    const u64 upper = address >> (shape.input_bits - sign);
    const u64 ones = ~u64{0} >> (shape.input_bits - sign);
    return (upper == 0 && shape.half != Half::Ones) || (upper == ones && shape.half != Half::Zero);
  }
  u64 load(u64 at) const {
    const auto found = updated_.find(at);
    return found == updated_.end() ? m_.load(at) : found->second;
  }
  Seen see(u64 entry, unsigned level, bool nested, u64 address) const {
    switch (m_.architecture) {
      case Architecture::X86_64:
        if (nested && m_.npt) return amd_nested(entry, level);
        return nested ? x86_nested(entry, level)
                      : x86_guest(entry, level, m_.npt, m_.guest.reserves_63);
      case Architecture::RiscV64:
        return riscv(entry, level, nested, address);
      case Architecture::AArch64:
        return arm(entry, level, nested, nested ? m_.nested : m_.guest, m_.hardware_dirty, address);
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
    if (m_.architecture == Architecture::X86_64 || m_.hardware_dirty) return false;
    return !s.a || (m_.architecture == Architecture::RiscV64 && write && !s.d);
  }
  // Does the hardware set flags in this entry?
  bool hardware_keeps(bool nested) const {
    const bool always = m_.architecture == Architecture::X86_64 && (!nested || m_.npt);
    return m_.hardware_dirty || always;
  }
  bool is_updated(const Seen& s, bool nested, bool write) const {
    if (!hardware_keeps(nested)) return false;
    if (s.kind == Seen::Table) return m_.architecture == Architecture::X86_64 && !s.a;
    return !s.a || (write && !s.d);
  }
  static unsigned rwx(bool r, bool w, bool x) { return (r ? 1 : 0) | (w ? 2 : 0) | (x ? 4 : 0); }

  // The second stage; false if it stopped.
  bool nested(u64 address, bool r, bool w, bool x, bool for_table, bool table_write, u64& host) {
    host = address;
    if (!m_.nested.on) return true;
    // "When EPT accessed and dirty flags are enabled, accesses to guest paging structures are
    // treated as writes." AMD's always are.
    if (for_table && m_.architecture == Architecture::X86_64 && hardware_keeps(true)) w = true;
    answer_.nested = true;
    answer_.for_table = for_table;
    answer_.table_write = table_write;
    answer_.guest_physical = address;
    answer_.level = m_.nested.levels - 1;
    if (!accepts(m_.nested, address)) return stop(FaultKind::BadAddress), false;
    u64 table = m_.nested.root;
    Seen above;
    for (;; --answer_.level) {
      const unsigned level = answer_.level;
      const u64 slot = table + 8 * index(m_.nested, address, level);
      if (!m_.exists(slot)) return stop(FaultKind::BusError), false;
      const Seen s = below(above, see(load(slot), level, true, address));
      readings_.push_back({slot, address, level, true, s.kind == Seen::Table, for_table});
      if (s.kind == Seen::Nothing) return stop(FaultKind::NotPresent), false;
      if (s.kind == Seen::Wrong) return stop(FaultKind::Malformed), false;
      if (s.kind == Seen::Table) {
        if (is_updated(s, true, false)) updated_[slot] = s.accessed;
        table = s.next;
        above = s;
        continue;
      }
      answer_.granted = rwx(s.r, s.w, s.x);
      // "The HS-level MXR bit makes execute-only pages readable for both stages", those that hold
      // tables excepted: the walk's own reads are no loads.
      const bool readable = s.r || (m_.mxr && s.x && !for_table);
      // Arm ARM, HCR_EL2.PTW: a stage 1 walk to Device memory is a stage 2 Permission fault.
      const bool device = s.memory == MemoryType::Device || s.memory == MemoryType::DeviceGRE ||
                          s.memory == MemoryType::DeviceNGRE || s.memory == MemoryType::DeviceNGnRE;
      const bool no_table = m_.ptw && for_table && device;
      const bool permitted = !no_table && !(r && !readable) && !(w && !s.w) && !(x && !s.x);
      const bool arm_flag = m_.architecture == Architecture::AArch64 && flag_is_missing(s, w);
      if (arm_flag) return stop(FaultKind::AccessFlag), false;
      if (!permitted) return stop(FaultKind::Permission), false;
      if (flag_is_missing(s, w)) return stop(FaultKind::AccessFlag), false;
      if (is_updated(s, true, w)) updated_[slot] = w ? s.dirtied : s.accessed;
      const unsigned shift = m_.nested.page_shift + m_.nested.index_bits * level;
      host = s.next + (address & ((u64{1} << shift) - 1));
      if (!for_table) {
        answer_.nested_shift = shift;
        answer_.nested_good_for = shift + s.doubled;
        answer_.nested_rights = rwx(readable, s.w, s.x);
        combine(s);
      }
      answer_.nested = answer_.for_table = answer_.table_write = false;
      answer_.guest_physical = answer_.granted = answer_.level = 0;
      return true;
    }
  }
  // Intel SDM vol. 3A, table 11-7 "Effective Page-Level Memory Types for Pentium III and More
  // Recent Processor Families", with EPT's type as that of the MTRRs (vol. 3C, "Memory Type Used
  // for Translated Guest-Physical Addresses"), row by row.
  static MemoryType effective(MemoryType pat, MemoryType ept) {
    using enum MemoryType;
    if (pat == Device || pat == WriteCombining) return pat;
    if (ept == Device) return Device;
    if (ept == WriteCombining) return pat == WriteBack ? WriteCombining : Device;
    return pat == WriteBack ? ept : pat;
  }
  // Arm ARM D8, "Combining stage 1 and stage 2 memory type attributes": the stricter of the two.
  // RISC-V, "Svpbmt": the first stage overrides the second. AMD: a guess.
  void combine(const Seen& s) {
    MemoryType& memory = answer_.memory;
    answer_.memory_is_modelled = answer_.memory_is_modelled && s.memory_is_modelled;
    if (m_.architecture == Architecture::RiscV64) {
      if (memory == MemoryType::WriteBack) memory = s.memory;
      return;
    }
    if (m_.architecture == Architecture::X86_64 && !m_.npt) {
      memory = effective(memory, s.memory);
      return;
    }
    static constexpr MemoryType kStrictestLast[] = {
        MemoryType::WriteBack,   MemoryType::WriteThrough, MemoryType::WriteCombining,
        MemoryType::Uncached,    MemoryType::DeviceGRE,    MemoryType::DeviceNGRE,
        MemoryType::DeviceNGnRE, MemoryType::Device,       MemoryType::Other};
    for (const MemoryType type : kStrictestLast) {
      if (type != memory && type != s.memory) continue;
      memory = type == memory ? s.memory : memory;
      return;
    }
  }

  unsigned rights(const Seen& s, bool user) const {
    // "vsstatus.MXR affects only VS-stage execute-only pages", sstatus.MXR those, too.
    const bool readable = s.r || ((m_.mxr || m_.vs_mxr) && s.x);
    // Arm ARM D8, "Stage 1 instruction execution permissions": UXN alone for EL0, whatever AP[1]
    // says of reads and writes; for EL1 PXN, and never what EL0 may write. SCTLR_EL1.WXN: nor does
    // an Exception level execute what it may write itself.
    if (user) {
      const bool executes = s.x && (s.u || m_.architecture == Architecture::AArch64);
      return rwx(s.u && readable, s.u && s.w, executes && !(m_.wxn && s.u && s.w));
    }
    unsigned all = rwx(readable, s.w || !m_.write_protect, s.kernel_x);
    if (s.u && !m_.kernel_touches_user) all &= 4;
    if (s.u && m_.architecture != Architecture::AArch64 && !m_.kernel_executes_user) all &= 3;
    if (s.u && s.w && m_.architecture == Architecture::AArch64) all &= 3;
    if (m_.wxn && s.w) all &= 3;
    return all;
  }

  void guest(u64 address, u64 table, unsigned level, const Seen& above) {
    const u64 place = table + 8 * index(m_.guest, address, level);
    const unsigned wanted = 1u << static_cast<unsigned>(access_);
    const bool write = access_ == AccessKind::Write;
    u64 slot = 0;
    if (!nested(place, true, false, false, true, false, slot)) return;
    answer_.level = level;
    if (!m_.exists(slot)) return void(stop(FaultKind::BusError));
    const Seen s = below(above, see(load(slot), level, false, address));
    if (s.kind == Seen::Nothing) return void(stop(FaultKind::NotPresent));
    if (s.kind == Seen::Wrong) return void(stop(FaultKind::Malformed));
    readings_.push_back({slot, address, level, false, s.kind == Seen::Table, false});
    const unsigned of_user = rights(s, true), of_kernel = rights(s, false);
    if (s.kind == Seen::Leaf) {
      if (m_.architecture == Architecture::AArch64 && flag_is_missing(s, write)) {
        return void(stop(FaultKind::AccessFlag));
      }
      if (((user_ ? of_user : of_kernel) & wanted) == 0) return void(stop(FaultKind::Permission));
      if (flag_is_missing(s, write)) return void(stop(FaultKind::AccessFlag));
    }
    if (is_updated(s, false, write)) {
      if (!nested(place, true, true, false, true, true, slot)) return;
      updated_[slot] = write && s.kind == Seen::Leaf ? s.dirtied : s.accessed;
    }
    if (s.kind == Seen::Table) return guest(address, s.next, level - 1, s);
    answer_.guest_shift = m_.guest.page_shift + m_.guest.index_bits * level;
    answer_.guest_good_for = answer_.guest_shift + s.doubled;
    answer_.user_rights = of_user;
    answer_.kernel_rights = of_kernel;
    answer_.global = s.global;
    answer_.memory = s.memory;
    answer_.memory_is_modelled = s.memory_is_modelled;
    data(s.next + (address & ((u64{1} << answer_.guest_shift) - 1)));
  }
  void data(u64 address) {
    const bool write = access_ == AccessKind::Write, fetch = access_ == AccessKind::Execute;
    u64 host = 0;
    if (!nested(address, !write && !fetch, write, fetch, false, false, host)) return;
    answer_.level = 0;
    answer_.host = host;
  }

  Machine m_;
  Answer answer_;
  std::map<u64, u64> updated_;
  std::vector<Reading> readings_;
  AccessKind access_ = AccessKind::Read;
  bool user_ = false;
};

}  // namespace nestwalk::models::naive
