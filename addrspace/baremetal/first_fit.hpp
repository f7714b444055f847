// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A Hal that takes frames back, and can be told to leave out fences.
#pragma once

#include "nested.hpp"

namespace nestwalk::baremetal {

class FirstFit : public HalBase<FirstFit> {
 public:
  static constexpr u64 kFrames = 2048;
  static constexpr u8 kPoison = 0xaa;

  explicit FirstFit(u8 (&memory)[kFrames * kFrameBytes])
      : start_(reinterpret_cast<u64>(memory)), machine_(capabilities_here()) {}

  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    const u64 count = u64{1} << order;
    if (in_use + count > most) return Error::NoMemory;
    for (u64 first = 0; first + count <= kFrames; first += count) {
      if (!is_free(first, count)) continue;
      mark(first, count, true);
      return Hpa(start_ + first * kFrameBytes);
    }
    return Error::NoMemory;
  }
  /// Whoever goes on to use it is found out.
  void free_run(Hpa start, unsigned order) {
    __builtin_memset(reinterpret_cast<void*>(start.value()), kPoison, kFrameBytes << order);
    mark((start.value() - start_) >> kFrameShift, u64{1} << order, false);
  }
  Hva phys_to_virt(Hpa at) const { return Hva(at.value()); }
  Hpa virt_to_phys(Hva at) const { return Hpa(at.value()); }
  void invalidate(const Invalidation<Gpa>& change) {
    if (issues == nullptr) return carry_out(machine_, change);
    emit_fences<NestedTables::Extension>(FencePolicy::Precise, machine_, change,
                                         [&](const Fence& fence) {
                                           if (issues(fence.op)) carry_out_one(change.tag(), fence);
                                         });
  }
  Capabilities capabilities() const { return machine_; }

  bool (*issues)(FenceOp) = nullptr;  ///< an experiment: the only instructions that are issued
  u64 in_use = 0;
  u64 most = kFrames;  ///< more are refused

 private:
  bool is_free(u64 first, u64 count) const {
    for (u64 n = 0; n < count; ++n) {
      if (used_[first + n]) return false;
    }
    return true;
  }
  void mark(u64 first, u64 count, bool used) {
    for (u64 n = 0; n < count; ++n) used_[first + n] = used;
    in_use = used ? in_use + count : in_use - count;
  }

  u64 start_;
  Capabilities machine_;
  bool used_[kFrames] = {};
};

}  // namespace nestwalk::baremetal
