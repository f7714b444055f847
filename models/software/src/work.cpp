// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/work.hpp"

namespace nestwalk::software {
namespace {

/// No leaf that is split is larger.
constexpr u64 kLargest = u64{1} << 39;

}  // namespace

const Work& Recording::take() {
  on_ = false;
  for (auto step = work_.steps.rbegin(); step != work_.steps.rend(); ++step) {
    if (step->kind == Step::Kind::Write) memory_.store(Hpa(step->where), step->before);
  }
  return work_;
}

// Barriers are a part of what the fences between them cost.
void Recording::fenced(const addrspace::Invalidation<Gpa>& change) {
  emit_fences(architecture_, policy_, machine_, change, [&](const addrspace::Fence& op) {
    const models::FenceRequest request = models::from_engine(op, regime_);
    const bool barrier =
        request.kind == models::FenceKind::None || request.kind == models::FenceKind::Dsb;
    if (!barrier) fence(request);
  });
}

void Recording::fence(const models::FenceRequest& request) {
  if (!on_) return;
  ++counts_.fences;
  work_.steps.push_back({Step::Kind::Fence, work_.fences.size()});
  work_.fences.push_back(request);
}

void Worker::play(const Work& work, models::Actor& owner, u32 what) {
  work_.steps.assign(work.steps.begin(), work.steps.end());
  work_.fences.assign(work.fences.begin(), work.fences.end());
  owner_ = &owner;
  what_ = what;
  next_ = 0;
  accessed_ = false;
  on_cycle(0);
}

void Worker::on_cycle(u32) {
  while (next_ != work_.steps.size()) {
    if (!step()) return;
  }
  board_.wheel().schedule(board_.wheel().now(), *owner_, what_);
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
      return true;
    }
    case Step::Kind::Allocate:
    case Step::Kind::Free:
      ++next_;
      return spend(costs_.frame_cycles);
    case Step::Kind::Zero:
      ++next_;
      board_.memory().zero(Hpa(step.where), step.before);
      return spend(step.before / kFrameBytes * costs_.zero_cycles);
    case Step::Kind::Fence:
      ++next_;
      fences_.issue(core_, work_.fences[step.where],
                    is_broadcast(work_.fences[step.where].kind) ? models::Reach::Own
                                                                : models::Reach::Interrupts,
                    *this, 0);
      return false;
  }
  return true;
}

}  // namespace nestwalk::software
