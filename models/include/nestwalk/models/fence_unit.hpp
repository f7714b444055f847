// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences: which cached translations an operation removes, as a table of data; and when it has done
// so on which cores.
//
// Sources: Intel SDM vol. 3C, "Operations that Invalidate Cached Mappings"; Arm ARM D8, "TLB
// maintenance"; RISC-V privileged spec, "SFENCE.VMA" and "Hypervisor Memory-Management Fence
// Instructions".
#pragma once

#include <span>

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
  InvpcidAddress,  ///< of one PCID, without globals
  InvpcidSingle,
  InvpcidAll,
  InvpcidAllKeepGlobals,
  // AArch64: on one core, broadcast to the inner and to the outer shareable domain
  // clang-format off
  TlbiIpas2e1, TlbiIpas2e1is, TlbiIpas2e1os,
  TlbiIpas2le1, TlbiIpas2le1is, TlbiIpas2le1os,
  TlbiRipas2e1, TlbiRipas2e1is, TlbiRipas2e1os,
  TlbiRipas2le1, TlbiRipas2le1is, TlbiRipas2le1os,
  TlbiVmalle1, TlbiVmalle1is, TlbiVmalle1os,
  TlbiVmalls12e1, TlbiVmalls12e1is, TlbiVmalls12e1os,
  TlbiAlle1, TlbiAlle1is, TlbiAlle1os,
  TlbiVae1, TlbiVae1is, TlbiVae1os,
  TlbiVaae1, TlbiVaae1is, TlbiVaae1os,
  TlbiVale1, TlbiVale1is, TlbiVale1os,
  TlbiVaale1, TlbiVaale1is, TlbiVaale1os,
  TlbiRvae1, TlbiRvae1is, TlbiRvae1os,
  TlbiRvaae1, TlbiRvaae1is, TlbiRvaae1os,
  TlbiRvale1, TlbiRvale1is, TlbiRvale1os,
  TlbiRvaale1, TlbiRvaale1is, TlbiRvaale1os,
  TlbiAside1, TlbiAside1is, TlbiAside1os,
  TlbiVae2, TlbiVae2is, TlbiVae2os,
  TlbiAlle2, TlbiAlle2is, TlbiAlle2os,
  // clang-format on
  // RISC-V: by address, by ASID or VMID, as rs1 and rs2 say
  VvmaAll,  ///< HFENCE.VVMA, or SFENCE.VMA with V = 1
  VvmaAddress,
  VvmaAsid,
  VvmaAddressAsid,
  GvmaAll,
  GvmaVmid,
  GvmaAddress,
  GvmaAddressVmid,
  // Svinval: the same in parts
  SfenceWInval,
  HinvalVvmaAll,  ///< HINVAL.VVMA, or SINVAL.VMA with V = 1
  HinvalVvmaAddress,
  HinvalVvmaAsid,
  HinvalVvmaAddressAsid,
  HinvalGvmaAll,
  HinvalGvmaVmid,
  HinvalGvmaAddress,
  HinvalGvmaAddressVmid,
  SfenceInvalIr,
  Dsb,   ///< waits for what the core broadcast
  None,  ///< a barrier that takes no time
};
inline constexpr unsigned kFenceKindCount = static_cast<unsigned>(FenceKind::None) + 1;

struct FenceRequest {
  FenceKind kind = FenceKind::None;
  u64 root = 0;         ///< INVEPT: EPTP
  u16 vmid = 0;         ///< VMID or VPID, the current one where the operation names none
  u16 asid = 0;         ///< ASID or PCID, likewise
  u64 address = 0;      ///< virtual or guest-physical
  u64 bytes = 1;        ///< from there: more for range operations
  bool engine = false;  ///< the engine's: `instruction`
  addrspace::Fence instruction{};
};

/// What the engine's fence means on a core that runs this regime.
FenceRequest from_engine(const addrspace::Fence& fence, const Regime& current);
const char* to_string(FenceKind kind);
bool is_broadcast(FenceKind kind);
/// Does the issuer go on in the next cycle, before it has acted? SFENCE.INVAL.IR waits for those.
bool is_posted(FenceKind kind);
FenceCost cost_of(FenceKind kind);

/// Removes from one core what the fence reaches; how many entries that were. Walks in flight there
/// begin again. `remember`: whatever is filled again counts as a refill.
u64 apply_fence(const FenceRequest& fence, Mmu& mmu, const Tags& tags, bool remember = false);

/// Who executes a fence.
enum class Reach : u8 {
  Own,         ///< the core; and all others, if the operation broadcasts
  Interrupts,  ///< the core, and each other one when an interrupt has reached it
};

/// Is told of the engine's instructions, in the cycle in which a core executes them.
class FenceWitness {
 public:
  virtual void executed(u32 core, const addrspace::Fence& fence) = 0;

 protected:
  FenceWitness() = default;
  FenceWitness(const FenceWitness&) = default;
  FenceWitness& operator=(const FenceWitness&) = default;
  ~FenceWitness() = default;
};

/// A core to interrupt, and what it does before it answers.
struct InterruptTarget {
  u32 core = 0;
  Cycle delay = 0;
};

class FenceUnit final : public Actor {
 public:
  explicit FenceUnit(Board& board) : board_(board) { pending_.reserve(16); }

  /// Issues a fence now. `owner` runs with `what` when it is complete on every core that it
  /// reaches; in the next cycle if it is posted.
  void issue(u32 core, const FenceRequest& fence, Reach reach, Actor& owner, u32 what);

  struct Sequence {
    Cycle own = 0;     ///< the issuer is through with it
    Cycle others = 0;  ///< it knows that all are that were interrupted; 0 if there are none
    Cycle each = 0;    ///< what one of them spent
    u32 interrupts = 0;
    Cycle end() const { return own > others ? own : others; }
  };
  /// Issues the fences of one operation, one after the other: on the issuer, and once more on each
  /// core that `interrupts` names if one of them does not broadcast. A barrier waits for what its
  /// core broadcast or posted before; the others are not waited for if they can be. `owner` runs
  /// with `what` when all are through. `fences` may be gone by then.
  Sequence issue_all(u32 core, std::span<const FenceRequest> fences,
                     std::span<const InterruptTarget> interrupts, Actor& owner, u32 what);
  void watch(FenceWitness* witness) { witness_ = witness; }
  u64 dropped() const { return dropped_; }

  void on_cycle(u32 event) override;

 private:
  struct Pending {
    FenceRequest fence;
    bool acts;
    bool tells;
  };
  u32 take_place();
  Cycle& posted(u32 core);
  Cycle run_on(u32 core, Cycle start, bool issuer, std::span<const FenceRequest> fences);
  void put(const FenceRequest& fence, u32 core, Cycle at, bool acts, bool tells);

  Board& board_;
  std::vector<Pending> pending_;
  std::vector<u32> free_;      ///< places
  std::vector<Cycle> posted_;  ///< by core: until all has acted that nobody waited for
  FenceWitness* witness_ = nullptr;
  u64 dropped_ = 0;
};

}  // namespace nestwalk::models
