// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences: which cached translations an operation removes, as a table of data; and when it has done
// so on which cores.
//
// Sources: Intel SDM vol. 3C, "Operations that Invalidate Cached Mappings"; Arm ARM D8, "TLB
// maintenance"; RISC-V privileged spec, "SFENCE.VMA" and "Hypervisor Memory-Management Fence
// Instructions".
#pragma once

#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/models/board.hpp"

namespace nestwalk::models {

enum class FenceKind : u8 {
  // x86-64
  InveptSingle,
  InveptAll,
  InvvpidAddress,
  InvvpidSingle,
  InvvpidAll,
  InvvpidSingleKeepGlobals,
  InvlpgGuest,
  MovCr3Guest,
  InvlpgHost,  ///< in VMX root: VPID 0
  MovCr3Host,
  VmEntryWithoutVpid,
  // AArch64
  TlbiIpas2e1is,
  TlbiIpas2le1is,
  TlbiVmalle1is,
  TlbiVmalls12e1is,
  TlbiAlle1is,
  TlbiVae1is,
  TlbiVaae1is,
  TlbiVale1is,
  TlbiVaale1is,
  TlbiAside1is,
  TlbiVae2is,
  TlbiAlle2is,
  TlbiIpas2e1,  ///< as above, without broadcast
  TlbiVmalle1,
  TlbiVmalls12e1,
  // RISC-V: by address, by ASID or VMID, as rs1 and rs2 say
  VvmaAll,  ///< HFENCE.VVMA, or SFENCE.VMA with V = 1
  VvmaAddress,
  VvmaAsid,
  VvmaAddressAsid,
  GvmaAll,
  GvmaVmid,
  GvmaAddress,
  GvmaAddressVmid,
  None,  ///< a barrier
};
inline constexpr unsigned kFenceKindCount = static_cast<unsigned>(FenceKind::None) + 1;

struct FenceRequest {
  FenceKind kind = FenceKind::None;
  u64 root = 0;     ///< INVEPT: EPTP
  u16 vmid = 0;     ///< VMID or VPID, the current one where the operation names none
  u16 asid = 0;     ///< ASID or PCID, likewise
  u64 address = 0;  ///< virtual or guest-physical
  u64 bytes = 1;    ///< from there: more for range operations
};

/// What the engine's fence means on a core that runs this regime.
FenceRequest from_engine(const addrspace::Fence& fence, const Regime& current);
const char* to_string(FenceKind kind);
bool is_broadcast(FenceKind kind);

/// Removes from one core what the fence reaches; how many entries that were. Walks in flight there
/// begin again.
u64 apply_fence(const FenceRequest& fence, Mmu& mmu, const Tags& tags);

/// Who executes a fence.
enum class Reach : u8 {
  Own,         ///< the core; and all others, if the operation broadcasts
  Interrupts,  ///< the core, and each other one when an interrupt has reached it
};

class FenceUnit final : public Actor {
 public:
  explicit FenceUnit(Board& board) : board_(board) { pending_.reserve(16); }

  /// Issues a fence now. `owner` runs with `what` when it is complete on every core that it
  /// reaches.
  void issue(u32 core, const FenceRequest& fence, Reach reach, Actor& owner, u32 what);
  u64 dropped() const { return dropped_; }

  void on_cycle(u32 event) override;

 private:
  struct Pending {
    FenceRequest fence;
    Actor* owner;
    u32 what;
    u32 cores_left;  ///< 0 if the place is free
  };
  u32 take_place();

  Board& board_;
  std::vector<Pending> pending_;
  u64 dropped_ = 0;
};

}  // namespace nestwalk::models
