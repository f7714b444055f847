// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "importers/recording_fences.hpp"

namespace nestwalk::traces::recording {
namespace {

// Codes of STREAM.md.
constexpr u64 kInvlpg = 1, kInvpcid = 2, kSfenceVma = 16, kSinvalVma = 19;

GuestFence everything(Precision precision) {
  return {FenceScope::All, kFenceGlobal, {}, 0, 0, precision};
}

// ---- x86-64 ----

std::optional<GuestFence> x86_fence(u64 code, const Operand& first, const Operand& second,
                                    u64 asid) {
  if (code == kInvlpg) {
    if (!first.exact()) return everything(Precision::Widened);
    // Intel SDM vol. 3A, "Operations that Invalidate TLBs": also global ones.
    return GuestFence{FenceScope::AddressAsid, kFenceGlobal, Gva(first.value), 0, asid,
                      Precision::Exact};
  }
  if (code != kInvpcid) return {};
  // The descriptor is lost; types 2 and 3 do not need it: all, with and without global ones.
  constexpr u64 kAll = 2, kAllButGlobal = 3;
  const bool whole = second.exact() && (second.value == kAll || second.value == kAllButGlobal);
  GuestFence fence = everything(whole ? Precision::Exact : Precision::Widened);
  if (whole && second.value == kAllButGlobal) fence.flags = 0;
  return fence;
}

// ---- AArch64: Arm ARM, "TLB maintenance instructions" ----

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

constexpr u64 field(u64 value, unsigned low, unsigned width) {
  return value >> low & ((u64{1} << width) - 1);
}

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

std::optional<GuestFence> aarch64_fence(u64 code, const Operand& operand) {
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

// ---- RISC-V: privileged manual, "SFENCE.VMA" ----

std::optional<GuestFence> riscv_fence(u64 code, const Operand& address, const Operand& asid) {
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

}  // namespace

Operand take_operand(ByteReader& from) {
  Operand operand;
  const u8 state = from.take<u8>("the state of an operand");
  from.check_below(state, 3, "the state of an operand");
  operand.state = static_cast<Operand::State>(state);
  if (operand.exact()) operand.value = from.take_varint("an operand");
  return operand;
}

std::optional<GuestFence> guest_fence(Architecture architecture, u64 code, const Operand& first,
                                      const Operand& second, u64 asid) {
  switch (architecture) {
    case Architecture::X86_64:
      return x86_fence(code, first, second, asid);
    case Architecture::AArch64:
      return aarch64_fence(code, first);
    default:
      return riscv_fence(code, first, second);
  }
}

}  // namespace nestwalk::traces::recording
