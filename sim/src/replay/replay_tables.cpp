// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/replay_tables.hpp"

#include <cstring>

#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/spool.hpp"

namespace nestwalk::sim {

using addrspace::u16;
using models::EntryFormatOf;

namespace {

// What the guest ran on is not recorded: nothing is malformed that some machine takes, and flags
// that the recording lacks are set by the walker.
addrspace::Capabilities any_machine() {
  addrspace::Capabilities machine;
  machine.physical_bits = 52;
  machine.leaf_levels = 0b11111;
  machine.most_levels = 5;
  machine.granules = 0b111;
  machine.page_memory_types = true;
  machine.napot_pages = true;
  machine.hardware_dirty = true;
  return machine;
}

addrspace::Capabilities without_execute_disable() {
  addrspace::Capabilities machine = any_machine();
  machine.execute_disable = false;
  return machine;
}

addrspace::Capabilities without_limits_of_tables() {
  addrspace::Capabilities machine = any_machine();
  machine.tables_limit = false;
  return machine;
}

const models::EntryFormat& format_of(const traces::TableRoot& root, bool nested) {
  using addrspace::LongMode;
  static const EntryFormatOf<LongMode> kLongMode(any_machine());
  static const EntryFormatOf<LongMode> kLongModeWithoutNx(without_execute_disable());
  static const EntryFormatOf<addrspace::Npt> kNpt(any_machine());
  static const EntryFormatOf<addrspace::Stage1<addrspace::Granule::k4K>> kStage1(any_machine());
  static const EntryFormatOf<addrspace::Stage1<addrspace::Granule::k4K>> kStage1WithoutLimits(
      without_limits_of_tables());
  static const EntryFormatOf<addrspace::Stage2<addrspace::Granule::k4K>> kStage2(any_machine());
  static const EntryFormatOf<addrspace::Sv> kSv(any_machine());
  static const EntryFormatOf<addrspace::GStage> kGStage(any_machine());
  switch (root.format) {
    case traces::TableFormat::Stage1:
      return root.tables_limit ? kStage1 : kStage1WithoutLimits;
    case traces::TableFormat::Stage2:
      return kStage2;
    case traces::TableFormat::Sv:
      return kSv;
    case traces::TableFormat::GStage:
      return kGStage;
    default:
      if (nested) return kNpt;
      return root.execute_disable ? kLongMode : kLongModeWithoutNx;
  }
}

models::Stage stage_of(const std::optional<traces::TableRoot>& root, bool nested) {
  if (!root) return {};
  return {&format_of(*root, nested), root->shape, root->address};
}

u16 asid_of(addrspace::Architecture architecture, const traces::Registers& registers) {
  return static_cast<u16>(traces::space_of(architecture, registers).asid);
}

}  // namespace

RecordedRoots::RecordedRoots(const traces::Header& header, bool both,
                             const traces::Registers& registers, bool registers_known)
    : architecture_(*header.architecture),
      both_(both),
      registers_(registers),
      asid_(asid_of(architecture_, registers)),
      known_(registers_known) {
  judge();
}

void RecordedRoots::judge() {
  using traces::Stage;
  rules_ = traces::translation_rules(architecture_, registers_);
  breach_ = traces::breach_of_walks(architecture_, Stage::Guest, registers_);
  if (!breach_ && both_) breach_ = traces::breach_of_walks(architecture_, Stage::Host, registers_);
}

software::TableRoots RecordedRoots::roots() const {
  traces::StageRoots guest = traces::guest_roots(architecture_, registers_);
  if (root_) guest = traces::with_root(guest, *root_);
  software::TableRoots roots;
  roots.known = known_;
  roots.asid = asid_;
  roots.privilege.kernel_writes_read_only = rules_.kernel_writes_read_only;
  roots.privilege.execute_is_read = rules_.execute_is_read;
  roots.privilege.writable_never_executes = rules_.writable_never_executes;
  roots.privilege.tables_in_memory = rules_.tables_in_memory;
  roots.guest = stage_of(guest.lower, false);
  if (models::isa_of(architecture_).has_halves) roots.guest_upper = stage_of(guest.upper, false);
  // The other half has no tables then, and no translations.
  if (!roots.guest.on()) roots.guest = roots.guest_upper;
  if (both_) {
    roots.nested = stage_of(traces::host_root(architecture_, registers_), true);
    roots.vmid = traces::host_vmid(architecture_, registers_);
    roots.known = known_ && roots.nested.on();
  }
  return roots;
}

bool RecordedRoots::follow(const traces::Event& event) {
  if (const auto* const space = std::get_if<traces::SpaceSwitch>(&event.detail)) {
    root_ = space->root;
    asid_ = static_cast<u16>(space->asid);
    known_ = space->precision == traces::Precision::Exact;
    return true;
  }
  const auto* const control = std::get_if<traces::ControlWrite>(&event.detail);
  if (control == nullptr) return false;
  registers_[control->name] = control->value;
  judge();
  if (traces::replaces_space(control->name)) {
    root_.reset();
    asid_ = asid_of(architecture_, registers_);
  }
  return true;
}

std::vector<RecordedRoots> recorded_begin(const std::string& trace, bool both, const PutPage& put) {
  traces::Reader reader(traces::open_seekable(trace));
  const traces::Header& header = reader.header();
  // What it calls ASIDs are not those of page tables.
  if (header.mode == traces::Mode::User) {
    throw traces::InputError(trace,
                             "is of a program without its kernel, so it has no page tables "
                             "that can be replayed");
  }
  std::vector<traces::Registers> registers(header.vcpus);
  bool found[2] = {};
  for (auto item = reader.next(); item != traces::Reader::Item::End; item = reader.next()) {
    if (item != traces::Reader::Item::SideData) continue;
    const traces::SideData& side = reader.side_data();
    if (side.when != traces::When::Begin) continue;
    for (const auto& [name, value] : side.registers) registers[side.vcpu][name] = value;
    const bool nested = side.stage == traces::Stage::Host;
    found[nested ? 1 : 0] = found[nested ? 1 : 0] || !side.pages.empty();
    if (nested && !both) continue;
    for (const traces::TablePage& page : side.pages) {
      software::ReplayedTables::Entries entries{};
      std::memcpy(entries.data(), page.bytes.data(), std::min(page.bytes.size(), sizeof entries));
      if (!put(nested, page.address, entries)) {
        throw traces::InputError(trace, "has more page tables than are replayed");
      }
    }
  }
  for (const bool nested : {false, true}) {
    if (found[nested ? 1 : 0] || (nested && !both)) continue;
    throw traces::InputError(trace, std::string("holds no page tables of the ") +
                                        (nested ? "host's" : "guest's") +
                                        " begin, so they cannot be replayed");
  }
  std::vector<RecordedRoots> roots;
  for (const traces::Registers& own : registers) {
    // What the first vCPU's say about the form of tables holds for all.
    roots.emplace_back(header, both, own.empty() ? registers[0] : own, !own.empty());
  }
  return roots;
}

}  // namespace nestwalk::sim
