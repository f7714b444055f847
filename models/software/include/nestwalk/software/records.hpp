// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where a vCPU is in its stream: the records that it has taken, and the next one.
#pragma once

#include <functional>
#include <span>

#include "nestwalk/software/stream.hpp"

namespace nestwalk::software {

class Records {
 public:
  explicit Records(GuestStream& stream) : stream_(stream) {}

  /// At most `limit` accesses. After the first `warmup` of them, if there are some, `warm` is
  /// called.
  void begin(u64 limit, u64 warmup, std::function<void()> warm);
  /// Is there a next record? It is an access or an event.
  bool fetch() {
    if (!is_event() && left_ != 0) [[likely]]
      return true;
    return fetch_batch();
  }
  bool is_event() const { return at_ == batch_.accesses.size(); }
  const GuestAccess& access() const { return batch_.accesses[at_]; }
  /// Executed before it.
  u64 instructions() const {
    return is_event() ? batch_.event->instructions : access().instructions;
  }
  const GuestAccess& take_access() {
    --left_;
    return batch_.accesses[at_++];
  }
  /// Valid until the next record is fetched.
  const GuestEvent& take_event();
  /// Accesses left in the batch, up to the limit or the end of the warm-up.
  std::span<const GuestAccess> at_hand() const;
  /// Takes so many of these.
  void take(u64 accesses) {
    at_ += accesses;
    left_ -= accesses;
  }
  /// Of the access that comes so many after the next one; 0 if that is not known.
  u64 address_after(u32 others) const {
    const std::size_t at = at_ + others;
    return at < batch_.accesses.size() ? batch_.accesses[at].address : 0;
  }
  /// The warm-up is over, however long it was. False if nothing comes after it.
  bool end_warmup();

  /// Taken so far.
  u64 accesses() const { return limit_ - rest_ - left_; }
  u64 taken() const { return accesses() + events_; }

 private:
  bool fetch_batch();

  GuestStream& stream_;
  GuestBatch batch_;
  std::size_t at_ = 0;
  u64 limit_ = 0;
  u64 left_ = 0;  ///< of the warm-up, or of all
  u64 rest_ = 0;  ///< after the warm-up
  u64 events_ = 0;
  std::function<void()> warm_;
};

}  // namespace nestwalk::software
