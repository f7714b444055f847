// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences that wait for the next VM entry: what several operations changed is gathered, and carried
// out at once.
//
//   DeferredHal<MyHal> hal(my_hal);
//   auto space = AddressSpace<F, DeferredHal<MyHal>>::create(hal, ...);
//   ... operations, one after the other, while this processor is out of the guest ...
//   hal.flush();                         // before it enters again
//
// Until then other processors may go on with what they have cached: an operation has its effect
// when flush() returns, not before. So frames that the engine gives back wait as well, in a list of
// their own (what lies in them may still be written by the guest); when that is full, flush() comes
// early. What has to be broken before it is made (Arm ARM D8, "Using break-before-make") does not
// wait: there, a change of a valid entry and a new entry after one that went are fenced at once.
//
// One for each VM; flush() it once more when its space is destroyed.
#pragma once

#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

template <class Inner>
class DeferredHal {
 public:
  using Physical = typename Inner::Physical;
  static constexpr bool kFramesComeZeroed = Inner::kFramesComeZeroed;
  /// Runs of frames that may wait.
  static constexpr unsigned kMostWaiting = 64;

  /// `break_before_make`: the architecture demands it. `defers`: if not, nothing waits.
  DeferredHal(Inner& inner, bool break_before_make, bool defers = true)
      : inner_(&inner), break_before_make_(break_before_make), defers_(defers) {}

  /// Carries out what was put off, then gives the frames back.
  void flush() {
    if (changed_) {
      changed_ = false;
      inner_->invalidate(change_);
    }
    for (unsigned n = 0; n < waiting_; ++n) inner_->free_run(frames_[n].start, frames_[n].order);
    waiting_ = 0;
  }
  bool pending() const { return changed_ || waiting_ != 0; }
  Inner& inner() const { return *inner_; }

  void invalidate(const Invalidation<Gpa>& change) {
    if (!defers_) return inner_->invalidate(change);
    if (changed_) {
      change_.gather(change);
    } else {
      change_ = change;
      changed_ = true;
    }
    if (break_before_make_ && change.changes().any_of(kBreaks)) flush();
  }

  Result<Physical> alloc_frame(FrameUse use) { return alloc_run(0, use); }
  Result<Physical> alloc_run(unsigned order, FrameUse use) {
    const Result<Physical> run = inner_->alloc_run(order, use);
    if (run || waiting_ == 0) return run;
    flush();
    return inner_->alloc_run(order, use);
  }
  void free_frame(Physical frame) { free_run(frame, 0); }
  void free_run(Physical start, unsigned order) {
    if (!changed_) return inner_->free_run(start, order);
    if (waiting_ == kMostWaiting) {
      flush();
      return inner_->free_run(start, order);
    }
    frames_[waiting_++] = {start, order};
  }
  void zero(Physical start, u64 bytes) { inner_->zero(start, bytes); }
  void publish(Physical start, u64 bytes) { inner_->publish(start, bytes); }
  Hva phys_to_virt(Physical at) const { return inner_->phys_to_virt(at); }
  Physical virt_to_phys(Hva at) const { return inner_->virt_to_phys(at); }

  u64 read_entry(Physical slot) const { return inner_->read_entry(slot); }
  void write_entry(Physical slot, u64 entry) {
    before_store(slot, entry);
    inner_->write_entry(slot, entry);
  }
  bool compare_exchange_entry(Physical slot, u64 expected, u64 desired) {
    if (break_before_make_ && !valid(expected)) before_store(slot, desired);
    return inner_->compare_exchange_entry(slot, expected, desired);
  }
  Capabilities capabilities() const { return inner_->capabilities(); }

 private:
  struct Run {
    Physical start{};
    unsigned order = 0;
  };
  static constexpr Changes kBreaks = change::kMoved | change::kMemoryType | change::kResized;

  // VMSAv8: an entry without bit 0 is invalid, at every level.
  static constexpr bool valid(u64 entry) { return (entry & 1) != 0; }
  // A new entry where one went, whose translation may still be cached.
  void before_store(Physical slot, u64 entry) {
    const bool makes = break_before_make_ && changed_ && valid(entry);
    if (makes && revokes(change_) && !valid(inner_->read_entry(slot))) flush();
  }
  static bool revokes(const Invalidation<Gpa>& change) {
    return change.changes().any_of(change::kRevoking) || change.tables();
  }

  Inner* inner_;
  bool break_before_make_;
  bool defers_;
  bool changed_ = false;
  Invalidation<Gpa> change_{Cause::Unmap, VmTag{}, Gpa(0)};
  unsigned waiting_ = 0;
  Run frames_[kMostWaiting];
};

}  // namespace nestwalk::addrspace
