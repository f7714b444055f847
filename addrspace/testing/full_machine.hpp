// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A machine that can do everything but keep dirty bits, for whoever does not care.
#pragma once

#include "nestwalk/addrspace/capabilities.hpp"

namespace nestwalk::addrspace {

constexpr Capabilities full_machine() {
  Capabilities all;
  all.physical_bits = 48;
  all.leaf_levels = 0b0111;
  all.most_levels = 5;
  all.vmid_bits = 16;
  all.granules = all.wide_granules = 0b111;
  all.execute_only = true;
  all.invept_single = true;
  all.flush_by_asid = true;
  all.page_memory_types = true;
  all.napot_pages = true;
  return all;
}

}  // namespace nestwalk::addrspace
