// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/machine/cache_tree.hpp"

namespace nestwalk::models {

CacheTree::CacheTree(MemoryHierarchy& hierarchy, const MachineShape& shape)
    : hierarchy_(hierarchy), shape_(shape), from_memory_(hierarchy.add_path({})) {
  from_l3_ = from_memory_;
  if (!shape.l3) return;
  l3_ = hierarchy_.add_cache(*shape.l3, shape.lookup_cycles(Served::L3), Served::L3, from_memory_);
  from_l3_ = hierarchy_.add_path({&*l3_, 1});
}

CorePaths CacheTree::add_core() {
  using CacheId = MemoryHierarchy::CacheId;
  std::vector<CacheId> below;
  if (l3_) below.push_back(*l3_);
  const auto add = [&](const DataCacheShape& cache, Served level, MemoryHierarchy::PathId next,
                       bool fetch = false) {
    using Holds = MemoryHierarchy::Holds;
    return hierarchy_.add_cache(cache, shape_.lookup_cycles(level, fetch), level, next,
                                fetch ? Holds::Instructions : Holds::Data);
  };
  if (shape_.l2) below.insert(below.begin(), add(*shape_.l2, Served::L2, from_l3_));
  const MemoryHierarchy::PathId from_l2 = hierarchy_.add_path(below);
  const auto with_first = [&](const std::optional<DataCacheShape>& first, bool fetch) {
    if (!first) return from_l2;
    std::vector<CacheId> caches = below;
    caches.insert(caches.begin(), add(*first, Served::L1, from_l2, fetch));
    return hierarchy_.add_path(caches);
  };
  CorePaths paths;
  paths.fetches = with_first(shape_.l1i, true);
  paths.data = with_first(shape_.l1d, false);
  switch (shape_.walks_enter_at) {
    case Served::L1:
      paths.walks = paths.data;
      break;
    case Served::L2:
      paths.walks = from_l2;
      break;
    case Served::L3:
      paths.walks = from_l3_;
      break;
    default:
      paths.walks = from_memory_;
  }
  return paths;
}

}  // namespace nestwalk::models
