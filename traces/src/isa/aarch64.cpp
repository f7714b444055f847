// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AArch64, both stages.

#include "isa/isa.hpp"
#include "nestwalk/addrspace/format/vmsa.hpp"

namespace nestwalk::traces {
namespace {

using addrspace::Geometry;
using addrspace::Granule;
using addrspace::Result;
using recording::Operand;
using Stage1 = addrspace::Stage1<Granule::k4K>;
using Stage2 = addrspace::Stage2<Granule::k4K>;

constexpr u64 kRoot48 = 0x0000'ffff'ffff'fffe;  // of a root register, with bits that are 0

std::optional<TableRoot> aarch64_half(u64 table, u64 size_field, addrspace::VaHalf half,
                                      bool hierarchy_disabled) {
  const unsigned bits = 64 - static_cast<unsigned>(size_field);
  auto root = root_of(TableFormat::Stage1, table & kRoot48, Stage1::geometry(bits, half));
  if (root) root->tables_limit = !hierarchy_disabled;
  return root;
}

// SCTLR.M and TCR_EL1.EPD: which halves are translated.
bool lower_in_use(const Registers& registers) {
  return (value_of(registers, "SCTLR") & 1) != 0 &&
         field(value_of(registers, "TCR_EL1"), 7, 1) == 0;
}
bool upper_in_use(const Registers& registers) {
  return (value_of(registers, "SCTLR") & 1) != 0 &&
         field(value_of(registers, "TCR_EL1"), 23, 1) == 0;
}

StageRoots guest_roots(const Registers& registers) {
  StageRoots roots;
  const u64 control = value_of(registers, "TCR_EL1");
  // The granule of 4 KiB, which the halves encode differently.
  if (lower_in_use(registers) && field(control, 14, 2) == 0) {
    roots.lower = aarch64_half(value_of(registers, "TTBR0_EL1"), field(control, 0, 6),
                               addrspace::VaHalf::Lower, is_set(registers, "TCR_EL1", 41));
  }
  if (upper_in_use(registers) && field(control, 30, 2) == 2) {
    roots.upper = aarch64_half(value_of(registers, "TTBR1_EL1"), field(control, 16, 6),
                               addrspace::VaHalf::Upper, is_set(registers, "TCR_EL1", 42));
  }
  return roots;
}

std::optional<TableRoot> host_root(const Registers& registers) {
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
  return root_of(TableFormat::Stage2, value_of(registers, "VTTBR_EL2") & kRoot48, chosen);
}

// Of another granule than 4 KiB. T1SZ of 0 is no size: who leaves the reset value there does not
// use the half.
bool upper_is_other(const Registers& registers) {
  const u64 control = value_of(registers, "TCR_EL1");
  return upper_in_use(registers) && field(control, 30, 2) != 2 && field(control, 16, 6) != 0;
}

StageTables guest_tables(const Registers& registers) {
  const StageRoots roots = guest_roots(registers);
  if (lower_in_use(registers)) {
    return {true, upper_is_other(registers) ? std::nullopt : roots.lower};
  }
  return {upper_in_use(registers), roots.upper};
}

// HCR_EL2.VM; where HCR_EL2 is not known, whether VTCR_EL2, which has a bit that is 1, was written.
StageTables host_tables(const Registers& registers) {
  const bool known = registers.contains("HCR_EL2");
  const bool in_use =
      known ? (value_of(registers, "HCR_EL2") & 1) != 0 : value_of(registers, "VTCR_EL2") != 0;
  return {in_use, host_root(registers)};
}

// Arm ARM, TCR_EL1: TBI0 and TBI1, and TBID0 and TBID1 for data alone; SCTLR_EL1.WXN; HCR_EL2.PTW.
TranslationRules rules(const Registers& registers) {
  TranslationRules rules;
  for (const unsigned half : {0u, 1u}) {
    TranslationRules::Half& ignores = rules.ignores_top_byte[half];
    ignores.data = is_set(registers, "TCR_EL1", 37 + half);
    ignores.fetches = ignores.data && !is_set(registers, "TCR_EL1", 51 + half);
  }
  rules.writable_never_executes = is_set(registers, "SCTLR", 19);
  rules.tables_in_memory = is_set(registers, "HCR_EL2", 2);
  return rules;
}

AddressSpaceTag space(const Registers& registers) {
  const bool upper = field(value_of(registers, "TCR_EL1"), 22, 1) != 0;  // A1: TTBR1's ASID
  return {value_of(registers, "TTBR0_EL1") & kRoot48,
          value_of(registers, upper ? "TTBR1_EL1" : "TTBR0_EL1") >> 48};
}

RegisterWrite write(Registers& registers, const std::string& name, u64 value) {
  registers[name] = value;
  return {.in_space = name == "TTBR0_EL1", .switches = false, .flush = {}};
}

u64 vmid(const Registers& registers) { return value_of(registers, "VTTBR_EL2") >> 48; }

// Fences: Arm ARM, "TLB maintenance instructions" ------------------------------------------------

// What op2 says in the encodings of EL1&0.
struct TlbiForm {
  FenceScope scope;
  u64 flags;
  bool known;
};
constexpr TlbiForm kTlbiForms[8] = {
    {FenceScope::All, kFenceGlobal, true},                       // VMALLE1
    {FenceScope::AddressAsid, kFenceGlobal, true},               // VAE1
    {FenceScope::Asid, 0, true},                                 // ASIDE1
    {FenceScope::Address, kFenceGlobal, true},                   // VAAE1
    {FenceScope::All, 0, false},                                 // -
    {FenceScope::AddressAsid, kFenceGlobal | kFenceLeaf, true},  // VALE1
    {FenceScope::All, 0, false},                                 // -
    {FenceScope::Address, kFenceGlobal | kFenceLeaf, true},      // VAALE1
};

// Bits 43:0 are bits 55:12 of the address.
Gva tlbi_address(u64 operand) {
  const u64 address = field(operand, 0, 44) << 12;
  return Gva((address & u64{1} << 55) != 0 ? address | u64{0xff} << 56 : address);
}

// FEAT_TLBIRANGE: bits 36:0 base in granules, 43:39 NUM, 45:44 SCALE.
void set_range(GuestFence& fence, u64 operand) {
  const u64 base = field(operand, 0, 37) << 12;
  const u64 sign = u64{1} << 48;
  fence.address = Gva((base & sign) != 0 ? base | ~(sign - 1) : base);
  const u64 pages = (field(operand, 39, 5) + 1) << (5 * field(operand, 44, 2) + 1);
  fence.bytes = pages << 12;
}

std::optional<GuestFence> fence_of(u64 code, const Operand& operand, const Operand&, u64) {
  if (code >= u64{1} << 14) return {};  // dsb
  const u64 op1 = field(code, 11, 3), crm = field(code, 3, 4);
  const TlbiForm form = kTlbiForms[field(code, 0, 3)];
  if (op1 != 0 || !form.known) return {};  // EL2, EL3, stage 2
  const bool broadcast = crm == 1 || crm == 2 || crm == 3 || crm == 5;
  const bool range = crm == 2 || crm == 5 || crm == 6;
  const u64 reach = broadcast ? u64{kFenceBroadcast} : 0;
  if (operand.lost()) {
    GuestFence fence = everything(Precision::Widened);
    fence.flags |= reach;
    return fence;
  }
  GuestFence fence{form.scope, form.flags | reach, {}, 0, 0, Precision::Exact};
  const bool has_asid = form.scope == FenceScope::Asid || form.scope == FenceScope::AddressAsid;
  if (has_asid) fence.asid = field(operand.value, 48, 16);
  if (form.scope != FenceScope::All && form.scope != FenceScope::Asid) {
    if (range) set_range(fence, operand.value);
    if (!range) fence.address = tlbi_address(operand.value);
  }
  return fence;
}

// QEMU does not tell.
VmExit exit_of(const std::unordered_map<u64, u64>&) { return {}; }

constexpr StreamRegister kRegisters[] = {
    {16, "TTBR0_EL1", Stage::Guest}, {17, "TTBR1_EL1", Stage::Guest}, {18, "TTBR0_EL2"},
    {19, "VTTBR_EL2", Stage::Host},  {20, "TCR_EL1", Stage::Guest},   {21, "SCTLR", Stage::Guest},
    {22, "VTCR_EL2", Stage::Host}};
// TLBI, whose CRn is 8, or 9 with FEAT_XS's nXS; DSB.
constexpr StreamFence kFences[] = {{8 << 7, 7 << 11 | 1 << 7 | 0x7f, 1}, {0x8000, 15, 0}};
constexpr std::string_view kControls[] = {"SCTLR",   "TCR_EL1",  "TTBR0_EL1", "TTBR1_EL1",
                                          "HCR_EL2", "VTCR_EL2", "VTTBR_EL2"};
constexpr std::string_view kOfGuest[] = {"SCTLR", "TCR_EL1"};
constexpr std::string_view kOfHost[] = {"VTCR_EL2"};

}  // namespace

constinit const TracedIsa kTracedAArch64 = {
    .architecture = Architecture::AArch64,
    .name = "aarch64",
    .least_levels = 1,
    .most_levels = 5,
    .asid_bits = 16,  // Arm ARM, TTBR0_EL1
    .controls = kControls,
    .deciding = {kOfGuest, kOfHost},
    .roots_are_pages = false,
    .firmware_is_recorded = false,
    .guest_roots = guest_roots,
    .host_root = host_root,
    .tables = {guest_tables, host_tables},
    .rules = rules,
    .space = space,
    .space_register = "TTBR0_EL1",
    .replaces_space = "",
    .registers = kRegisters,
    .fences = kFences,
    .write = write,
    .vmid = vmid,
    .fence = fence_of,
    .exit = exit_of,
};

}  // namespace nestwalk::traces
