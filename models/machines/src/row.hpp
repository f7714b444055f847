// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the rows have in common.
#pragma once

#include <algorithm>

#include "engine_space.hpp"
#include "kernel_space.hpp"
#include "nestwalk/models/translation/fault_report.hpp"

namespace nestwalk::models {

// The engine's side of an extension, called through pointers.
template <class E>
void emit_for(const addrspace::FencePolicy& policy, const addrspace::Capabilities& machine,
              const addrspace::Invalidation<addrspace::Gpa>& change, FenceSink sink) {
  emit_fences<E>(policy, machine, change, sink);
}
template <class E>
void rollover_for(const addrspace::Capabilities& machine, FenceSink sink) {
  emit_rollover<E>(machine, sink);
}
template <class E>
void first_entry_for(const addrspace::VmTag& tag, FenceSink sink) {
  emit_first_entry<E>(tag, sink);
}
template <class E>
void vcpu_switch_for(const addrspace::Capabilities& machine, const addrspace::VmTag& tag,
                     FenceSink sink) {
  emit_vcpu_switch<E>(machine, tag, sink);
}

/// A format for a log of fences.
template <class F>
std::optional<LogFormat::Made> made_for_log(const addrspace::Result<Geometry>& geometry,
                                            const addrspace::Capabilities& machine) {
  if (!geometry) return std::nullopt;
  const auto root_register = [format = F(machine), shape = *geometry](u64 root, u16 vmid) {
    return format.root_config(addrspace::Hpa(root), shape, addrspace::VmId{vmid}).root_register;
  };
  return LogFormat::Made{std::make_shared<const EntryFormatOf<F>>(machine), *geometry,
                         root_register};
}

/// What every machine of the models has.
constexpr addrspace::Capabilities common_capabilities(bool hardware_dirty) {
  addrspace::Capabilities machine;
  machine.physical_bits = 48;
  machine.leaf_levels = 0b0111;
  machine.most_levels = 5;
  machine.vmid_bits = 16;
  machine.hardware_dirty = hardware_dirty;
  return machine;
}

// Entries.

/// Arm's of both stages without FWB, for the types that guests use (Arm ARM D8, "Combining stage 1
/// and stage 2 memory type attributes").
constexpr MemoryType stricter_type(MemoryType first, MemoryType second) {
  return is_device(first) && is_device(second) ? std::min(first, second) : std::max(first, second);
}

/// Bits 51:12: x86-64 and AArch64.
inline u64 page_in_51_12(u64 entry) {
  return entry & addrspace::low_mask(52) & ~addrspace::low_mask(12);
}
inline u64 with_all_flags(u64 entry, u64 flags) { return entry | flags; }

// Fault reports.

constexpr u64 bit(unsigned n, bool set = true) { return u64{set ? 1u : 0u} << n; }

// Texts of instructions.

/// Does a text begin with the words of a name? How many these are; 0 if not.
std::size_t words_in_front(const Words& words, const char* name);
/// Decimal or 0x...
std::optional<u64> number_in(const std::string& word);
/// All the other words; nothing if one of them is no number.
std::optional<std::vector<u64>> numbers_after(const Words& words, std::size_t names);

/// One of these, with its VPID or ASID and its address. Of names that begin alike, the longer ones
/// come first.
bool parse_x86(std::span<const FenceOp> fences, const Words& words, addrspace::Fence& fence);
template <const auto& kFences>
bool parse_x86(const Words& words, addrspace::Fence& fence) {
  return parse_x86(kFences, words, fence);
}

}  // namespace nestwalk::models
