// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/dram.hpp"

#include <algorithm>
#include <bit>

namespace nestwalk::models {

Cycle DramBus::reserve_between(Cycle wanted, Cycle burst, Cycle now) {
  forget_past(burst, now);
  auto next = bursts_.begin();
  for (; next != bursts_.end() && *next < wanted + burst; ++next) {
    wanted = std::max(wanted, *next + burst);
  }
  bursts_.insert(next, wanted);
  free_at_ = bursts_.back() + burst;
  return wanted;
}

void DramBus::forget_past(Cycle burst, Cycle now) {
  const auto is_over = [&](Cycle begin) { return begin + burst <= now; };
  bursts_.erase(bursts_.begin(), std::find_if_not(bursts_.begin(), bursts_.end(), is_over));
}

Dram::Dram(const DramShape& shape, u32 line_bytes, ClockRate clock)
    : times_(shape, clock),
      channels_(shape.channels),
      groups_(shape.bank_groups),
      banks_of_group_(shape.banks / shape.bank_groups),
      row_shift_(static_cast<u32>(std::countr_zero(shape.row_bytes / line_bytes))),
      all_(shape.channels) {
  check(shape.banks % shape.bank_groups == 0, "memory", "groups of as many banks each", 0,
        shape.banks);
  for (Channel& channel : all_) channel.banks.resize(shape.banks);
}

}  // namespace nestwalk::models
