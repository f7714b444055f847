// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/fence_feed.hpp"

#include <string>

#include "nestwalk/software/host_space.hpp"

namespace nestwalk::sim {

using addrspace::Gpa;
using addrspace::Gva;
using addrspace::Hpa;
using addrspace::u32;
using addrspace::u64;

FenceFeed::FenceFeed(checker::Events& events, models::Board& board, const checker::Vm& vm)
    : events_(events), board_(board), vm_(vm) {
  if (board.cores() > checker::kMostProcessors) {
    throw software::ShapeError("fences are checked on at most " +
                               std::to_string(checker::kMostProcessors) + " cores, not on " +
                               std::to_string(board.cores()));
  }
  events_.vm_created(now(0), vm_);
}

void FenceFeed::entered(u32 core) { events_.vm_entered(now(core), vm_.id); }
void FenceFeed::left(u32 core) { events_.vm_left(now(core), vm_.id); }
void FenceFeed::faulted(u32 core, Gpa at, addrspace::Access access) {
  events_.vm_faulted(now(core), vm_.id, at.value(), access);
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
  checker::tell(events_, now(core), fence, vm_, board_.fence().cycles(fence.op->cost));
}

void FenceFeed::accessed(u32 core, Gva address, std::optional<Gpa> guest_physical, Hpa host,
                         bool write) {
  ++accesses_;
  if (!guest_physical) return;  // nobody knows which page it meant
  constexpr addrspace::u8 kNoPaging = 64;
  const models::Regime& regime = board_.core(core).mmu->regime();
  checker::Access access;
  access.when = now(core);
  access.vm = vm_.id;
  access.position = accesses_;
  access.gva = address.value();
  access.gpa = guest_physical->value();
  access.asid = regime.asid;
  access.guest_shift = regime.guest.on() ? 12 : kNoPaging;
  access.write = write;
  access.seen = host.value();
  events_.accessed(access);
}

}  // namespace nestwalk::sim
