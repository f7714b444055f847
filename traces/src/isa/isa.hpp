// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What registers and codes of each architecture mean, in traces and recordings: one row each.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "importers/recording_stream.hpp"
#include "nestwalk/traces/recorded_tables.hpp"

namespace nestwalk::traces {

/// A register by its number in a recording's stream (STREAM.md).
struct StreamRegister {
  static constexpr const char* kWhat = "a register";

  u64 code;
  std::string_view name;
  std::optional<Stage> stage{};  ///< whose translation it controls, if writes become records
  bool explains_exit = false;    ///< it is what exit states are about, and never written

  bool has(u64 number) const { return number == code; }
  std::string text(u64) const { return std::string("'").append(name) + "'"; }
};

/// A kind of fences by its numbers in a recording's stream.
struct StreamFence {
  static constexpr const char* kWhat = "a fence";

  u64 code;
  u64 variants = 0;  ///< bits that may be others
  unsigned operands = 0;

  bool has(u64 number) const { return (number & ~variants) == code; }
  std::string text(u64 number) const { return in_hex(number); }
};

/// What a guest does by writing a register that controls its translation.
struct RegisterWrite {
  bool in_space = false;  ///< a space record says all that changed
  bool switches = false;  ///< to an address space, even if it is the same one
  std::optional<GuestFence> flush;
};

struct TracedIsa {
  using Names = std::span<const std::string_view>;

  Architecture architecture;
  std::string_view name;  ///< in the names of formats of page tables
  unsigned least_levels, most_levels;
  unsigned asid_bits;
  Names controls;  ///< registers that say how addresses are translated
  /// Those of them that say of which format the tables of a stage are. None for x86-64's nested
  /// paging.
  Names deciding[2];
  bool roots_are_pages;       ///< AArch64's smallest root tables are smaller
  bool firmware_is_recorded;  ///< accesses that are not translated are among the guest's

  StageRoots (*guest_roots)(const Registers&);
  std::optional<TableRoot> (*host_root)(const Registers&);
  /// By stage.
  StageTables (*tables[2])(const Registers&);
  TranslationRules (*rules)(const Registers&);
  AddressSpaceTag (*space)(const Registers&);  ///< that the guest is in

  std::string_view space_register;  ///< that holds what a space record says
  /// A register that says, written as a whole, all that a space record says; empty: none.
  std::string_view replaces_space;

  // Recordings: numbers of STREAM.md.
  std::span<const StreamRegister> registers;
  std::span<const StreamFence> fences;
  /// Writes one of the guest's.
  RegisterWrite (*write)(Registers&, const std::string& name, u64 value);
  u64 (*vmid)(const Registers&);
  /// The fence of the guest's first stage that an instruction is; nothing for those that only order
  /// or are the hypervisor's. `asid` is the current one, which some imply.
  std::optional<GuestFence> (*fence)(u64 code, const recording::Operand& first,
                                     const recording::Operand& second, u64 asid);
  /// What does not follow from the state is 0.
  VmExit (*exit)(const std::unordered_map<u64, u64>& state);
};

extern const TracedIsa kTracedX86_64, kTracedAArch64, kTracedRiscV64;
std::span<const TracedIsa* const> traced_isas();
const TracedIsa& traced(Architecture architecture);

// For the rows.

constexpr u64 field(u64 value, unsigned low, unsigned width) {
  return value >> low & ((u64{1} << width) - 1);
}
inline u64 value_of(const Registers& registers, const char* name) {
  const auto found = registers.find(name);
  return found == registers.end() ? 0 : found->second;
}
inline bool is_set(const Registers& registers, const char* name, unsigned bit) {
  return field(value_of(registers, name), bit, 1) != 0;
}
inline u64 value_of(const std::unordered_map<u64, u64>& state, u64 code) {
  const auto found = state.find(code);
  return found == state.end() ? 0 : found->second;
}
inline std::optional<TableRoot> root_of(TableFormat format, u64 address,
                                        const addrspace::Result<addrspace::Geometry>& shape) {
  if (!shape) return {};
  return TableRoot{format, root_address(address, *shape), *shape};
}
/// A fence of everything.
inline GuestFence everything(Precision precision) {
  return {FenceScope::All, kFenceGlobal, {}, 0, 0, precision};
}

}  // namespace nestwalk::traces
