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

bool only_orders(const models::FenceRequest& fence) {
  using Kind = models::FenceKind;
  return fence.kind == Kind::None || fence.kind == Kind::Dsb || fence.kind == Kind::SfenceWInval ||
         fence.kind == Kind::SfenceInvalIr;
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
  fence_step([&](auto&& sink) { emit_fences(architecture_, policy_, machine_, change, sink); },
             alone);
}

void Recording::put(const addrspace::Fence& op) {
  const models::FenceRequest request = models::from_engine(op, regime_);
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

void Worker::play(const Work& work, models::Actor& owner, u32 what) {
  work_.steps.assign(work.steps.begin(), work.steps.end());
  work_.fences.assign(work.fences.begin(), work.fences.end());
  work_.held.assign(work.held.begin(), work.held.end());
  owner_ = &owner;
  what_ = what;
  next_ = 0;
  next_held_ = 0;
  doing_ = nullptr;
  since_ = board_.wheel().now();
  cycles_ = {};
  accessed_ = false;
  on_cycle(0);
}

void Worker::on_cycle(u32) {
  account();
  while (next_ != work_.steps.size()) {
    doing_ = &work_.steps[next_];
    if (!step()) return;
    account();
  }
  board_.wheel().schedule(board_.wheel().now(), *owner_, what_);
}

// What it was doing has come to an end, or to its second half.
void Worker::account() {
  if (doing_ == nullptr) return;
  constexpr Part kDone[] = {Part::Tables, Part::Tables,  Part::Frames,
                            Part::Frames, Part::Zeroing, Part::Fences};
  const Part part = kDone[static_cast<std::size_t>(doing_->kind)];
  const Cycle now = board_.wheel().now();
  const Cycle cycles = now - since_;
  cycles_[part] += cycles;
  since_ = now;
  if (accessed_) {
    auto& cell = entries_[static_cast<std::size_t>(served_)];
    ++cell.references;
    cell.cycles += cycles;
  }
  models::Witness* const witness = board_.core(core_).witness;
  if (witness == nullptr || accessed_) [[likely]]
    return;
  models::WitnessStep told;
  told.kind = &kPartSteps[static_cast<std::size_t>(part)];
  told.address = doing_->where;
  if (part == Part::Tables) told.served = served_;
  if (doing_->kind == Step::Kind::Read) {
    told.before = told.value = board_.memory().load(Hpa(doing_->where));
  } else if (doing_->kind == Step::Kind::Write) {
    told.before = doing_->before;
    told.value = board_.memory().load(Hpa(doing_->where));
    told.note = "written";
  } else if (doing_->kind == Step::Kind::Fence) {
    const auto fences = fences_of(*doing_);
    const auto named = std::find_if_not(fences.begin(), fences.end(), only_orders);
    const models::FenceRequest& first = named == fences.end() ? fences[0] : *named;
    told.address = first.address;
    told.note = to_string(first.kind);
  } else {
    told.value = doing_->before;
    told.note = doing_->kind == Step::Kind::Free ? "freed" : nullptr;
  }
  witness->tell(now, told);
}

bool Worker::spend(u64 cycles) {
  models::Wheel& wheel = board_.wheel();
  if (wheel.advance(wheel.now() + cycles)) return true;
  wheel.schedule(wheel.now() + cycles, *this, 0);
  return false;
}

// A walker may have set flags since the engine looked. They stay with the page: in the same entry,
// or, if that is a table of smaller pages now, in all of these. An entry for another page, or for
// none, has none of them.
void Worker::store(const Step& step) {
  models::HostMemory& memory = board_.memory();
  const u64 set_meanwhile = memory.load(Hpa(step.where)) & ~step.before;
  const u64 was = page_of(step.before);
  const u64 is = page_of(step.after);
  memory.store(Hpa(step.where), was == is ? step.after | set_meanwhile : step.after);
  if (was == is || set_meanwhile == 0) return;
  for (std::size_t n = 0; n < next_ - 1; ++n) {
    const Step& part = work_.steps[n];
    const bool in_table = part.kind == Step::Kind::Write && part.where - is < kFrameBytes;
    if (!in_table || part.after == 0 || page_of(part.after) - was >= kLargest) continue;
    memory.store(Hpa(part.where), memory.load(Hpa(part.where)) | set_meanwhile);
  }
}

// Where an entry points, in the format of the machine.
u64 Worker::page_of(u64 entry) const {
  if (architecture_ == Architecture::RiscV64) return (entry >> 10 & addrspace::low_mask(44)) << 12;
  return entry & addrspace::low_mask(52) & ~addrspace::low_mask(12);
}

// One step, or the second half of it; true if the next one is due in this cycle.
bool Worker::step() {
  const Step& step = work_.steps[next_];
  switch (step.kind) {
    case Step::Kind::Read:
    case Step::Kind::Write: {
      const bool write = step.kind == Step::Kind::Write;
      if (!accessed_) {
        accessed_ = true;
        return board_.hierarchy().access(board_.core(core_).paths.data, Hpa(step.where), write,
                                         *this, 0, served_);
      }
      accessed_ = false;
      ++next_;
      if (!write) return true;
      store(step);
      if (watcher_ != nullptr) {
        watcher_->stored(core_, Hpa(step.where), step.before,
                         board_.memory().load(Hpa(step.where)));
      }
      return true;
    }
    case Step::Kind::Allocate:
    case Step::Kind::Free:
      for (; next_held_ != work_.held.size() && work_.held[next_held_].step == next_;
           ++next_held_) {
        board_.memory().free(work_.held[next_held_].first, work_.held[next_held_].order);
      }
      ++next_;
      if (watcher_ != nullptr) {
        step.kind == Step::Kind::Free ? watcher_->freed(core_, Hpa(step.where), step.before)
                                      : watcher_->allocated(core_, Hpa(step.where), step.before);
      }
      return spend(costs_.frame_cycles);
    case Step::Kind::Zero:
      ++next_;
      board_.memory().zero(Hpa(step.where), step.before);
      return spend(step.before / kFrameBytes * costs_.zero_cycles);
    case Step::Kind::Fence:
      ++next_;
      return issue(step);
  }
  return true;
}

bool Worker::issue(const Step& step) {
  const auto fences = fences_of(step);
  if (!fences[0].engine || shootdowns_ == nullptr) {
    const bool broadcast = is_broadcast(fences[0].kind);
    fences_.issue(core_, fences[0], broadcast ? models::Reach::Own : models::Reach::Interrupts,
                  *this, 0);
    return false;
  }
  std::span<const models::InterruptTarget> others;
  if (step.after == 0) others = shootdowns_->targets(core_);
  shootdowns_->sent(fences_.issue_all(core_, fences, others, *this, 0));
  return false;
}

}  // namespace nestwalk::software
