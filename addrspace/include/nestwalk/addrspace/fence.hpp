// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// From an Invalidation to the architecture's instructions, as data.
//
// emit_fences() calls a sink with one Fence after the other: a simulator replays them, a test
// records them, fence_execute.hpp runs them. What the rules demand:
//
//   x86-64   INVEPT for whatever takes something away; nothing for new entries, and nothing for
//            more permission: the EPT violation that a stale entry causes removes it (Intel SDM
//            vol. 3C, "Guidelines for Use of the INVEPT Instruction").
//   AArch64  The stores made visible (DSB ISHST); stage-2 entries by IPA, or all of the VMID; a
//   DSB;
//            then the combined entries, which no IPA selects (TLBI VMALLE1IS); DSB, ISB. New
//            entries only need to be visible (Arm ARM D8, "TLB maintenance").
//   RISC-V   HFENCE.GVMA with GPA >> 2 for leaves, with rs1 = x0 once a table went; for new
//            entries, too, unless invalid ones are not cached (Svvptc). A cached invalid entry
//            above a new table is left to the spurious fault that it may cause: that fence takes
//            rs1 = x0.
//
// INVEPT and HFENCE.GVMA act on the processor that executes them. Every processor that may run the
// VM needs them: reaching the others (IPI, kick, SBI RFENCE) is the Hal's part. TLBI ...IS
// broadcasts by itself.
#pragma once

#include <type_traits>

#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/geometry.hpp"
#include "nestwalk/addrspace/invalidation.hpp"
#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::addrspace {

enum class FenceOp : u8 {
  // x86-64
  InveptSingle,  ///< operand: EPTP
  InveptAll,
  InvvpidSingle,  ///< operand: the VPID
  Invlpg,         ///< operand: a linear address
  MovCr3,         ///< CR3 written with the value that it has
  // AArch64; operands as the register holds them
  DsbIshst,
  DsbIsh,
  DsbSy,
  Isb,
  TlbiIpas2e1is,   ///< operand: IPA >> 12
  TlbiIpas2le1is,  ///< operand: IPA >> 12; last level only
  TlbiVmalle1is,
  TlbiVmalls12e1is,
  TlbiVae2is,  ///< operand: VA >> 12
  TlbiAlle2is,
  // RISC-V
  HfenceGvmaAddress,  ///< rs1 = operand (GPA >> 2), rs2 = vmid
  HfenceGvmaVmid,     ///< rs1 = x0, rs2 = vmid
  HfenceGvmaAll,
  HfenceVvmaAll,  ///< rs1 = rs2 = x0; acts on the VMID that hgatp holds
};
inline constexpr unsigned kFenceOpCount = static_cast<unsigned>(FenceOp::HfenceVvmaAll) + 1;

struct Fence {
  FenceOp op;
  u16 vmid = 0;
  u64 operand = 0;
  friend constexpr bool operator==(const Fence&, const Fence&) = default;
};

/// As an assembler listing shows it, with the operand's value: `tlbi ipas2e1is, 0x10`.
Text<64> to_text(const Fence& fence);
/// Does it reach the other processors by itself?
bool is_broadcast(FenceOp op);

enum class FencePolicy : u8 {
  Precise,      ///< as narrow as the rules allow
  Context,      ///< the whole VM, whenever anything is needed
  Original030,  ///< what axaddrspace 0.3.0 issues, for comparison: the wrong kind everywhere
};
const char* to_string(FencePolicy policy);

/// Above so many instructions for one operation, Precise takes the whole VM.
inline constexpr u64 kMostSelectiveFences = 512;

namespace detail {

/// TLBI by IPA or VMID, HFENCE.VVMA: the VM is the one that VTTBR_EL2 or hgatp holds.
constexpr bool acts_on_selected_vm(FenceOp op) {
  return (op >= FenceOp::TlbiIpas2e1is && op <= FenceOp::TlbiVmalls12e1is) ||
         op == FenceOp::HfenceVvmaAll;
}

template <class Sink>
void emit_invept(const Capabilities& machine, const VmTag& tag, Sink& sink) {
  sink(machine.invept_single ? Fence{FenceOp::InveptSingle, 0, tag.root_register}
                             : Fence{FenceOp::InveptAll});
}

template <class Sink>
void emit_x86(const Invalidation<Gpa>& change, const Capabilities& machine, Sink& sink) {
  if (change.changes().any_of(change::kRevoking) || change.tables()) {
    emit_invept(machine, change.tag(), sink);
  }
}

inline constexpr Changes kNeedsTlbi =
    change::kRevoking | change::kMorePermission | change::kSpurious;
inline bool needs_tlbi(const Invalidation<Gpa>& change) {
  return change.changes().any_of(kNeedsTlbi) || change.tables();
}

template <class Sink>
void emit_aarch64(const Invalidation<Gpa>& change, bool whole_vm, Sink& sink) {
  if (!needs_tlbi(change)) {
    if (!change.changes().any_of(change::kMadeValid)) return;
    sink(Fence{FenceOp::DsbIshst});
    sink(Fence{FenceOp::Isb});
    return;
  }
  sink(Fence{FenceOp::DsbIshst});
  if (whole_vm) {
    sink(Fence{FenceOp::TlbiVmalls12e1is});
  } else {
    for (const auto& run : change) {
      if (!run.changes.any_of(kNeedsTlbi) && !run.table) continue;
      const FenceOp op = run.table ? FenceOp::TlbiIpas2e1is : FenceOp::TlbiIpas2le1is;
      for (u64 n = 0; n < run.leaves(); ++n) {
        sink(Fence{op, 0, (run.start.value() + (n << run.leaf_shift)) >> 12});
      }
    }
    sink(Fence{FenceOp::DsbIsh});
    sink(Fence{FenceOp::TlbiVmalle1is});
  }
  sink(Fence{FenceOp::DsbIsh});
  sink(Fence{FenceOp::Isb});
}

template <class Sink>
void emit_riscv(const Invalidation<Gpa>& change, bool whole_vm, bool new_entries_too, Sink& sink) {
  const u16 vmid = change.tag().vmid;
  Changes stale = change::kRevoking | change::kMorePermission | change::kSpurious;
  if (new_entries_too) stale = stale | change::kMadeValid;
  // A spurious fault may come from a cached invalid entry of any level; by address, only leaves are
  // ordered.
  const bool any_level = new_entries_too && change.changes().any_of(change::kSpurious);
  if (change.tables() || any_level || (whole_vm && change.changes().any_of(stale))) {
    sink(Fence{FenceOp::HfenceGvmaVmid, vmid});
    return;
  }
  for (const auto& run : change) {
    if (!run.changes.any_of(stale)) continue;
    for (u64 n = 0; n < run.leaves(); ++n) {
      sink(Fence{FenceOp::HfenceGvmaAddress, vmid,
                 (run.start.value() + (n << run.leaf_shift)) >> 2});
    }
  }
}

// axaddrspace 0.3.0: one flush per address up to 32 of a batch, else a full one; per page, without
// a limit, for allocated memory; the operand as the caller had it.
template <class Sink>
class Original030 {
 public:
  Original030(Architecture architecture, Sink& sink) : architecture_(architecture), sink_(sink) {}

  void emit(const Invalidation<Gpa>& change) {
    if (change.cause() == Cause::Fault) return one(change.subject().value());
    constexpr u64 kBatch = 32;
    u64 batched = 0;
    for (const auto& run : change) batched += in_batch(run) ? run.leaves() : 0;
    for (const auto& run : change) {
      if (in_batch(run) && batched > kBatch) continue;
      for (u64 n = 0; n < run.leaves(); ++n) one(run.start.value() + (n << run.leaf_shift));
    }
    if (batched > kBatch) all();
  }

 private:
  static bool in_batch(const typename Invalidation<Gpa>::Run& run) {
    return !run.owned || run.changes.any_of(change::kReserved);
  }
  void one(u64 address) {
    switch (architecture_) {
      case Architecture::X86_64:
        sink_(Fence{FenceOp::Invlpg, 0, address});
        break;
      case Architecture::AArch64:
        sink_(Fence{FenceOp::TlbiVae2is, 0, address});
        barriers();
        break;
      case Architecture::RiscV64:
        sink_(Fence{FenceOp::HfenceVvmaAll});
        break;
    }
  }
  void all() {
    switch (architecture_) {
      case Architecture::X86_64:
        sink_(Fence{FenceOp::MovCr3});
        break;
      case Architecture::AArch64:
        sink_(Fence{FenceOp::TlbiAlle2is});
        barriers();
        break;
      case Architecture::RiscV64:
        sink_(Fence{FenceOp::HfenceVvmaAll});
        break;
    }
  }
  void barriers() {
    sink_(Fence{FenceOp::DsbSy});
    sink_(Fence{FenceOp::Isb});
  }

  Architecture architecture_;
  Sink& sink_;
};

}  // namespace detail

/// Calls sink(Fence) for each instruction that the policy issues, in order.
template <class Sink>
void emit_fences(Architecture architecture, FencePolicy policy, const Capabilities& machine,
                 const Invalidation<Gpa>& change, Sink&& sink) {
  if (policy == FencePolicy::Original030) {
    detail::Original030<std::remove_reference_t<Sink>>(architecture, sink).emit(change);
    return;
  }
  const bool whole_vm = policy == FencePolicy::Context || change.leaves() > kMostSelectiveFences;
  switch (architecture) {
    case Architecture::X86_64:
      return detail::emit_x86(change, machine, sink);
    case Architecture::AArch64:
      return detail::emit_aarch64(change, whole_vm, sink);
    case Architecture::RiscV64:
      return detail::emit_riscv(change, whole_vm, !machine.caches_no_invalid, sink);
  }
}

/// Calls sink(Fence) for what must come between a VM's end and the next use of its VMID, VPID or
/// root frame: until then its translations, the guest's own included, stay under those tags.
template <class Sink>
void emit_retirement(Architecture architecture, const Capabilities& machine, const VmTag& tag,
                     Sink&& sink) {
  switch (architecture) {
    case Architecture::X86_64:
      detail::emit_invept(machine, tag, sink);
      // VPID 0 is the host's: such a guest ran without one.
      if (tag.vmid != 0 && machine.vmid_bits != 0) {
        sink(Fence{FenceOp::InvvpidSingle, 0, tag.vmid});
      }
      return;
    case Architecture::AArch64:
      sink(Fence{FenceOp::DsbIshst});
      sink(Fence{FenceOp::TlbiVmalls12e1is});
      sink(Fence{FenceOp::DsbIsh});
      sink(Fence{FenceOp::Isb});
      return;
    case Architecture::RiscV64:
      // HFENCE.VVMA needs hgatp to hold the VM; what is walked meanwhile goes with HFENCE.GVMA.
      sink(Fence{FenceOp::HfenceVvmaAll, tag.vmid});
      sink(Fence{FenceOp::HfenceGvmaVmid, tag.vmid});
      return;
  }
}

}  // namespace nestwalk::addrspace
