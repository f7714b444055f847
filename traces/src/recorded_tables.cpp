// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/recorded_tables.hpp"

#include <algorithm>
#include <cstring>

#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {
namespace {

using addrspace::Geometry;
using addrspace::Granule;
using addrspace::GStage;
using addrspace::LongMode;
using addrspace::Result;
using addrspace::Sv;
using Stage1 = addrspace::Stage1<Granule::k4K>;
using Stage2 = addrspace::Stage2<Granule::k4K>;

constexpr u64 kEntryBytes = 8;
constexpr u64 kRoot48 = 0x0000'ffff'ffff'f000;  // of an AArch64 root register

constexpr u64 field(u64 value, unsigned low, unsigned width) {
  return value >> low & ((u64{1} << width) - 1);
}

// What a guest ran on is not recorded, so nothing is malformed that some machine takes.
constexpr addrspace::Capabilities any_machine() {
  addrspace::Capabilities capabilities;
  capabilities.physical_bits = 52;
  capabilities.leaf_levels = 0b11111;
  capabilities.page_memory_types = true;
  return capabilities;
}

template <class Visit>
auto with_format(TableFormat format, Visit&& visit) {
  switch (format) {
    case TableFormat::Stage1:
      return visit(Stage1(any_machine()));
    case TableFormat::Stage2:
      return visit(Stage2(any_machine()));
    case TableFormat::Sv:
      return visit(Sv(any_machine()));
    case TableFormat::GStage:
      return visit(GStage(any_machine()));
    default:
      return visit(LongMode(any_machine()));
  }
}

std::optional<TableRoot> root_of(TableFormat format, u64 address, const Result<Geometry>& shape) {
  if (!shape) return {};
  return TableRoot{format, address, *shape};
}

u64 value_of(const Registers& registers, const char* name) {
  const auto found = registers.find(name);
  return found == registers.end() ? 0 : found->second;
}

std::optional<TableRoot> x86_root(u64 root, unsigned levels) {
  return root_of(TableFormat::LongMode, root & 0x000f'ffff'ffff'f000, LongMode::geometry(levels));
}

std::optional<TableRoot> x86_guest_root(const Registers& registers) {
  if (value_of(registers, "CR0") >> 31 == 0) return {};
  const unsigned levels = field(value_of(registers, "CR4"), 12, 1) != 0 ? 5 : 4;
  return x86_root(value_of(registers, "CR3"), levels);
}

std::optional<TableRoot> aarch64_half(u64 table, u64 size_field, addrspace::VaHalf half) {
  const unsigned bits = 64 - static_cast<unsigned>(size_field);
  return root_of(TableFormat::Stage1, table & kRoot48, Stage1::geometry(bits, half));
}

StageRoots aarch64_roots(const Registers& registers) {
  StageRoots roots;
  if ((value_of(registers, "SCTLR") & 1) == 0) return roots;
  const u64 control = value_of(registers, "TCR_EL1");
  // EPD and the granule of 4 KiB, which the halves encode differently.
  if (field(control, 7, 1) == 0 && field(control, 14, 2) == 0) {
    roots.lower = aarch64_half(value_of(registers, "TTBR0_EL1"), field(control, 0, 6),
                               addrspace::VaHalf::Lower);
  }
  if (field(control, 23, 1) == 0 && field(control, 30, 2) == 2) {
    roots.upper = aarch64_half(value_of(registers, "TTBR1_EL1"), field(control, 16, 6),
                               addrspace::VaHalf::Upper);
  }
  return roots;
}

std::optional<TableRoot> aarch64_stage2(const Registers& registers) {
  constexpr unsigned kLevelsOfStart[] = {2, 3, 4};
  constexpr unsigned kMaxRootBits = Stage2::kIndexBits + 4;  // 16 concatenated tables
  const u64 control = value_of(registers, "VTCR_EL2");
  const u64 start = field(control, 6, 2);
  Result<Geometry> shape = Stage2::geometry(64 - static_cast<unsigned>(field(control, 0, 6)));
  if (start == 3 || field(control, 14, 2) != 0 || !shape) return {};
  // The engine takes the fewest levels; SL0 may say one more.
  Geometry chosen = *shape;
  chosen.levels = static_cast<u8>(kLevelsOfStart[start]);
  const unsigned below = chosen.shift(chosen.root_level());
  if (chosen.input_bits <= below || chosen.input_bits - below > kMaxRootBits) return {};
  chosen.root_index_bits = static_cast<u8>(chosen.input_bits - below);
  return TableRoot{TableFormat::Stage2, value_of(registers, "VTTBR_EL2") & kRoot48, chosen};
}

// Of satp or hgatp: MODE 8 is three levels, 9 four, 10 five.
template <class F>
std::optional<TableRoot> riscv_root(TableFormat format, u64 atp) {
  const u64 mode = atp >> 60;
  if (mode < 8) return {};
  return root_of(format, field(atp, 0, 44) << kPageShift,
                 F::geometry(static_cast<unsigned>(mode) - 5));
}

// Bit 55 chooses the half; where the top byte is a tag, it is not translated (Arm ARM, "Address
// tagging"), and where it is not, other values of it do not get this far.
constexpr u64 untagged(u64 address) {
  constexpr u64 kTag = u64{0xff} << 56;
  return (address >> 55 & 1) != 0 ? address | kTag : address & ~kTag;
}

}  // namespace

StageRoots guest_roots(Architecture architecture, const Registers& registers) {
  if (architecture == Architecture::AArch64) return aarch64_roots(registers);
  const std::optional<TableRoot> root =
      architecture == Architecture::X86_64
          ? x86_guest_root(registers)
          : riscv_root<Sv>(TableFormat::Sv, value_of(registers, "satp"));
  return {root, root};
}

StageRoots with_root(StageRoots roots, u64 root) {
  const bool halves = roots.lower && roots.lower->format == TableFormat::Stage1;
  if (root == 0 && !halves) return {};
  if (roots.lower) roots.lower->address = root & ~(kPageBytes - 1);
  if (!halves) roots.upper = roots.lower;
  return roots;
}

std::optional<TableRoot> host_root(Architecture architecture, const Registers& registers) {
  if (architecture == Architecture::AArch64) return aarch64_stage2(registers);
  if (architecture == Architecture::RiscV64) {
    return riscv_root<GStage>(TableFormat::GStage, value_of(registers, "hgatp"));
  }
  // KVM gives guests as many levels as it has itself: four on the processor that is recorded.
  std::optional<TableRoot> root = x86_root(value_of(registers, "NCR3"), 4);
  root->shape.rule = addrspace::InputRule::Zero;
  return root;
}

bool in_firmware(const Header& header, const Access& access) {
  return header.architecture == Architecture::RiscV64 && access.has(kGvaKnown | kGpaKnown) &&
         !access.has(kHpaKnown) && access.gva.value() == access.gpa.value();
}

u16 asid_of(Architecture architecture, const Registers& registers) {
  switch (architecture) {
    case Architecture::X86_64:
      return field(value_of(registers, "CR4"), 17, 1) != 0  // PCIDE
                 ? static_cast<u16>(field(value_of(registers, "CR3"), 0, 12))
                 : u16{0};
    case Architecture::AArch64:
      return static_cast<u16>(value_of(registers, "TTBR0_EL1") >> 48);
    case Architecture::RiscV64:
      return static_cast<u16>(value_of(registers, "satp") >> 44);
  }
  return 0;
}

std::string format_name(const std::optional<TableRoot>& root) {
  if (!root) return "";
  const Architecture architecture =
      with_format(root->format, [](const auto& format) { return format.kArchitecture; });
  const char* name = architecture == Architecture::X86_64    ? "x86_64-"
                     : architecture == Architecture::AArch64 ? "aarch64-"
                                                             : "riscv64-";
  return name + std::to_string(root->shape.levels);
}

bool same_entry(TableFormat format, u64 a, u64 b) {
  return a == b || with_format(format, [&](const auto& classes) {
           using F = std::remove_cvref_t<decltype(classes)>;
           if ((a & b & F::kValid) == 0) return false;  // what is not valid is software's
           return F::dirtied(a | F::kAccessed) == F::dirtied(b | F::kAccessed);
         });
}

std::array<u64, RecordedTables::kEntries>& RecordedTables::page(u64 address) {
  std::array<u64, kEntries>& entries = pages_[address];
  if (pages_.size() > most_pages_) {
    throw InputError(name_, "expected at most " + std::to_string(most_pages_) +
                                " pages of tables of one stage, found more");
  }
  return entries;
}

void RecordedTables::put(const TablePage& given) {
  std::array<u64, kEntries>& entries = page(given.address);
  std::memcpy(entries.data(), given.bytes.data(), std::min(given.bytes.size(), sizeof entries));
}

bool RecordedTables::put(u64 address, u64 value) {
  u64& entry = page(address & ~(kPageBytes - 1))[address % kPageBytes / kEntryBytes];
  return std::exchange(entry, value) != value;
}

u64 RecordedTables::entry(u64 address) const {
  const auto page = pages_.find(address & ~(kPageBytes - 1));
  return page == pages_.end() ? 0 : page->second[address % kPageBytes / kEntryBytes];
}

template <class F>
RecordedWalk RecordedTables::walk_as(const F& format, const TableRoot& root, u64 address) const {
  const Geometry& shape = root.shape;
  u64 table = root.address;
  for (unsigned level = shape.root_level();; --level) {
    const u64 index = address >> shape.shift(level) & (shape.entries(level) - 1);
    const u64 found = entry(table + index * kEntryBytes);
    if (!F::is_valid(found, level) || format.malformed(found, level)) return {{}, level};
    table = F::address(found, level).value();
    if (F::is_table(found, level)) continue;
    if (!shape.may_be_leaf(level)) return {{}, level};
    return {table | (address & (shape.leaf_bytes(level) - 1)), level};
  }
}

RecordedWalk RecordedTables::walk(const TableRoot& root, u64 address) const {
  if (root.format == TableFormat::Stage1) address = untagged(address);
  if (!root.shape.accepts(address)) return {{}, root.shape.levels};
  return with_format(root.format,
                     [&](const auto& format) { return walk_as(format, root, address); });
}

}  // namespace nestwalk::traces
