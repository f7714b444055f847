// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The instructions that invalidate translations and that order it, as data.
#pragma once

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/geometry.hpp"
#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::addrspace {

enum class FenceOp : u8 {
  // x86-64
  InveptSingle,  ///< operand: EPTP
  InveptAll,
  InvvpidSingle,  ///< operand: the VPID
  InvvpidAll,
  Invlpg,  ///< operand: a linear address
  MovCr3,  ///< CR3 written with the value that it has
  // AArch64; operands as the register holds them
  DsbIshst,
  DsbIsh,
  DsbSy,
  Isb,
  TlbiIpas2e1is,    ///< operand: IPA >> 12
  TlbiIpas2le1is,   ///< operand: IPA >> 12; last level only
  TlbiRipas2e1is,   ///< FEAT_TLBIRANGE; operand: fence_range.hpp
  TlbiRipas2le1is,  ///< the same; last level only
  TlbiVmalle1is,
  TlbiVmalls12e1is,
  TlbiIpas2e1,  ///< on this processor only, as are the next three
  TlbiIpas2le1,
  TlbiVmalle1,
  TlbiVmalls12e1,
  TlbiAlle1is,
  TlbiVae2is,  ///< operand: VA >> 12
  TlbiAlle2is,
  // RISC-V
  HfenceGvmaAddress,  ///< rs1 = operand (GPA >> 2), rs2 = vmid
  HfenceGvmaVmid,     ///< rs1 = x0, rs2 = vmid
  HfenceGvmaAll,
  HfenceVvmaAll,  ///< rs1 = rs2 = x0; acts on the VMID that hgatp holds
  // Svinval: the same in parts, complete at SFENCE.INVAL.IR
  SfenceWInval,
  HinvalGvmaAddress,
  HinvalGvmaVmid,
  HinvalGvmaAll,
  HinvalVvmaAll,
  SfenceInvalIr,
};
inline constexpr unsigned kFenceOpCount = static_cast<unsigned>(FenceOp::SfenceInvalIr) + 1;

struct Fence {
  FenceOp op;
  u16 vmid = 0;
  u64 operand = 0;
  friend constexpr bool operator==(const Fence&, const Fence&) = default;
};

/// What an instruction is told, and how its operand follows from that.
enum class FenceOperand : u8 {
  None,
  Root,  ///< the root register
  Vpid,
  Linear,   ///< an address
  Page,     ///< an address >> 12
  Range,    ///< a range of addresses
  Quarter,  ///< an address >> 2, and the VMID
  Vmid,
};

struct FenceTraits {
  const char* mnemonic;
  Architecture architecture;
  FenceOperand operand;
  bool broadcast;  ///< it reaches the other processors by itself
};
const FenceTraits& traits_of(FenceOp op);

/// As an assembler listing shows it, with the operand's value: `tlbi ipas2e1is, 0x10`.
Text<64> to_text(const Fence& fence);
/// Does it reach the other processors by itself?
bool is_broadcast(FenceOp op);

}  // namespace nestwalk::addrspace
