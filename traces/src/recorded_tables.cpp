// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/recorded_tables.hpp"

#include <algorithm>
#include <cstring>

namespace nestwalk::traces {
namespace {

constexpr unsigned kIndexBits = 9;
constexpr u64 kEntryBytes = 8;

constexpr u64 field(u64 value, unsigned low, unsigned width) {
  return value >> low & ((u64{1} << width) - 1);
}

enum class EntryKind { Invalid, Leaf, Table };

struct Entry {
  EntryKind kind = EntryKind::Invalid;
  u64 address = 0;
};

// Levels count from the leaves. Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging" (nested
// tables of AMD have the same form); Arm ARM D8.3; RISC-V privileged manual, "Sv39".
Entry decode(Architecture architecture, u64 entry, unsigned level) {
  if ((entry & 1) == 0) return {};
  switch (architecture) {
    case Architecture::X86_64: {
      const bool leaf = level == 0 || (level <= 2 && (entry & 0x80) != 0);
      return {leaf ? EntryKind::Leaf : EntryKind::Table, entry & 0x000f'ffff'ffff'f000};
    }
    case Architecture::AArch64: {
      const bool leaf = level == 0 || (entry & 2) == 0;
      return {leaf ? EntryKind::Leaf : EntryKind::Table, entry & 0x0000'ffff'ffff'f000};
    }
    default:
      return {(entry & 0xe) != 0 ? EntryKind::Leaf : EntryKind::Table, field(entry, 10, 44)
                                                                           << kPageShift};
  }
}

u64 value_of(const Registers& registers, const char* name) {
  const auto found = registers.find(name);
  return found == registers.end() ? 0 : found->second;
}

std::optional<TableRoot> x86_root(const Registers& registers) {
  if (value_of(registers, "CR0") >> 31 == 0) return {};
  const unsigned levels = field(value_of(registers, "CR4"), 12, 1) != 0 ? 5 : 4;
  return TableRoot{Architecture::X86_64, value_of(registers, "CR3") & 0x000f'ffff'ffff'f000, levels,
                   kIndexBits};
}

// A tree for addresses of `bits` bits; none when the registers make no sense together.
std::optional<TableRoot> aarch64_root(u64 address, unsigned bits, unsigned levels) {
  constexpr unsigned kMaxRootBits = kIndexBits + 4;  // 16 concatenated tables
  const unsigned below = kPageShift + kIndexBits * (levels - 1);
  if (levels == 0 || bits <= below || bits - below > kMaxRootBits) return {};
  return TableRoot{Architecture::AArch64, address & 0x0000'ffff'ffff'f000, levels, bits - below};
}

std::optional<TableRoot> aarch64_half(u64 table, u64 size_field) {
  const unsigned bits = 64 - static_cast<unsigned>(size_field);
  if (bits <= kPageShift) return {};
  return aarch64_root(table, bits, (bits - kPageShift + kIndexBits - 1) / kIndexBits);
}

StageRoots aarch64_roots(const Registers& registers) {
  StageRoots roots;
  if ((value_of(registers, "SCTLR") & 1) == 0) return roots;
  const u64 control = value_of(registers, "TCR_EL1");
  // EPD and the granule of 4 KiB, which the halves encode differently.
  if (field(control, 7, 1) == 0 && field(control, 14, 2) == 0) {
    roots.lower = aarch64_half(value_of(registers, "TTBR0_EL1"), field(control, 0, 6));
  }
  if (field(control, 23, 1) == 0 && field(control, 30, 2) == 2) {
    roots.upper = aarch64_half(value_of(registers, "TTBR1_EL1"), field(control, 16, 6));
  }
  return roots;
}

std::optional<TableRoot> aarch64_stage2(const Registers& registers) {
  const u64 control = value_of(registers, "VTCR_EL2");
  constexpr unsigned kLevelsOfStart[] = {2, 3, 4};
  const u64 start = field(control, 6, 2);
  if (start == 3) return {};
  return aarch64_root(value_of(registers, "VTTBR_EL2"),
                      64 - static_cast<unsigned>(field(control, 0, 6)), kLevelsOfStart[start]);
}

std::optional<TableRoot> riscv_root(u64 atp, unsigned root_bits) {
  const u64 mode = atp >> 60;
  if (mode < 8 || mode > 10) return {};
  return TableRoot{Architecture::RiscV64, field(atp, 0, 44) << kPageShift,
                   static_cast<unsigned>(mode) - 5, root_bits};
}

}  // namespace

StageRoots guest_roots(Architecture architecture, const Registers& registers) {
  if (architecture == Architecture::AArch64) return aarch64_roots(registers);
  const std::optional<TableRoot> root = architecture == Architecture::X86_64
                                            ? x86_root(registers)
                                            : riscv_root(value_of(registers, "satp"), kIndexBits);
  return {root, root};
}

std::optional<TableRoot> host_root(Architecture architecture, const Registers& registers) {
  if (architecture == Architecture::AArch64) return aarch64_stage2(registers);
  if (architecture == Architecture::RiscV64) {
    return riscv_root(value_of(registers, "hgatp"), kIndexBits + 2);
  }
  // KVM gives guests as many levels as it has itself: four on the processor that is recorded.
  return TableRoot{Architecture::X86_64, value_of(registers, "NCR3") & 0x000f'ffff'ffff'f000, 4,
                   kIndexBits};
}

std::string format_name(const std::optional<TableRoot>& root) {
  if (!root) return "";
  const char* name = root->architecture == Architecture::X86_64    ? "x86_64-"
                     : root->architecture == Architecture::AArch64 ? "aarch64-"
                                                                   : "riscv64-";
  return name + std::to_string(root->levels);
}

void RecordedTables::put(const TablePage& page) {
  std::array<u64, kEntries>& entries = pages_[page.address];
  std::memcpy(entries.data(), page.bytes.data(), std::min(page.bytes.size(), sizeof entries));
}

bool RecordedTables::put(u64 address, u64 value) {
  u64& entry = pages_[address & ~(kPageBytes - 1)][address % kPageBytes / kEntryBytes];
  return std::exchange(entry, value) != value;
}

u64 RecordedTables::entry(u64 address) const {
  const auto page = pages_.find(address & ~(kPageBytes - 1));
  return page == pages_.end() ? 0 : page->second[address % kPageBytes / kEntryBytes];
}

std::optional<u64> RecordedTables::walk(const TableRoot& root, u64 address) const {
  u64 table = root.address;
  for (unsigned level = root.levels; level-- > 0;) {
    const unsigned shift = kPageShift + kIndexBits * level;
    const unsigned bits = level + 1 == root.levels ? root.root_bits : kIndexBits;
    const Entry found =
        decode(root.architecture, entry(table + field(address, shift, bits) * kEntryBytes), level);
    if (found.kind == EntryKind::Invalid) return {};
    if (found.kind == EntryKind::Leaf) {
      const u64 low = (u64{1} << shift) - 1;
      return (found.address & ~low) | (address & low);
    }
    table = found.address;
  }
  return {};
}

}  // namespace nestwalk::traces
