// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What hypervisor and guests did, as far as cached translations depend on it: who feeds a checker
// calls these functions, in the order in which things happened.
#pragma once

#include <optional>
#include <string_view>

#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::checker {

using models::Cycle;
using models::u16;
using models::u32;
using models::u64;
using models::u8;

/// Processors are numbers below this.
inline constexpr u32 kMostProcessors = 64;

/// Who does it, when, and where in the hypervisor.
struct Moment {
  u32 processor = 0;
  Cycle cycle = 0;
  /// `function+0x1c` or an address; empty: not known. Who feeds keeps it as long as the checker,
  /// the same text at the same place.
  std::string_view site{};
  u64 line = 0;  ///< of the log, from 1; 0: there is no log
};

/// A guest's second stage. Nothing of it has been walked before it is created; what was stored into
/// its tables before, it finds there.
struct Vm : models::VmTraits {
  u32 id = 0;              ///< chosen by who feeds, used once
  u16 vmid = 0;            ///< VMID or VPID; x86: 0 without one
  u64 root_register = 0;   ///< x86: the EPTP
  models::Stage nested{};  ///< `format` outlives the checker
  /// Bit n: processor n may run it without that being told; until it is told of once.
  u64 processors = 0;
};

/// AArch64. The fences of the other extensions order what they have to by themselves.
enum class Barrier : u8 {
  DsbIshst,
  DsbIsh,
  Isb,
  DsbNshst,  ///< non-shareable: orders stores for this processor's own walks
  DsbNsh,
};

/// What a guest did with its memory.
struct Access {
  Moment when{};
  u32 vm = 0;
  u64 position = 0;  ///< in the trace, or the line of the log
  u64 gva = 0;
  u64 gpa = 0;
  u16 asid = 0;
  u8 guest_shift = 12;  ///< log2 of the guest's own leaf: with its paging off, 64
  bool write = false;
  std::optional<u64> seen{};  ///< the host address where the processor's own TLBs led it, if known
};

class Events {
 public:
  virtual ~Events() = default;

  virtual void vm_created(const Moment& when, const Vm& vm) = 0;
  /// Nobody enters it any more. The fences that remove what is left of it follow: until then, its
  /// VMID, VPID and root are not to be used again.
  virtual void vm_destroyed(const Moment& when, u32 vm) = 0;
  /// Outside the guest, a processor caches nothing new of it.
  virtual void vm_entered(const Moment& when, u32 vm) = 0;
  virtual void vm_left(const Moment& when, u32 vm) = 0;
  /// A fault there (EPT violation, stage-2 abort, guest-page fault), of an access of this kind;
  /// none if that is not known.
  virtual void vm_faulted(const Moment& when, u32 vm, u64 gpa, addrspace::Access access) = 0;

  /// The processor runs this task of the hypervisor from now on: operations are those of the task,
  /// wherever it goes on. Until the first one, a processor's operations are its own.
  virtual void task_switched(const Moment&, u64 /*task*/) {}
  /// An operation of the hypervisor: "unmap", "protect". They may nest; the outermost counts.
  virtual void operation_begun(const Moment& when, std::string_view name) = 0;
  virtual void operation_ended(const Moment& when) = 0;

  /// Eight bytes that are, or will be, an entry of a table, after they are stored. Which table it
  /// is follows from the stores before: VM, level and addresses need not be told. A frame about
  /// which nothing was told holds zeros.
  virtual void entry_stored(const Moment& when, u64 slot, u64 before, u64 after) = 0;
  /// Host memory is given back: anybody may get it from now on. Tables in it are no more.
  virtual void frames_freed(const Moment& when, u64 first, u64 bytes) = 0;
  virtual void frames_allocated(const Moment& when, u64 first, u64 bytes) = 0;

  /// An instruction, executed on the processor of `when`: told once for each processor that
  /// executes it. What broadcasts reaches the others by itself. `request` names the VMID that the
  /// processor's VTTBR_EL2 or hgatp holds where the instruction names none. `cycles` is its cost.
  virtual void fence_issued(const Moment& when, const models::FenceRequest& request,
                            Cycle cycles = 0) = 0;
  virtual void barrier_issued(const Moment& when, Barrier barrier) = 0;

  virtual void accessed(const Access& access) = 0;
};

/// Tells of an instruction of the engine's, a barrier or a fence, on a processor whose root
/// register holds the VM.
void tell(Events& events, const Moment& when, const addrspace::Fence& fence, const Vm& vm,
          Cycle cycles = 0);

}  // namespace nestwalk::checker
