// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/store_buffer.hpp"

namespace nestwalk::software {

using addrspace::Hpa;

// A miss takes its turn on the wheel: time that it spends is nobody's.
void StoreBuffer::post(u32 entry, u64 host, u32 bytes) {
  if (hierarchy_.hits_first(path_, Hpa(host), true)) {
    post_hit(entry, host, bytes, wheel_.now());
    owner_.on_line(hierarchy_.first_served(path_), true);
    return;
  }
  put(entry, host, bytes);
  wheel_.schedule(wheel_.now(), *this, entry * kEvents + kAsk);
}

void StoreBuffer::on_cycle(u32 what) {
  const u32 number = what / kEvents;
  Entry& entry = entries_[number];
  if (what % kEvents == kAsk && !hierarchy_.access(path_, Hpa(entry.host), true, *this,
                                                   number * kEvents + kArrive, entry.served)) {
    return;
  }
  entry.line_at = wheel_.now();
  owner_.on_line(entry.served, false);
}

}  // namespace nestwalk::software
