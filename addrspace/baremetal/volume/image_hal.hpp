// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Frames in a memory image of another machine.
#pragma once

#include <map>
#include <vector>

#include "image.hpp"
#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::baremetal {

class ImageHal : public HalBase<ImageHal> {
 public:
  /// Frames from `first` to the image's end.
  ImageHal(const MemoryMap& map, u64 first, const Capabilities& machine)
      : base_(map.image), next_(first), bytes_(map.image_bytes), machine_(machine) {}

  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    if (std::vector<Hpa>& free = free_[order]; !free.empty()) {
      const Hpa run = free.back();
      free.pop_back();
      return run;
    }
    const u64 size = kFrameBytes << order;
    const u64 start = (next_ + size - 1) & ~(size - 1);
    if (start + size > base_ + bytes_.size()) return Error::NoMemory;
    next_ = start + size;
    return Hpa(start);
  }
  void free_run(Hpa start, unsigned order) { free_[order].push_back(start); }
  Hva phys_to_virt(Hpa at) const {
    return Hva(reinterpret_cast<u64>(bytes_.data()) + (at.value() - base_));
  }
  Hpa virt_to_phys(Hva at) const {
    return Hpa(base_ + (at.value() - reinterpret_cast<u64>(bytes_.data())));
  }
  void invalidate(const Invalidation<Gpa>&) {}  // nobody uses the tables yet
  Capabilities capabilities() const { return machine_; }

  const std::vector<u8>& bytes() const { return bytes_; }

 private:
  u64 base_;
  u64 next_;
  std::vector<u8> bytes_;
  Capabilities machine_;
  std::map<unsigned, std::vector<Hpa>> free_;
};

}  // namespace nestwalk::baremetal
