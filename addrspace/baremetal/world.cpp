// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "world.hpp"

namespace nestwalk::baremetal {
namespace {
alignas(kFrameBytes) u8 code[kFrameBytes];
}

alignas(2 * kMiB) u8 World::frames[];

World::Space World::made(FirstFit& hal) {
  __builtin_memcpy(code, guest_begin, static_cast<u64>(guest_end - guest_begin));
  clean_to_memory(code, kFrameBytes);
  sync_code();
  // A VMID where there are any.
  const u16 vmid = hal.capabilities().vmid_bits != 0 ? 2 : 0;
  Result<Space> made = Space::create(hal, kNestedShape, *GpaRange::make(Gpa(0), 4 * kGiB), vmid);
  if (!check(made.ok(), "a space is made")) finish();
  check(made->map_linear(kCode, Hpa(reinterpret_cast<u64>(code)), kFrameBytes, {kRead | kExecute})
            .ok(),
        "code is mapped");
  check(made->map_alloc(kTables, 64 * kKiB, {kRead | kWrite}, Backend::eager()).ok(),
        "memory for the guest's tables is mapped");
  return static_cast<Space&&>(*made);
}

}  // namespace nestwalk::baremetal
