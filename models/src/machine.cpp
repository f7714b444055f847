// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/machine.hpp"

namespace nestwalk::models {

Machine::Machine(const MachineShape& shape, u64 host_bytes)
    : shape_(shape),
      memory_(host_bytes),
      hierarchy_(wheel_, shape.memory, shape.line_bytes),
      from_memory_(hierarchy_.add_path({})) {
  from_l3_ = from_memory_;
  if (shape.l3) {
    l3_ = hierarchy_.add_cache(*shape.l3, Served::L3, from_memory_);
    from_l3_ = hierarchy_.add_path({&*l3_, 1});
  }
  cores_.reserve(shape.cores);
  for (u32 n = 0; n < shape.cores; ++n) add_core();
}

void Machine::add_core() {
  using CacheId = MemoryHierarchy::CacheId;
  std::vector<CacheId> below;
  if (l3_) below.push_back(*l3_);
  if (shape_.l2)
    below.insert(below.begin(), hierarchy_.add_cache(*shape_.l2, Served::L2, from_l3_));
  const MemoryHierarchy::PathId from_l2 = hierarchy_.add_path(below);
  const auto with_first = [&](const std::optional<DataCacheShape>& first) {
    if (!first) return from_l2;
    std::vector<CacheId> caches = below;
    caches.insert(caches.begin(), hierarchy_.add_cache(*first, Served::L1, from_l2));
    return hierarchy_.add_path(caches);
  };
  Core core{};
  core.fetches = with_first(shape_.l1i);
  core.data = with_first(shape_.l1d);
  switch (shape_.walks_enter_at) {
    case Served::L1:
      core.walks = core.data;
      break;
    case Served::L2:
      core.walks = from_l2;
      break;
    case Served::L3:
      core.walks = from_l3_;
      break;
    default:
      core.walks = from_memory_;
  }
  core.mmu = std::make_unique<Mmu>(wheel_, memory_, hierarchy_, core.walks, shape_.mmu);
  cores_.push_back(std::move(core));
}

}  // namespace nestwalk::models
