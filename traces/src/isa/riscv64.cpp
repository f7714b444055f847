// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// RISC-V, both stages.

#include "isa/isa.hpp"
#include "nestwalk/addrspace/format/sv.hpp"

namespace nestwalk::traces {
namespace {

using addrspace::GStage;
using addrspace::Sv;
using recording::Operand;

// Of satp or hgatp: MODE 8 is three levels, 9 four, 10 five.
template <class F>
std::optional<TableRoot> riscv_root(TableFormat format, u64 atp) {
  const u64 mode = atp >> 60;
  if (mode < 8) return {};
  return root_of(format, field(atp, 0, 44) << kPageShift,
                 F::geometry(static_cast<unsigned>(mode) - 5));
}

StageRoots guest_roots(const Registers& registers) {
  const auto root = riscv_root<Sv>(TableFormat::Sv, value_of(registers, "satp"));
  return {root, root};
}
std::optional<TableRoot> host_root(const Registers& registers) {
  return riscv_root<GStage>(TableFormat::GStage, value_of(registers, "hgatp"));
}

// MODE 0 is Bare.
StageTables guest_tables(const Registers& registers) {
  return {value_of(registers, "satp") >> 60 != 0, guest_roots(registers).lower};
}
StageTables host_tables(const Registers& registers) {
  return {value_of(registers, "hgatp") >> 60 != 0, host_root(registers)};
}

// Privileged manual, "Memory Privilege in sstatus Register": MXR. A guest's is called sstatus, as
// its vsatp is called satp.
TranslationRules rules(const Registers& registers) {
  TranslationRules rules;
  rules.execute_is_read = is_set(registers, "sstatus", 19);
  return rules;
}

AddressSpaceTag space(const Registers& registers) {
  const u64 satp = value_of(registers, "satp");
  return {field(satp, 0, 44) << kPageShift, field(satp, 44, 16)};
}

// A space record says satp's root and ASID, not its mode.
RegisterWrite write(Registers& registers, const std::string& name, u64 value) {
  constexpr unsigned kMode = 60;
  const u64 changed = std::exchange(registers[name], value) ^ value;
  return {.in_space = changed >> kMode == 0, .switches = false, .flush = {}};
}

u64 vmid(const Registers& registers) { return field(value_of(registers, "hgatp"), 44, 14); }

// Privileged manual, "SFENCE.VMA".
std::optional<GuestFence> fence_of(u64 code, const Operand& address, const Operand& asid, u64) {
  constexpr u64 kSfenceVma = 16, kSinvalVma = 19;
  if (code != kSfenceVma && code != kSinvalVma) return {};
  GuestFence fence;
  if (address.lost() || asid.lost()) fence.precision = Precision::Widened;
  // A lost operand widens to all.
  fence.scope = address.exact() ? (asid.exact() ? FenceScope::AddressAsid : FenceScope::Address)
                                : (asid.exact() ? FenceScope::Asid : FenceScope::All);
  fence.flags = asid.exact() ? 0 : u64{kFenceGlobal};
  fence.address = Gva(address.value);
  fence.asid = field(asid.value, 0, 16);  // higher bits are ignored
  return fence;
}

// Privileged manual, "Trap Cause Codes": guest-page faults of fetch, load and store. htval is the
// address, shifted by two.
VmExit exit_of(const std::unordered_map<u64, u64>& state) {
  constexpr u64 kScause = 51, kHtval = 52, kHtinst = 53;
  VmExit exit{value_of(state, kScause), value_of(state, kHtinst), {}};
  if (exit.reason == 20 || exit.reason == 21 || exit.reason == 23) {
    exit.gpa = Gpa(value_of(state, kHtval) << 2);
  }
  return exit;
}

constexpr StreamRegister kRegisters[] = {{32, "satp", Stage::Guest}, {33, "vsatp"},
                                         {34, "hgatp", Stage::Host}, {51, "scause", {}, true},
                                         {52, "htval", {}, true},    {53, "htinst", {}, true}};
constexpr StreamFence kFences[] = {{16, 0, 2}, {17, 0, 2}, {18, 0, 2}, {19, 0, 2},
                                   {20, 0, 2}, {21, 0, 2}, {22},       {23}};
constexpr std::string_view kControls[] = {"satp", "vsatp", "hgatp"};
constexpr std::string_view kOfGuest[] = {"satp"};
constexpr std::string_view kOfHost[] = {"hgatp"};

}  // namespace

constinit const TracedIsa kTracedRiscV64 = {
    .architecture = Architecture::RiscV64,
    .name = "riscv64",
    .least_levels = 3,
    .most_levels = 5,
    .asid_bits = 16,  // privileged manual, satp
    .controls = kControls,
    .deciding = {kOfGuest, kOfHost},
    .roots_are_pages = true,
    // Machine mode does not translate, whatever satp says; Linux calls it for interrupts between
    // processors.
    .firmware_is_recorded = true,
    .guest_roots = guest_roots,
    .host_root = host_root,
    .tables = {guest_tables, host_tables},
    .rules = rules,
    .space = space,
    .space_register = "satp",
    .replaces_space = "satp",
    .registers = kRegisters,
    .fences = kFences,
    .write = write,
    .vmid = vmid,
    .fence = fence_of,
    .exit = exit_of,
};

}  // namespace nestwalk::traces
