// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Why a translation failed, in the terms that all architectures share. An extension's row
// turns it into what the architecture's registers hold.
#pragma once

#include "nestwalk/models/translation/rights.hpp"

namespace nestwalk::models {

enum class FaultKind : u8 {
  None,
  BadAddress,  ///< the virtual address is none: not canonical, in no half, beyond the nested tables
  NotPresent,  ///< an invalid entry
  Malformed,   ///< reserved bits, misconfiguration, address size
  AccessFlag,  ///< software must set the accessed (or dirty) flag
  Permission,
  BusError,  ///< a table, or data, where there is no memory
};
inline constexpr const char* kFaultKindNames[] = {
    "none",        "no such address", "not present", "malformed entry",
    "access flag", "permission",      "bus error"};

struct Fault {
  FaultKind kind = FaultKind::None;
  bool nested = false;           ///< of the second stage
  bool for_table = false;        ///< second stage, on behalf of a first-stage table (S1PTW)
  bool table_write = false;      ///< and that to set flags in it
  bool reads_as_writes = false;  ///< EPT A/D: reads of tables count as writes
  bool of_data = false;          ///< bus error after the translation
  bool has_virtual = true;       ///< false where the guest does not translate
  u8 level = 0;                  ///< of the entry, from the leaf end
  AccessKind access = AccessKind::Read;
  bool user = false;
  Access granted{};  ///< nested permission faults: what the tables allow
  u64 virtual_address = 0;
  u64 guest_physical = 0;  ///< nested: the address that was being translated

  explicit operator bool() const { return kind != FaultKind::None; }
  bool operator==(const Fault&) const = default;
};

}  // namespace nestwalk::models
