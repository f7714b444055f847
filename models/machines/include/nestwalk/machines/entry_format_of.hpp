// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// From the engine's formats, which are types that the compiler knows, to objects that a preset can
// choose.
#pragma once

#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/translation/entry_format.hpp"

namespace nestwalk::models {

namespace detail {

/// Where users execute nothing that they may not read.
constexpr Access executable_by_users_of(Access access) {
  return access.has(kUser) ? access | kUserMayExecute : access;
}

/// What a table entry takes away from everything below it.
template <class F>
Access table_limits(const F& format, u64 raw, unsigned level) {
  if constexpr (F::kTablesLimit) {
    // W, U and XD, or R, W and X, count in every level (Intel SDM vol. 3A, "Determination of Access
    // Rights"; vol. 3C, "EPT Violations"). In nested tables, U counts for
    // none or for all.
    const Access found = format.flags(raw, level).access & (kRwx | kUser);
    const Access user = addrspace::NestedFormat<F> ? kUser : Access{};
    return executable_by_users_of(found | user) | kKernelMayExecute;
  } else if constexpr (requires { F::kTableReadOnly; }) {
    // APTable, UXNTable, PXNTable (Arm ARM D8, "Hierarchical control of data access permissions").
    Access limits = kNoLimits;
    if (!format.tables_limit()) return limits;
    if ((raw & F::kTableNoUser) != 0) limits = limits.without(kUser);
    if ((raw & F::kTableReadOnly) != 0) limits = limits.without(kWrite);
    if ((raw & F::kTableUserExecuteNever) != 0) limits = limits.without(kUserMayExecute);
    if ((raw & F::kTablePrivilegedExecuteNever) != 0) limits = limits.without(kKernelMayExecute);
    return limits;
  } else {
    return kNoLimits;
  }
}

/// What a leaf permits, user and kernel apart where the architecture tells them apart.
template <class F>
Access leaf_access(Access access, [[maybe_unused]] u64 raw) {
  if constexpr (requires { F::kUserExecuteNever; }) {
    // The engine's flags have one execute permission: the user's of user pages, else the kernel's.
    access = access | kExecute;
    if ((raw & F::kUserExecuteNever) == 0) access = access | kUserMayExecute;
    if ((raw & F::kPrivilegedExecuteNever) == 0) access = access | kKernelMayExecute;
    return access;
  } else {
    return executable_by_users_of(access) | kKernelMayExecute;
  }
}

}  // namespace detail

template <addrspace::Format F>
class EntryFormatOf final : public EntryFormat {
 public:
  EntryFormatOf(const F& format, const StageRules& rules, const Extension* extension = own())
      : EntryFormat(isa_of(F::kArchitecture), extension, rules), format_(format) {}
  explicit EntryFormatOf(const addrspace::Capabilities& machine)
      : EntryFormatOf(F(machine), own_rules().of(machine.hardware_dirty)) {}

  u64 updated(u64 raw, bool write) const override {
    const u64 accessed = raw | F::kAccessed;
    return write ? F::dirtied(accessed) : accessed;
  }

 private:
  static const Extension* own() {
    if constexpr (addrspace::NestedFormat<F>) {
      return &row_of(typename F::Extension());
    } else {
      return nullptr;
    }
  }
  static const StageRulesPair& own_rules() {
    return own() != nullptr ? own()->rules : isa_of(F::kArchitecture).rules;
  }
  PackedEntry decode_packed(u64 raw, unsigned level, u64 slot) const override {
    return PackedEntry(decoded(raw, level, slot));
  }
  Entry decoded(u64 raw, unsigned level, u64 slot) const {
    Entry entry;
    if (!F::is_valid(raw, level)) return entry;
    if (format_.malformed(raw, level)) {
      entry.kind = EntryKind::Malformed;
      return entry;
    }
    entry.address = F::address(addrspace::entry_at<F>(slot / sizeof(u64), raw), level).value();
    entry.accessed = (raw & F::kAccessed) != 0;
    if (F::is_table(raw, level)) {
      entry.kind = EntryKind::Table;
      entry.access = detail::table_limits(format_, raw, level);
      return entry;
    }
    const addrspace::MappingFlags flags = format_.flags(raw, level);
    entry.kind = EntryKind::Leaf;
    entry.access = detail::leaf_access<F>(flags.access, raw);
    entry.memory = flags.memory;
    entry.dirty = F::is_dirty(raw);
    entry.neighbours = static_cast<u8>(addrspace::neighbours<F>(raw, level));
    return entry;
  }

  F format_;
};

}  // namespace nestwalk::models
