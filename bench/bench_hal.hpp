// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A Hal that costs as little as one can, so that the engine is what is measured.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "full_machine.hpp"
#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::bench {

using namespace addrspace;

/// Frames are handed out in order and never twice between two calls of `recycle`. `kZeroed` tells
/// the engine that they hold zeros, which they do: the kernel's fresh pages at first, `recycle`
/// afterwards, outside of what is timed.
template <class Extension, bool kZeroed>
class BenchHal : public HalBase<BenchHal<Extension, kZeroed>> {
 public:
  static constexpr bool kFramesComeZeroed = kZeroed;

  explicit BenchHal(u64 frames) : frames_(frames) {
    void* mapped = mmap(nullptr, frames * kFrameBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    memory_ = reinterpret_cast<u64>(mapped);
    // Zeroing is to be measured, not the kernel's first touch.
    if (!kZeroed) std::fill_n(static_cast<u8*>(mapped), frames * kFrameBytes, u8{1});
    freed_.resize(frames);
  }
  ~BenchHal() { munmap(reinterpret_cast<void*>(memory_), frames_ * kFrameBytes); }
  BenchHal(const BenchHal&) = delete;
  BenchHal& operator=(const BenchHal&) = delete;

  Result<Hpa> alloc_frame(FrameUse = {}) {
    if (next_ == frames_) return Error::NoMemory;
    return Hpa(kBase + next_++ * kFrameBytes);
  }
  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    const u64 first = (next_ + (u64{1} << order) - 1) >> order << order;
    if (first + (u64{1} << order) > frames_) return Error::NoMemory;
    next_ = first + (u64{1} << order);
    return Hpa(kBase + first * kFrameBytes);
  }
  void free_frame(Hpa frame) { freed_[freed_count_++] = frame; }
  void free_run(Hpa start, unsigned) { freed_[freed_count_++] = start; }

  Hva phys_to_virt(Hpa at) const { return Hva(at.value() - kBase + memory_); }
  Hpa virt_to_phys(Hva at) const { return Hpa(at.value() - memory_ + kBase); }
  Capabilities capabilities() const { return full_machine(); }

  void invalidate(const Invalidation<Gpa>& change) {
    emit_fences<Extension>(FencePolicy::Precise, capabilities(), change,
                           [this](const Fence&) { ++fences_; });
  }
  u64 fences() const { return fences_; }

  /// Makes all frames fresh again: tables are zeroed, memory that nobody wrote stays as it is.
  void recycle() {
    for (u64 frame = 0; frame < next_; ++frame) {
      // Whatever the engine writes in these benchmarks, it writes something within the first line
      // of a frame: a look at that spares the rest.
      u64* words = reinterpret_cast<u64*>(memory_ + frame * kFrameBytes);
      const bool written = std::any_of(words, words + 8, [](u64 word) { return word != 0; });
      if (written) std::fill_n(words, kFrameBytes / sizeof(u64), u64{0});
    }
    next_ = 0;
    freed_count_ = 0;
  }

 private:
  static constexpr u64 kBase = u64{1} << 32;

  u64 frames_;
  u64 memory_ = 0;
  u64 next_ = 0;
  u64 freed_count_ = 0;
  u64 fences_ = 0;
  std::vector<Hpa> freed_;
};

}  // namespace nestwalk::bench
