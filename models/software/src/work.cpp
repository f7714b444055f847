// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/work.hpp"

#include <algorithm>
#include <bit>
#include <map>

namespace nestwalk::software {
namespace {

/// No leaf that is split is larger.
constexpr u64 kLargest = u64{1} << 39;

bool only_orders(const models::FenceRequest& fence) { return fence.op->orders_only(); }

Part part_of(const Step& step) {
  constexpr Part kParts[] = {Part::Tables, Part::Tables,  Part::Frames,
                             Part::Frames, Part::Zeroing, Part::Fences};
  return kParts[static_cast<std::size_t>(step.kind)];
}

}  // namespace

const Work& Recording::take() {
  on_ = false;
  for (auto step = work_.steps.rbegin(); step != work_.steps.rend(); ++step) {
    if (step->kind == Step::Kind::Write) memory_.store(Hpa(step->where), step->before);
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
    if (step.kind == Step::Kind::Allocate) reuse(step.where, step.where + step.before);
    if (step.kind != Step::Kind::Free) continue;
    const u64 end = step.where + step.before;
    auto next = reused.upper_bound(step.where);
    u64 at = step.where;
    if (next != reused.begin()) at = std::max(at, std::prev(next)->second);
    while (at < end) {
      const u64 until = next == reused.end() ? end : std::min(end, next->first);
      for (unsigned order = 0; at < until; at += kFrameBytes << order) {
        const u64 frame = (Hpa(at) - memory_.base()) / kFrameBytes;
        order = std::min(static_cast<unsigned>(std::countr_zero(frame)),
                         static_cast<unsigned>(std::bit_width((until - at) / kFrameBytes)) - 1);
        order = std::min(order, models::FrameAllocator::kMaxOrder);
        memory_.take(Hpa(at), order);
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
  fence_step([&](models::FenceSink sink) { extension_->emit(policy_, machine_, change, sink); },
             alone);
}

void Recording::put(const addrspace::Fence& op) {
  models::FenceRequest request = models::request_of(op, regime_.vmid, regime_.asid);
  request.engine = true;
  const bool counts = !only_orders(request);
  if (counts && fences_to_drop_ != 0 && --fences_to_drop_ == 0) return;
  work_.fences.push_back(request);
  if (counts) ++counts_.fences;
}

void Recording::fence(const models::FenceRequest& request) {
  if (!on_) return;
  ++counts_.fences;
  work_.steps.push_back({Step::Kind::Fence, work_.fences.size(), 1});
  work_.fences.push_back(request);
}

models::Task<PartCycles> Worker::play(const Work& work, models::Witness* witness) {
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
    switch (step.kind) {
      case Step::Kind::Read:
      case Step::Kind::Write: {
        const bool writes = step.kind == Step::Kind::Write;
        models::Call access([&](models::Actor& owner) {
          return board_.hierarchy().access(board_.core(core_).paths.data, Hpa(step.where), writes,
                                           owner, 0, done.served);
        });
        co_await access;
        if (!writes) break;
        store(n);
        if (watcher_ != nullptr) {
          watcher_->stored(core_, Hpa(step.where), step.before,
                           board_.memory().load(Hpa(step.where)));
        }
        break;
      }
      case Step::Kind::Allocate:
      case Step::Kind::Free:
        give_back(n);
        co_await models::Until(wheel, wheel.now() + costs_.frame_cycles);
        break;
      case Step::Kind::Zero:
        board_.memory().zero(Hpa(step.where), step.before);
        co_await models::Until(wheel, wheel.now() + step.before / kFrameBytes * costs_.zero_cycles);
        break;
      case Step::Kind::Fence: {
        models::Call fence([&](models::Actor& owner) {
          issue(step, owner);
          return false;
        });
        co_await fence;
        break;
      }
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
void Worker::give_back(std::size_t step) {
  for (; next_held_ != work_.held.size() && work_.held[next_held_].step == step; ++next_held_) {
    board_.memory().free(work_.held[next_held_].first, work_.held[next_held_].order);
  }
  if (watcher_ == nullptr) return;
  const Step& run = work_.steps[step];
  run.kind == Step::Kind::Free ? watcher_->freed(core_, Hpa(run.where), run.before)
                               : watcher_->allocated(core_, Hpa(run.where), run.before);
}

void Worker::tell(models::Witness& witness, const Step& step, const Done& done) const {
  models::WitnessStep told;
  told.kind = &kPartSteps[static_cast<std::size_t>(part_of(step))];
  told.address = step.where;
  if (part_of(step) == Part::Tables) told.served = done.served;
  if (step.kind == Step::Kind::Read) {
    told.before = told.value = board_.memory().load(Hpa(step.where));
  } else if (step.kind == Step::Kind::Write) {
    told.before = step.before;
    told.value = board_.memory().load(Hpa(step.where));
    told.note = "written";
  } else if (step.kind == Step::Kind::Fence) {
    const auto fences = fences_of(step);
    const auto named = std::find_if_not(fences.begin(), fences.end(), only_orders);
    const models::FenceRequest& first = named == fences.end() ? fences[0] : *named;
    told.address = first.address;
    told.note = first.op->title();
  } else {
    told.value = step.before;
    told.note = step.kind == Step::Kind::Free ? "freed" : nullptr;
  }
  witness.tell(board_.wheel().now(), told);
}

// A walker may have set flags since the engine looked. They stay with the page: in the same entry,
// or, if that is a table of smaller pages now, in all of these. An entry for another page, or for
// none, has none of them.
void Worker::store(std::size_t number) {
  const Step& step = work_.steps[number];
  models::HostMemory& memory = board_.memory();
  const u64 set_meanwhile = memory.load(Hpa(step.where)) & ~step.before;
  const u64 was = table_.page_of(step.before);
  const u64 is = table_.page_of(step.after);
  const auto with_flags = [&](u64 entry) { return table_.with_flags(entry, set_meanwhile); };
  memory.store(Hpa(step.where), was == is ? with_flags(step.after) : step.after);
  if (was == is || set_meanwhile == 0) return;
  for (std::size_t n = 0; n < number; ++n) {
    const Step& part = work_.steps[n];
    const bool in_table = part.kind == Step::Kind::Write && part.where - is < kFrameBytes;
    if (!in_table || part.after == 0 || table_.page_of(part.after) - was >= kLargest) continue;
    memory.store(Hpa(part.where), with_flags(memory.load(Hpa(part.where))));
  }
}

void Worker::issue(const Step& step, models::Actor& owner) {
  const auto fences = fences_of(step);
  if (!fences[0].engine || shootdowns_ == nullptr) {
    const bool broadcast = fences[0].op.is_broadcast();
    fences_.issue(core_, fences[0], broadcast ? models::Reach::Own : models::Reach::Interrupts,
                  owner, 0);
    return;
  }
  std::span<const models::InterruptTarget> others;
  if (step.after == 0) others = shootdowns_->targets(core_);
  shootdowns_->sent(fences_.issue_all(core_, fences, others, owner, 0));
}

}  // namespace nestwalk::software
