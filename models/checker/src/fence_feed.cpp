// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/fence_feed.hpp"

#include <string>

namespace nestwalk::checker {

using addrspace::Gpa;
using addrspace::Gva;
using addrspace::Hpa;

namespace {

Vm vm_of(const software::VirtualMachine& machine) {
  const addrspace::VmTag tag = machine.host_space().tag();
  Vm vm;
  vm.vmid = tag.vmid;
  vm.root_register = tag.root_register;
  vm.nested = machine.host_space().stage();
  vm.caches_no_invalid = machine.capabilities().caches_no_invalid;
  vm.single_vm = machine.capabilities().invept_single || machine.capabilities().flush_by_asid;
  return vm;
}

}  // namespace

FenceFeed::FenceFeed(Events& events, models::Board& board, const software::VirtualMachine& machine)
    : events_(events), board_(board), vm_(vm_of(machine)), on_(board.cores()) {
  if (!vm_.nested.on()) {
    throw software::ShapeError(
        "fences are checked of a second stage of the engine: hypervisor.backing is none or "
        "replayed");
  }
  if (board.cores() > kMostProcessors) {
    throw software::ShapeError("fences are checked on at most " + std::to_string(kMostProcessors) +
                               " cores, not on " + std::to_string(board.cores()));
  }
}

// vCPUs with tags of their own are so many VMs that share their tables.
void FenceFeed::entered(u32 core, u32 vcpu, u16 vmid) {
  on_[core] = vcpu;
  const auto [found, is_new] = known_.try_emplace(vcpu);
  Known& known = found->second;
  if (is_new || known.vmid != vmid) {
    if (!is_new) events_.vm_destroyed(now(core), known.id);
    known = {next_id_++, vmid, core};
    vm_.id = known.id;
    vm_.vmid = vmid;
    events_.vm_created(now(core), vm_);
  }
  events_.vm_entered(now(core), known.id);
}
void FenceFeed::took_vmids_back(u32 core) {
  for (auto each = known_.begin(); each != known_.end();) {
    if (each->second.core != core) {
      ++each;
      continue;
    }
    events_.vm_destroyed(now(core), each->second.id);
    each = known_.erase(each);
  }
}
void FenceFeed::left(u32 core) { events_.vm_left(now(core), id_on(core)); }
void FenceFeed::faulted(u32 core, Gpa at, addrspace::Access access) {
  events_.vm_faulted(now(core), id_on(core), at.value(), access);
}

void FenceFeed::began(u32 core, const char* operation) {
  events_.operation_begun(now(core), operation);
}
void FenceFeed::ended(u32 core) { events_.operation_ended(now(core)); }

void FenceFeed::stored(u32 core, Hpa slot, u64 before, u64 after) {
  events_.entry_stored(now(core), slot.value(), before, after);
}
void FenceFeed::allocated(u32 core, Hpa first, u64 bytes) {
  events_.frames_allocated(now(core), first.value(), bytes);
}
void FenceFeed::freed(u32 core, Hpa first, u64 bytes) {
  events_.frames_freed(now(core), first.value(), bytes);
}

void FenceFeed::executed(u32 core, const addrspace::Fence& fence) {
  tell(events_, now(core), fence, vm_, board_.fence().cycles(fence.op->cost));
}

void FenceFeed::accessed(u32 core, Gva address, std::optional<Gpa> guest_physical, Hpa host,
                         bool write) {
  ++accesses_;
  if (!guest_physical) return;  // nobody knows which page it meant
  constexpr u8 kNoPaging = 64;
  const models::Regime& regime = board_.core(core).mmu->regime();
  Access access;
  access.when = now(core);
  access.vm = id_on(core);
  access.position = accesses_;
  access.gva = address.value();
  access.gpa = guest_physical->value();
  access.asid = regime.asid;
  access.guest_shift = regime.guest.on() ? 12 : kNoPaging;
  access.write = write;
  access.seen = host.value();
  events_.accessed(access);
}

}  // namespace nestwalk::checker
