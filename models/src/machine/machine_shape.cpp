// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/machine/machine_shape.hpp"

namespace nestwalk::models {

Cycle MachineShape::lookup_cycles(Served level, bool fetch) const {
  if (level == Served::L1 && fetch) return l1i ? l1i->latency_cycles : 0;
  const std::pair<Served, const std::optional<DataCacheShape>&> levels[] = {
      {Served::L1, l1d}, {Served::L2, l2}, {Served::L3, l3}};
  u32 above = 0;
  for (const auto& [each, cache] : levels) {
    if (!cache) continue;
    if (each == level) return cache->latency_cycles - above;
    above = cache->latency_cycles;
  }
  return 0;
}

}  // namespace nestwalk::models
