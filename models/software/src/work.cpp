// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/work.hpp"

#include <algorithm>
#include <bit>
#include <map>

#include "nestwalk/software/clearing.hpp"

namespace nestwalk::software {
namespace {

/// No leaf that is split is larger.
constexpr u64 kLargest = u64{1} << 39;

bool only_orders(const models::FenceRequest& fence) { return fence.op->orders_only(); }

Part part_of(const Step& step) {
  // In the order of the alternatives.
  constexpr Part kParts[] = {Part::Tables, Part::Tables,  Part::Frames,
                             Part::Frames, Part::Zeroing, Part::Fences};
  static_assert(std::size(kParts) == std::variant_size_v<Step>);
  return kParts[step.index()];
}

/// The entry that is read or written, if one is.
const u64* slot_of(const Step& step) {
  if (const auto* const read = std::get_if<step::Read>(&step)) return &read->slot;
  const auto* const write = std::get_if<step::Write>(&step);
  return write != nullptr ? &write->slot : nullptr;
}

}  // namespace

const Work& Recording::take() {
  on_ = false;
  for (auto step = work_.steps.rbegin(); step != work_.steps.rend(); ++step) {
    const auto* const write = std::get_if<step::Write>(&*step);
    if (write != nullptr) memory_.store(Hpa(write->slot), write->before);
  }
  hold_freed();
  return work_;
}

// The engine has given frames back that the work, as it is done again, still reads and writes. What
// it took again itself is not among them.
void Recording::hold_freed() {
  std::map<u64, u64> reused;  // ends by starts, apart from each other
  const auto reuse = [&](u64 start, u64 end) {
    auto at = reused.lower_bound(start);
    if (at != reused.begin() && std::prev(at)->second >= start) --at;
    while (at != reused.end() && at->first <= end) {
      start = std::min(start, at->first);
      end = std::max(end, at->second);
      at = reused.erase(at);
    }
    reused[start] = end;
  };
  for (std::size_t n = work_.steps.size(); n-- != 0;) {
    const Step& step = work_.steps[n];
    if (const auto* const taken = std::get_if<step::Allocate>(&step)) {
      reuse(taken->start, taken->end());
    }
    const auto* const freed = std::get_if<step::Free>(&step);
    if (freed == nullptr) continue;
    const u64 end = freed->end();
    auto next = reused.upper_bound(freed->start);
    u64 at = freed->start;
    if (next != reused.begin()) at = std::max(at, std::prev(next)->second);
    while (at < end) {
      const u64 until = next == reused.end() ? end : std::min(end, next->first);
      for (unsigned order = 0; at < until; at += kFrameBytes << order) {
        const u64 frame = (Hpa(at) - memory_.base()) / kFrameBytes;
        order = std::min(static_cast<unsigned>(std::countr_zero(frame)),
                         static_cast<unsigned>(std::bit_width((until - at) / kFrameBytes)) - 1);
        order = std::min(order, models::FrameAllocator::kMaxOrder);
        memory_.hold(Hpa(at), order);
        work_.held.push_back({n, Hpa(at), order});
      }
      if (next == reused.end()) break;
      at = std::max(at, next->second);
      ++next;
    }
  }
  std::reverse(work_.held.begin(), work_.held.end());
}

// What an operation needs is one step.
void Recording::fenced(const addrspace::Invalidation<Gpa>& change) {
  if (!on_) return;
  // A fault on an entry that permits the access: only who had it has the stale copy.
  const bool alone = change.changes() == addrspace::change::kSpurious && !change.tables();
  fence_step(
      [&](models::FenceSink sink) {
        const auto take = [&](const addrspace::Fence& op) { sink(instead_of(op)); };
        extension_->emit(policy_, machine_, change, models::FenceSink(take));
      },
      alone);
}

// Nothing is cached under a VMID that was not used yet.
addrspace::Fence Recording::instead_of(const addrspace::Fence& op) const {
  if (!fresh_vmids_ || op.op->orders_only()) return op;
  return {extension_->fresh_vmid, vmid_, vmid_};
}

void Recording::put(const addrspace::Fence& op, bool alone) {
  models::FenceRequest request = models::request_of(op, vmid_, asid_);
  request.engine = true;
  request.alone = alone;
  const bool counts = !only_orders(request);
  if (counts && fences_to_drop_ != 0 && --fences_to_drop_ == 0) {
    left_out_ = true;
    return;
  }
  work_.fences.push_back(request);
  if (counts) ++counts_.fences;
}

void Recording::fence(const models::FenceRequest& request) {
  if (!on_) return;
  ++counts_.fences;
  work_.steps.push_back(step::Fences{work_.fences.size(), 1, false});
  work_.fences.push_back(request);
}

models::Task<PartCycles> Worker::play(const Work& work, models::Witness* witness, Clears clears) {
  work_.steps.assign(work.steps.begin(), work.steps.end());
  work_.fences.assign(work.fences.begin(), work.fences.end());
  work_.held.assign(work.held.begin(), work.held.end());
  next_held_ = 0;
  models::Wheel& wheel = board_.wheel();
  PartCycles cycles;
  for (std::size_t n = 0; n != work_.steps.size(); ++n) {
    const Step& step = work_.steps[n];
    const Cycle began = wheel.now();
    Done done{};
    if (const u64* const slot = slot_of(step)) {
      const auto* const write = std::get_if<step::Write>(&step);
      models::Call access([&](models::Actor& owner) {
        return board_.hierarchy().access(board_.core(core_).paths.data, Hpa(*slot),
                                         write != nullptr, owner, 0, done.served);
      });
      co_await access;
      if (write != nullptr) store(*write, n);
    } else if (const auto* const zero = std::get_if<step::Zero>(&step)) {
      board_.memory().zero(Hpa(zero->start), zero->bytes);
      if (clears == Clears::AtOnce) {
        co_await models::Until(wheel, wheel.now() + clearing_cycles(costs_, zero->bytes));
      } else {
        co_await clear(board_, core_, costs_, Hpa(zero->start), zero->bytes);
      }
    } else if (const auto* const fences = std::get_if<step::Fences>(&step)) {
      models::Call fence([&](models::Actor& owner) {
        issue(*fences, owner);
        return false;
      });
      co_await fence;
    } else {
      give_back(n);
      co_await models::Until(wheel, wheel.now() + costs_.frame_cycles);
    }
    done.cycles = wheel.now() - began;
    cycles[part_of(step)] += done.cycles;
    count_entry(step, done);
    if (witness != nullptr) [[unlikely]]
      tell(*witness, step, done);
  }
  co_await models::EventAt(wheel, wheel.now());
  co_return cycles;
}

void Worker::count_entry(const Step& step, const Done& done) {
  if (part_of(step) != Part::Tables) return;
  auto& cell = entries_[static_cast<std::size_t>(done.served)];
  ++cell.references;
  cell.cycles += done.cycles;
}

// Of a run that is given back, now that the work has come there.
void Worker::give_back(std::size_t number) {
  for (; next_held_ != work_.held.size() && work_.held[next_held_].step == number; ++next_held_) {
    board_.memory().free(work_.held[next_held_].first, work_.held[next_held_].order);
  }
  if (watcher_ == nullptr) return;
  const Step& step = work_.steps[number];
  if (const auto* const freed = std::get_if<step::Free>(&step)) {
    watcher_->freed(core_, Hpa(freed->start), freed->bytes);
  } else if (const auto* const taken = std::get_if<step::Allocate>(&step)) {
    watcher_->allocated(core_, Hpa(taken->start), taken->bytes);
  }
}

void Worker::tell(models::Witness& witness, const Step& step, const Done& done) const {
  models::WitnessStep told;
  told.kind = &kPartSteps[static_cast<std::size_t>(part_of(step))];
  const auto tell_run = [&](const step::Run& run) {
    told.address = run.start;
    told.value = run.bytes;
  };
  if (const u64* const slot = slot_of(step)) {
    told.address = *slot;
    told.served = done.served;
    told.before = told.value = board_.memory().load(Hpa(*slot));
    if (const auto* const write = std::get_if<step::Write>(&step)) {
      told.before = write->before;
      told.note = "written";
    }
  } else if (const auto* const fences = std::get_if<step::Fences>(&step)) {
    const auto all = fences_of(*fences);
    const auto named = std::find_if_not(all.begin(), all.end(), only_orders);
    const models::FenceRequest& first = named == all.end() ? all[0] : *named;
    told.address = first.address;
    told.note = first.op->title();
  } else if (const auto* const freed = std::get_if<step::Free>(&step)) {
    tell_run(*freed);
    told.note = "freed";
  } else if (const auto* const taken = std::get_if<step::Allocate>(&step)) {
    tell_run(*taken);
  } else if (const auto* const zero = std::get_if<step::Zero>(&step)) {
    tell_run(*zero);
  }
  witness.tell(board_.wheel().now(), told);
}

// A walker may have set flags since the engine looked. They stay with the page: in the same entry,
// or, if that is a table of smaller pages now, in all of these. An entry for another page, or for
// none, has none of them.
void Worker::store(const step::Write& write, std::size_t number) {
  models::HostMemory& memory = board_.memory();
  const u64 set_meanwhile = memory.load(Hpa(write.slot)) & ~write.before;
  const u64 was = table_.page_of(write.before);
  const u64 is = table_.page_of(write.after);
  const auto with_flags = [&](u64 entry) { return table_.with_flags(entry, set_meanwhile); };
  memory.store(Hpa(write.slot), was == is ? with_flags(write.after) : write.after);
  if (was != is && set_meanwhile != 0) {
    for (std::size_t n = 0; n < number; ++n) {
      const auto* const part = std::get_if<step::Write>(&work_.steps[n]);
      if (part == nullptr || part->slot - is >= kFrameBytes) continue;
      if (part->after == 0 || table_.page_of(part->after) - was >= kLargest) continue;
      memory.store(Hpa(part->slot), with_flags(memory.load(Hpa(part->slot))));
    }
  }
  if (watcher_ != nullptr) {
    watcher_->stored(core_, Hpa(write.slot), write.before, memory.load(Hpa(write.slot)));
  }
}

void Worker::issue(const step::Fences& step, models::Actor& owner) {
  const auto fences = fences_of(step);
  if (!fences[0].engine || shootdowns_ == nullptr) {
    const bool broadcast = fences[0].op.is_broadcast();
    fences_.issue(core_, fences[0], broadcast ? models::Reach::Own : models::Reach::Interrupts,
                  owner, 0);
    return;
  }
  std::span<const models::InterruptTarget> others;
  if (!step.alone) others = shootdowns_->targets(core_);
  shootdowns_->sent(fences_.issue_all(core_, fences, others, owner, 0));
}

}  // namespace nestwalk::software
