// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/guest_space.hpp"

namespace nestwalk::software {

TableFrames::TableFrames(HostSpace& host, Recording& recording, models::FramePolicyKind policy,
                         const MemoryRange& memory)
    : host_(host),
      recording_(recording),
      first_(memory.start),
      frames_(memory.bytes / kFrameBytes),
      policy_(policy.make(*this)) {}

// The next run that nobody has had; single frames are left over where it is to be aligned.
Result<u64> TableFrames::allocate(unsigned order) {
  std::vector<u64>& free = free_[order];
  if (!free.empty()) {
    const u64 first = free.back();
    free.pop_back();
    return first;
  }
  const u64 first = addrspace::align_down(next_ + (u64{1} << order) - 1, u64{1} << order);
  if (first + (u64{1} << order) <= frames_) {
    while (next_ < first) free_[0].push_back(next_++);
    next_ = first + (u64{1} << order);
    return first;
  }
  if (order == kMostOrder) return addrspace::Error::NoMemory;
  const Result<u64> whole = allocate(order + 1);
  if (whole) free.push_back(*whole + (u64{1} << order));
  return whole;
}

std::optional<Gpa> TableFrames::next() {
  const Result<u64> number = policy_->allocate({});
  return number ? std::optional(frame(*number)) : std::nullopt;
}

std::optional<Gpa> TableFrames::next_for(Gva address, u64 space) {
  if (!policy_->places_tables() || places_.contains(place_of(address, space))) return std::nullopt;
  const models::FrameRequest wanted = request_for(address, space);
  const bool is_new = !policy_->reserved_run(wanted);
  const Result<u64> number = policy_->allocate(wanted);
  if (!number) return std::nullopt;
  const std::optional<u64> run = policy_->reserved_run(wanted);
  if (!run) {  // none is free
    policy_->free(*number, 0);
    return std::nullopt;
  }
  if (is_new) host_.keep_together(frame(*run));
  return frame(*number);
}

Result<Gpa> TableFrames::take(addrspace::FrameUse use, u64 space) {
  const Place place = place_of(Gva(use.input), space);
  const auto own = use.level == 0 ? places_.find(place) : places_.end();
  const bool has_place = own != places_.end() && !placed_.contains(own->second.value());
  if (!has_place && stock_.empty()) return addrspace::Error::NoMemory;
  const Gpa frame = has_place ? own->second : stock_.back();
  if (has_place) {
    placed_[frame.value()] = place;
  } else {
    stock_.pop_back();
  }
  const Hpa host = host_of(frame);
  guest_frame_[host.value() / kFrameBytes] = frame.value();
  if (policy_->places_tables()) note_table(use, space, number_of(frame), host);
  return frame;
}

// A lowest-level table is noted only if its frame was reserved for it. The host address follows
// from the first frame of the run as if contiguous host frames were behind all of it; where the
// hypervisor has others there, prefetches bring lines that no walk reads.
void TableFrames::note_table(const addrspace::FrameUse& use, u64 space, u64 number, Hpa host) {
  u64 first = host.value();
  if (use.level == 0) {
    const std::optional<u64> run = policy_->reserved_run(request_for(Gva(use.input), space));
    if (!run || number - *run >= u64{1} << kMostOrder) return;
    first -= (number - *run) * kFrameBytes;
  }
  areas_[space].note(use, 0, first);
}

void TableFrames::give_back(Gpa frame) {
  recording_.memory().zero(host_of(frame), kFrameBytes);
  const auto place = placed_.find(frame.value());
  if (place == placed_.end()) return stock_.push_back(frame);
  places_.erase(place->second);
  placed_.erase(place);
  drop(frame);
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
