// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/guest_space.hpp"

namespace nestwalk::software {

Result<Gpa> TableFrames::take() {
  if (stock_.empty()) return addrspace::Error::NoMemory;
  const Gpa frame = stock_.back();
  stock_.pop_back();
  guest_frame_[host_of(frame).value() / kFrameBytes] = frame.value();
  return frame;
}

void TableFrames::give_back(Gpa frame) {
  recording_.memory().zero(host_of(frame), kFrameBytes);
  stock_.push_back(frame);
}

bool TableFrames::is_backed(Gpa at) {
  const Recording::Pause pause(recording_);
  return host_.translate(at).ok();
}

// The guest's kernel finds its tables by its direct map, which the TLBs hold.
Hpa TableFrames::host_of(Gpa at) {
  const Recording::Pause pause(recording_);
  const Result<Hpa> host = host_.translate(at);
  models::check(host.ok(), "guest", "a table that is backed", 0, at.value());
  return *host;
}

Gpa TableFrames::guest_of(Hpa at) const {
  const auto frame = guest_frame_.find(at.value() / kFrameBytes);
  models::check(frame != guest_frame_.end(), "guest", "a table's frame", 0, at.value());
  return Gpa(frame->second + at.offset_in(kFrameBytes));
}

}  // namespace nestwalk::software
