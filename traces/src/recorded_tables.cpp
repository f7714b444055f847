// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/recorded_tables.hpp"

#include <algorithm>
#include <cstring>

#include "isa/isa.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {
namespace {

using addrspace::Geometry;
using addrspace::Granule;
using addrspace::GStage;
using addrspace::LongMode;
using addrspace::Sv;
using Stage1 = addrspace::Stage1<Granule::k4K>;
using Stage2 = addrspace::Stage2<Granule::k4K>;

constexpr u64 kEntryBytes = 8;

// What a guest ran on is not recorded, so nothing is malformed that some machine takes.
constexpr addrspace::Capabilities any_machine() {
  addrspace::Capabilities capabilities;
  capabilities.physical_bits = 52;
  capabilities.leaf_levels = 0b11111;
  capabilities.page_memory_types = true;
  capabilities.napot_pages = true;
  return capabilities;
}

template <class Visit>
auto with_format(TableFormat format, Visit&& visit,
                 const addrspace::Capabilities& machine = any_machine()) {
  switch (format) {
    case TableFormat::Stage1:
      return visit(Stage1(machine));
    case TableFormat::Stage2:
      return visit(Stage2(machine));
    case TableFormat::Sv:
      return visit(Sv(machine));
    case TableFormat::GStage:
      return visit(GStage(machine));
    default:
      return visit(LongMode(machine));
  }
}

}  // namespace

StageRoots guest_roots(Architecture architecture, const Registers& registers) {
  return traced(architecture).guest_roots(registers);
}

StageTables stage_tables(Architecture architecture, Stage stage, const Registers& registers) {
  return traced(architecture).tables[static_cast<u8>(stage)](registers);
}

std::optional<Breach> breach_of_walks(Architecture architecture, Stage stage,
                                      const Registers& registers) {
  const StageTables tables = stage_tables(architecture, stage, registers);
  if (!tables.in_use || tables.root) return {};
  Breach breach{"page tables of the " + std::string(kStageNames[static_cast<u8>(stage)]) +
                    " of a format that is known here",
                "those of"};
  for (const std::string_view name : traced(architecture).deciding[static_cast<u8>(stage)]) {
    const auto value = registers.find(std::string(name));
    if (value == registers.end()) continue;
    breach.found.append(" ").append(name).append(" ").append(in_hex(value->second));
  }
  return breach;
}

TranslationRules translation_rules(Architecture architecture, const Registers& registers) {
  return traced(architecture).rules(registers);
}

// Arm ARM, "Address tagging": bit 55 chooses the half, and stands for those above it.
u64 TranslationRules::translated(u64 address, AccessKind kind) const {
  constexpr u64 kTag = u64{0xff} << 56;
  const bool upper = (address >> 55 & 1) != 0;
  const Half& ignores = ignores_top_byte[upper ? 1 : 0];
  if (!(kind == AccessKind::Fetch ? ignores.fetches : ignores.data)) return address;
  return upper ? address | kTag : address & ~kTag;
}

StageRoots with_root(StageRoots roots, u64 root) {
  const bool halves = roots.lower && roots.lower->format == TableFormat::Stage1;
  if (root == 0 && !halves) return {};
  if (roots.lower) roots.lower->address = root_address(root, roots.lower->shape);
  if (!halves) roots.upper = roots.lower;
  return roots;
}

bool replaces_space(std::string_view register_name) {
  const auto isas = traced_isas();
  return std::any_of(isas.begin(), isas.end(),
                     [&](const TracedIsa* each) { return each->replaces_space == register_name; });
}

bool is_space_register(Architecture architecture, std::string_view register_name) {
  return traced(architecture).space_register == register_name;
}

std::optional<TableRoot> host_root(Architecture architecture, const Registers& registers) {
  return traced(architecture).host_root(registers);
}

addrspace::u16 host_vmid(Architecture architecture, const Registers& registers) {
  return static_cast<addrspace::u16>(traced(architecture).vmid(registers));
}

AddressSpaceTag space_of(Architecture architecture, const Registers& registers) {
  return traced(architecture).space(registers);
}

bool in_firmware(const Header& header, const Access& access) {
  return header.architecture && traced(*header.architecture).firmware_is_recorded &&
         access.has(kGvaKnown | kGpaKnown) && !access.has(kHpaKnown) &&
         access.gva.value() == access.gpa.value();
}

std::string format_name(const std::optional<TableRoot>& root) {
  if (!root) return "";
  const Architecture architecture =
      with_format(root->format, [](const auto& format) { return format.kArchitecture; });
  return std::string(traced(architecture).name) + "-" + std::to_string(root->shape.levels);
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
  u64& entry = page(addrspace::align_down(address, kPageBytes))[address % kPageBytes / kEntryBytes];
  return std::exchange(entry, value) != value;
}

u64 RecordedTables::entry(u64 address) const {
  const auto page = pages_.find(addrspace::align_down(address, kPageBytes));
  return page == pages_.end() ? 0 : page->second[address % kPageBytes / kEntryBytes];
}

template <class F>
RecordedWalk RecordedTables::walk_as(const F& format, const TableRoot& root, u64 address) const {
  const Geometry& shape = root.shape;
  RecordedWalk walk;
  addrspace::descend(shape, root.address, address, [&](u64 slot, unsigned level, u64& table) {
    walk.level = level;
    const u64 found = entry(slot);
    if (!F::is_valid(found, level) || format.malformed(found, level)) return false;
    const u64 here = addrspace::entry_at<F>(slot / kEntryBytes, found);
    table = F::address(here, level).value();
    if (F::is_table(found, level)) return true;
    if (shape.may_be_leaf(level)) {
      walk.address = table | (address & (shape.leaf_bytes(level) - 1));
    }
    return false;
  });
  return walk;
}

RecordedWalk RecordedTables::walk(const TableRoot& root, u64 address) const {
  if (!root.shape.accepts(address)) return {{}, root.shape.levels};
  addrspace::Capabilities machine = any_machine();
  machine.execute_disable = root.execute_disable;
  return with_format(
      root.format, [&](const auto& format) { return walk_as(format, root, address); }, machine);
}

}  // namespace nestwalk::traces
