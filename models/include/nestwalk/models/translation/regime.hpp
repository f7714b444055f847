// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a processor translates with at the moment: the tables of both stages and their tags.
#pragma once

#include <compare>
#include <map>
#include <vector>

#include "nestwalk/models/memory/table_areas.hpp"
#include "nestwalk/models/translation/entry_format.hpp"

namespace nestwalk::models {

/// Of the 64 bits of an address those that a cached entry is known by; the rest are a sign.
inline constexpr unsigned kAddressBits = 59;

/// One stage's tables. Without a format the stage is off: addresses pass unchanged.
struct Stage {
  const EntryFormat* format = nullptr;
  Geometry geometry{};
  u64 root = 0;
  const TableAreas* areas = nullptr;  ///< range registers; null: software fills none

  bool on() const { return format != nullptr; }
  friend bool operator==(const Stage&, const Stage&) = default;
};

/// Who may do what beyond the entries' own words: control registers. Software may change them
/// without a fence, so they are part of a cached translation's tags.
struct PrivilegeRules {
  bool kernel_touches_user = true;    ///< no SMAP, or EFLAGS.AC; SUM; no PAN
  bool kernel_executes_user = false;  ///< no SMEP; never on RISC-V; on AArch64 see StageRules
  bool not_known = false;             ///< who accesses: whatever one of the two may do is permitted
  bool kernel_writes_read_only = false;  ///< x86: CR0.WP is clear
  bool execute_is_read = false;          ///< RISC-V, first stage: vsstatus.MXR or sstatus.MXR
  bool nested_execute_is_read = false;   ///< and the second: sstatus.MXR, not for tables
  bool writable_never_executes = false;  ///< AArch64: SCTLR_EL1.WXN
  bool tables_in_memory = false;         ///< AArch64: HCR_EL2.PTW
  friend auto operator<=>(const PrivilegeRules&, const PrivilegeRules&) = default;
};

/// The tags of a cached translation. Which of them count is the kind's matter: a guest-physical
/// entry of x86 has a root and no ids, a linear one has ids and no root.
struct Tag {
  u64 root = 0;            ///< x86: EP4TA, EPTP bits 51:12; else 0
  u16 vmid = 0;            ///< VMID or VPID
  u16 asid = 0;            ///< ASID or PCID
  bool global = false;     ///< for every ASID
  PrivilegeRules rules{};  ///< of what the first stage, or both, translate; no fence names them
  friend auto operator<=>(const Tag&, const Tag&) = default;
};

/// Gives every combination of tags that occurs a small number, which the caches compare.
class Tags {
 public:
  static constexpr u32 kMost = 0x3fff;  // 14 bits; all ones are in no key

  u16 number(const Tag& tag);
  const Tag& tag(u16 number) const { return tags_[number]; }
  /// How many more there can be.
  u32 left() const { return kMost - static_cast<u32>(numbers_.size()); }
  /// The numbers that are not in use go to others: nothing may be cached under them.
  void keep_only(const std::vector<bool>& in_use);

 private:
  std::vector<Tag> tags_;  ///< by number
  std::map<Tag, u16> numbers_;
  std::vector<u16> free_;  ///< that some combination had
};

struct Regime {
  Stage guest;
  Stage guest_upper;  ///< AArch64: of addresses with bit 55 set, TTBR1; off where there is none
  Stage nested;
  PrivilegeRules privilege;
  u16 vmid = 0;
  u16 asid = 0;
  // Numbers of tags, see `tagged`.
  u16 combined = 0;  ///< of what the first stage, or both, translate
  u16 global = 0;    ///< the same, for every ASID
  u16 nested_only = 0;
  /// Added to an address, it leaves none of the bits that cached entries are not known by, if these
  /// are a sign of those that they are: virtual addresses. Guest-physical ones have no sign.
  u64 sign = 0;

  /// The first stage's tables for an address.
  const Stage& guest_of(u64 address) const {
    return (address >> 55 & 1) != 0 && guest_upper.on() ? guest_upper : guest;
  }
  /// log2 of the smallest page that may translate an address.
  unsigned page_shift_of(u64 address) const {
    return (guest.on() ? guest_of(address) : nested).geometry.page_shift;
  }
  /// The same tables and ids; who may do what may differ.
  bool is_same_space(const Regime& other) const {
    return vmid == other.vmid && asid == other.asid && guest == other.guest &&
           guest_upper == other.guest_upper && nested == other.nested;
  }
  static constexpr u32 kTags = 3;
  /// The regime with its tags numbered.
  Regime tagged(Tags& tags) const;
  void note_tags(std::vector<bool>& in_use) const {
    for (const u16 number : {combined, global, nested_only}) in_use[number] = true;
  }
  /// Only with a second stage: the first stage's format is that of all extensions.
  bool confirms_faults() const { return nested.on() && nested.format->extension().confirms_faults; }
  const Isa& isa() const { return (guest.on() ? guest : nested).format->isa(); }
  /// What the processor's registers say of a fault.
  FaultReport report_of(const Fault& fault) const;
};

}  // namespace nestwalk::models
