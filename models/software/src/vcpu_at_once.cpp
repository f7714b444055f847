// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// In order, on the straight way: accesses that wait for nobody.
//
// What a TLB has, while nothing else is due on the wheel, can be played without states: its time is
// known when it begins. Most accesses hit the first TLB and the first cache: these are only
// counted. Whatever else it is, the first that needs a walk, a fault, an event or somebody's look
// is left to the usual way, as if nobody had looked it up: to do that twice in a row changes
// nothing.

#include <algorithm>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

using models::AccessKind;

// True if the next record is due in this cycle; false if an access waits for its data.
[[gnu::flatten]] bool Vcpu::play_at_once() {
  at_once_ = false;
  if (replayed_ != nullptr || hypervisor_.watcher() != nullptr || cores_.owes(number_)) return true;
  models::Wheel& wheel = board_.wheel();
  models::Mmu& mmu = *core_.mmu;
  models::MemoryHierarchy& hierarchy = board_.hierarchy();
  const auto quiet_until = [&] { return std::min(wheel.quiet_until(), attention_); };
  Cycle first_cycles[2];  // of data and of fetches that the first TLB and the first cache have
  for (const AccessKind kind : {AccessKind::Read, AccessKind::Execute}) {
    const bool fetch = kind == AccessKind::Execute;
    first_cycles[fetch] = mmu.first_latency(kind) + hierarchy.first_latency(path_of(fetch));
  }
  const GuestAccess* const first = batch_.accesses.data() + at_;
  const GuestAccess* const last =
      first + std::min({batch_.accesses.size() - at_, left_, next_told_ - issued()});
  const GuestAccess* next = first;
  const bool compares = !known_.empty();
  const Cycle began = wheel.now();
  Cycle now = began;
  Cycle end = quiet_until();
  Cycle in_accesses = 0;
  Pace pace = pace_;
  u64 instructions = counts_.instructions;
  u64 hits[std::size(VcpuCounts{}.accesses)] = {};
  Slot& slot = slots_[0];
  for (; next != last; ++next) {
    const GuestAccess& access = *next;
    const bool fetch = access.kind == AccessKind::Execute;
    const bool write = access.kind == AccessKind::Write;
    Pace then = pace;
    const Cycle issued = now + then.cycles(access.instructions);
    const u64 passed = instructions + access.instructions;
    if (issued + first_cycles[fetch] >= end || passed >= watched_ ||
        !access.is(GuestAccess::kAddress) || (compares && !known_to_agree(access))) {
      break;
    }
    const models::Translation* found = mmu.in_first(access.address, access.kind);
    const bool in_first = found != nullptr;
    const Cycle translated = issued + (in_first ? mmu.first_latency(access.kind) : lookup_cycles_);
    if (in_first) {
      if (!models::Mmu::usable(*found, access.kind, true)) break;
    } else {
      if (translated >= end) break;
      found = mmu.from_second(access.address, access.kind, true);
      if (found == nullptr) break;
    }
    pace = then;
    instructions = passed;
    const Hpa at(found->host_of(access.address));
    if (in_first && hierarchy.in_first(path_of(fetch), at, write)) [[likely]] {
      now = issued + first_cycles[fetch];
      ++hits[static_cast<unsigned>(access.kind)];
      continue;
    }
    if (in_first) mmu.count_first_hits(access.kind, 1);
    counts_.translation_cycles += translated - issued;
    wheel.advance(translated);
    if (!hierarchy.access(path_of(fetch), at, write, *this, 0, slot.served)) {
      slot.access = &access;
      slot.number = this->issued() + static_cast<u64>(next - first);
      slot.issued = now = issued;
      slot.mark = translated;
      slot.outcome.fault = {};
      slot.state = State::Accessed;
      slot.witness = nullptr;
      slot.done = slot.left_out = false;
      ++next;
      break;
    }
    now = wheel.now();
    end = quiet_until();
    VcpuCounts::Cell& cell = counts_.data[fetch][static_cast<unsigned>(slot.served)];
    ++cell.references;
    cell.cycles += now - translated;
    ++counts_.accesses[static_cast<unsigned>(access.kind)];
    latencies_.add(now - issued);
    in_accesses += now - issued;
  }
  at_ += static_cast<u64>(next - first);
  left_ -= static_cast<u64>(next - first);
  pace_ = pace;
  counts_.instructions = instructions;
  if (slot.done) wheel.advance(now);
  for (const AccessKind kind : {AccessKind::Read, AccessKind::Write, AccessKind::Execute}) {
    const u64 of_kind = hits[static_cast<unsigned>(kind)];
    const bool fetch = kind == AccessKind::Execute;
    const auto served = static_cast<unsigned>(hierarchy.first_served(path_of(fetch)));
    VcpuCounts::Cell& cell = counts_.data[fetch][served];
    cell.references += of_kind;
    cell.cycles += of_kind * hierarchy.first_latency(path_of(fetch));
    mmu.count_first_hits(kind, of_kind);
    counts_.translation_cycles += of_kind * mmu.first_latency(kind);
    counts_.accesses[static_cast<unsigned>(kind)] += of_kind;
    latencies_.add(first_cycles[fetch], of_kind);
    in_accesses += of_kind * first_cycles[fetch];
  }
  counts_.instruction_cycles += now - began - in_accesses;
  return slot.done;
}

}  // namespace nestwalk::software
