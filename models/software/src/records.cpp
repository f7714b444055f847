// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/records.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::software {

void Records::begin(u64 limit, u64 warmup, std::function<void()> warm) {
  limit_ = limit;
  left_ = warmup != 0 ? std::min(warmup, limit) : limit;
  rest_ = limit - left_;
  warm_ = std::move(warm);
}

bool Records::fetch_batch() {
  for (;;) {
    const bool has_access = !is_event();
    if (!has_access && batch_.event != nullptr) return true;
    if (left_ == 0 && !end_warmup()) return false;
    if (has_access) return true;
    at_ = 0;
    if (!stream_.next(batch_)) return false;
  }
}

bool Records::end_warmup() {
  if (rest_ == 0) return false;
  left_ += std::exchange(rest_, 0);
  warm_();
  return true;
}

const GuestEvent& Records::take_event() {
  ++events_;
  return *std::exchange(batch_.event, nullptr);
}

std::span<const GuestAccess> Records::at_hand() const {
  const std::span<const GuestAccess> rest = std::span(batch_.accesses).subspan(at_);
  return rest.first(std::min<u64>(rest.size(), left_));
}

}  // namespace nestwalk::software
