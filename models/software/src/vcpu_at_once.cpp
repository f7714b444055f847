// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// In order, while nothing else is due on the wheel: a plain loop over accesses, without a process.
//
// Most hit the first TLB and the first cache: these are only counted. A walk or a reference that
// has to wait after all, or a fault, goes on as an access that has begun. What needs more than a
// translation and its data is left to the usual way, which looks everything up again: before an
// access is left, nothing may have been counted, and to look something up twice in a row changes
// nothing.

#include <algorithm>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

using models::AccessKind;

namespace {

constexpr unsigned index(AccessKind kind) { return static_cast<unsigned>(kind); }

}  // namespace

// If the slot is not done then, its access is to go on.
[[gnu::flatten]] void Vcpu::play_at_once() {
  models::Wheel& wheel = board_.wheel();
  models::Mmu& mmu = *core_.mmu;
  models::MemoryHierarchy& hierarchy = board_.hierarchy();
  Slot& slot = *slots_[0];
  const auto quiet_until = [&] { return std::min(wheel.quiet_until(), attention_); };
  constexpr AccessKind kKinds[] = {AccessKind::Read, AccessKind::Write, AccessKind::Execute};
  const bool hides_fetches = core_shape_.hides_fetch_hits;
  const bool buffers = has_stores();
  models::MemoryHierarchy::PathId paths[std::size(kKinds)];
  // Of what the first TLB and the first cache have.
  Cycle data_cycles[std::size(kKinds)];
  Cycle first_cycles[std::size(kKinds)];
  for (const AccessKind kind : kKinds) {
    const bool fetch = kind == AccessKind::Execute;
    paths[index(kind)] = path_of(fetch);
    const bool waits = !(fetch && hides_fetches) && !(kind == AccessKind::Write && buffers);
    data_cycles[index(kind)] = waits ? hierarchy.first_latency(path_of(fetch)) : 0;
    first_cycles[index(kind)] =
        fetch && hides_fetches ? 0 : mmu.first_latency(kind) + data_cycles[index(kind)];
  }
  const u64 number = records_.accesses();
  const std::span<const GuestAccess> at_hand = records_.at_hand();
  const GuestAccess* const first = at_hand.data();
  const GuestAccess* const last = first + std::min<u64>(at_hand.size(), next_told_ - number);
  const GuestAccess* next = first;
  const bool compares = compares_;
  const auto place_of = [&](const GuestAccess* access) {
    return number + static_cast<u64>(access - first);
  };
  const auto take_up_to = [&](const GuestAccess* end_of_them) {
    records_.take(place_of(end_of_them) - records_.accesses());
  };
  const Cycle began = wheel.now();
  Cycle now = began;
  Cycle end = quiet_until();
  Cycle in_accesses = 0;
  Cycle stalled = 0;
  u64 left = left_of_cycle_;
  u64 instructions = counts_.instructions;
  u64 hits[std::size(kKinds)] = {};
  for (; next != last; ++next) {
    const GuestAccess& access = *next;
    const bool write = access.kind == AccessKind::Write;
    u64 left_then = left;
    Cycle issued = now + pace_.cycles(access.instructions, left_then);
    Cycle stall = 0;
    if (write && buffers) {
      const Cycle free = port_free_at(access.kind, issued);
      if (free >= end) break;
      stall = free - issued;
      issued = free;
    }
    const u64 passed = instructions + access.instructions;
    if (issued + first_cycles[index(access.kind)] >= end || passed >= watched_ ||
        !access.is(GuestAccess::kAddress) || (compares && !known_to_agree(access))) {
      break;
    }
    const models::Translation* found = mmu.in_first(access.address, access.kind);
    if (found != nullptr) [[likely]] {
      if (!models::Mmu::usable(*found, access.kind, true)) break;
      const u64 host = found->host_of(access.address);
      if (buffers && access.kind == AccessKind::Read) {
        const Cycle known = issued + mmu.first_latency(access.kind);
        if (stores_.has(host, access.bytes, place_of(next), known)) {
          const Cycle there = known + core_shape_.forward_cycles;
          if (there >= end) break;
          left = left_then;
          instructions = passed;
          now = there;
          mmu.count_first_hits(access.kind, 1);
          counts_.translation_cycles += known - issued;
          count_data(access.kind, models::Served::None, there - known);
          count_access(access.kind, there - issued);
          in_accesses += there - issued;
          continue;
        }
      }
      if (hierarchy.hits_first(paths[index(access.kind)], Hpa(host), write)) {
        if (write && buffers) {
          const Cycle known = issued + mmu.first_latency(access.kind);
          store_ports_.use(issued);
          stores_.post_hit(stores_.take(place_of(next), issued), host, access.bytes, known);
          stores_.retire(known);
          stalled += stall;
        }
        left = left_then;
        instructions = passed;
        now = issued + first_cycles[index(access.kind)];
        ++hits[index(access.kind)];
        continue;
      }
    }
    if ((write && buffers) || issued + mmu.first_latency(access.kind) >= end) break;
    slot.outcome.fault.kind = models::FaultKind::None;
    Cycle translated = issued + mmu.first_latency(access.kind);
    bool over = true;
    if (found != nullptr) {
      mmu.count_first_hits(access.kind, 1);
      slot.outcome.host = found->host_of(access.address);
      wheel.advance(translated);
    } else {
      translated += mmu.second_latency();
      if (translated >= end) break;
      const models::Mmu::Second second = mmu.take_from_second(access.address, access.kind, true);
      if (second.found == nullptr && !second.absent) break;
      wheel.advance(translated);
      if (second.found != nullptr) {
        slot.outcome.host = second.found->host_of(access.address);
      } else {
        take_up_to(next + 1);  // the walker looks at the addresses that come after it
        over = mmu.walk({access.address, access.kind, true, nullptr, this}, slot.translation, 0,
                        slot.outcome);
        translated = wheel.now();
      }
    }
    left = left_then;
    instructions = passed;
    slot.state = State::Translates;
    slot.mark = issued;
    if (over && !slot.outcome.fault) {
      counts_.translation_cycles += translated - issued;
      slot.state = State::HasAddress;
      slot.mark = translated;
      slot.place = place_of(next);
      over = begin_data(slot, access, slot.data);
    }
    if (!over || slot.outcome.fault) {
      slot.access = &access;
      slot.number = slot.place = place_of(next);
      slot.issued = now = issued;
      slot.witness = nullptr;
      slot.done = slot.left_out = false;
      slot.kernel_calls = 0;
      slot.has_begun = true;
      slot.is_over = over;
      ++next;
      break;
    }
    now = wheel.now();
    end = quiet_until();
    count_data(access.kind, slot.served, now - translated);
    count_access(access.kind, now - issued);
    in_accesses += now - issued;
  }
  take_up_to(next);
  left_of_cycle_ = left;
  counts_.instructions = instructions;
  if (slot.done) wheel.advance(now);
  for (const AccessKind kind : kKinds) {
    const u64 of_kind = hits[index(kind)];
    if (of_kind == 0) continue;
    mmu.count_first_hits(kind, of_kind);
    const bool is_hidden = kind == AccessKind::Execute && hides_fetches;
    Cycle& lookups = is_hidden ? counts_.hidden_cycles : counts_.translation_cycles;
    lookups += of_kind * mmu.first_latency(kind);
    count_data(kind, hierarchy.first_served(paths[index(kind)]), of_kind * data_cycles[index(kind)],
               of_kind);
    count_access(kind, first_cycles[index(kind)], of_kind);
    in_accesses += of_kind * first_cycles[index(kind)];
  }
  if (hides_fetches) counts_.hidden_fetches += hits[index(AccessKind::Execute)];
  if (buffers) counts_.buffered_stores += hits[index(AccessKind::Write)];
  counts_.stalled_cycles += stalled;
  counts_.instruction_cycles += now - began - in_accesses - stalled;
}

}  // namespace nestwalk::software
