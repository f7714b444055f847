// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A table format as the walker sees it: one entry in, what it says out. The engine's formats do the
// decoding; this only turns a type that is known to the compiler into an object that a preset can
// choose, so that there is one walker for all of them.
#pragma once

#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/models/time.hpp"

namespace nestwalk::models {

using addrspace::Access;
using addrspace::Architecture;
using addrspace::Geometry;
using addrspace::kExecute;
using addrspace::kGlobal;
using addrspace::kRead;
using addrspace::kRwx;
using addrspace::kUser;
using addrspace::kWrite;
using addrspace::MemoryType;

/// Bits of an Access that only the models use: Arm's UXN and PXN, of leaves and tables, take these
/// away.
inline constexpr Access kUserMayExecute{32};
inline constexpr Access kKernelMayExecute{64};
/// What a table that restricts nothing leaves to its leaves.
inline constexpr Access kNoLimits = kRwx | kUser | kUserMayExecute | kKernelMayExecute;

enum class EntryKind : u8 { Invalid, Malformed, Table, Leaf };

struct Entry {
  u64 address = 0;  ///< of the table, or of the leaf's first byte
  Access access{};  ///< of a leaf; of a table, what it leaves
  MemoryType memory = MemoryType::WriteBack;
  EntryKind kind = EntryKind::Invalid;
  bool accessed = false;
  bool dirty = false;
};

/// What the hardware does about an accessed flag that is clear at an access, or a dirty flag at a
/// write.
enum class Upkeep : u8 {
  Ignored,  ///< nothing: EPT without A/D, Arm's dirty state without FEAT_HAFDBS
  Faults,   ///< leaves it to software: Arm Access flag fault, RISC-V without Svadu
  Updated,  ///< a locked read-modify-write: x86, EPT A/D, FEAT_HAFDBS, Svadu
};

/// How the machine treats a stage's entries; the rest is in the format.
struct StageRules {
  Upkeep accessed = Upkeep::Ignored;
  Upkeep dirty = Upkeep::Ignored;
  bool accessed_in_tables = false;  ///< x86: tables have accessed flags, too
  /// EPT with A/D: reads of guest tables count as writes (Intel SDM vol. 3C, "Accessed and Dirty
  /// Flags for EPT").
  bool table_reads_are_writes = false;
  /// The flag fault comes before the permission fault (Arm ARM D8, "Prioritization of MMU faults").
  bool flag_before_permission = false;
  /// AMD's nested tables: every access is a user's, so that without U/S nothing is permitted (APM
  /// vol. 2, "Nested Page Table Walk").
  bool users_only = false;
};

/// The rules that the architecture has for this stage, on a machine that updates dirty bits or not.
StageRules stage_rules(Architecture architecture, bool nested, bool hardware_dirty);

/// An entry in two registers, as the calling conventions of Unix return it. Through memory its
/// small fields would be stored one by one and loaded together, which the host's processor cannot
/// forward: a walk would wait at each of its entries.
struct PackedEntry {
  u64 address = 0;
  u64 rest = 0;

  PackedEntry() = default;
  explicit PackedEntry(const Entry& entry)
      : address(entry.address),
        rest(u64{entry.access.bits()} | static_cast<u64>(entry.memory) << 8 |
             static_cast<u64>(entry.kind) << 16 | u64{entry.accessed} << 24 |
             u64{entry.dirty} << 32) {}
  Entry unpacked() const {
    return {address,
            Access(static_cast<u8>(rest)),
            static_cast<MemoryType>(rest >> 8 & 0xff),
            static_cast<EntryKind>(rest >> 16 & 0xff),
            (rest >> 24 & 1) != 0,
            (rest >> 32 & 1) != 0};
  }
};

class EntryFormat {
 public:
  Entry decode(u64 raw, unsigned level) const { return decode_packed(raw, level).unpacked(); }
  /// The entry after the hardware's update: accessed, and for a write dirty.
  virtual u64 updated(u64 raw, bool write) const = 0;

  Architecture architecture() const { return architecture_; }
  const StageRules& rules() const { return rules_; }

 protected:
  EntryFormat(Architecture architecture, const StageRules& rules)
      : architecture_(architecture), rules_(rules) {}
  EntryFormat(const EntryFormat&) = default;
  EntryFormat& operator=(const EntryFormat&) = default;
  ~EntryFormat() = default;

 private:
  virtual PackedEntry decode_packed(u64 raw, unsigned level) const = 0;

  Architecture architecture_;
  StageRules rules_;
};

namespace detail {

/// What a table entry takes away from everything below it.
template <class F>
Access table_limits(const F& format, u64 raw, unsigned level) {
  if constexpr (F::kArchitecture == Architecture::X86_64) {
    // W, U and XD, or R, W and X, count in every level (Intel SDM vol. 3A, "Determination of Access
    // Rights"; vol. 3C, "EPT Violations"). EPT knows no U.
    const Access found = format.flags(raw, level).access & (kRwx | kUser);
    const Access user = addrspace::NestedFormat<F> ? kUser : Access{};
    return found | user | kUserMayExecute | kKernelMayExecute;
  } else if constexpr (F::kArchitecture == Architecture::AArch64 && !addrspace::NestedFormat<F>) {
    // APTable, UXNTable, PXNTable (Arm ARM D8, "Hierarchical control of data access permissions").
    Access limits = kNoLimits;
    if ((raw >> 61 & 1) != 0) limits = limits.without(kUser);
    if ((raw >> 62 & 1) != 0) limits = limits.without(kWrite);
    if ((raw >> 60 & 1) != 0) limits = limits.without(kUserMayExecute);
    if ((raw >> 59 & 1) != 0) limits = limits.without(kKernelMayExecute);
    return limits;
  } else {
    return kNoLimits;
  }
}

/// What a leaf permits, user and kernel apart where the architecture tells them apart.
template <class F>
Access leaf_access(Access access, [[maybe_unused]] u64 raw) {
  if constexpr (F::kArchitecture == Architecture::AArch64 && !addrspace::NestedFormat<F>) {
    // The engine's flags know one execute permission, for whoever the page is meant for.
    access = access | kExecute;
    if ((raw & F::kUserExecuteNever) == 0) access = access | kUserMayExecute;
    if ((raw & F::kPrivilegedExecuteNever) == 0) access = access | kKernelMayExecute;
    return access;
  } else {
    return access | kUserMayExecute | kKernelMayExecute;
  }
}

}  // namespace detail

template <addrspace::Format F>
class EntryFormatOf final : public EntryFormat {
 public:
  explicit EntryFormatOf(const F& format, const StageRules& rules)
      : EntryFormat(F::kArchitecture, rules), format_(format) {}
  explicit EntryFormatOf(const addrspace::Capabilities& machine)
      : EntryFormatOf(F(machine), stage_rules(F::kArchitecture, addrspace::NestedFormat<F>,
                                              machine.hardware_dirty)) {}

  u64 updated(u64 raw, bool write) const override {
    const u64 accessed = raw | F::kAccessed;
    return write ? F::dirtied(accessed) : accessed;
  }

 private:
  PackedEntry decode_packed(u64 raw, unsigned level) const override {
    return PackedEntry(decoded(raw, level));
  }
  Access permitted(Access access) const {
    return rules().users_only && !access.has(kUser) ? Access{} : access;
  }
  Entry decoded(u64 raw, unsigned level) const {
    Entry entry;
    if (!F::is_valid(raw, level)) return entry;
    if (format_.malformed(raw, level)) {
      entry.kind = EntryKind::Malformed;
      return entry;
    }
    entry.address = F::address(raw, level).value();
    entry.accessed = (raw & F::kAccessed) != 0;
    if (F::is_table(raw, level)) {
      entry.kind = EntryKind::Table;
      entry.access = permitted(detail::table_limits(format_, raw, level));
      return entry;
    }
    const addrspace::MappingFlags flags = format_.flags(raw, level);
    entry.kind = EntryKind::Leaf;
    entry.access = permitted(detail::leaf_access<F>(flags.access, raw));
    entry.memory = flags.memory;
    entry.dirty = F::is_dirty(raw);
    return entry;
  }

  F format_;
};

}  // namespace nestwalk::models
