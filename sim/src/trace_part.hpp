// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a trace made of records of others says about those that it does not have.
#pragma once

#include <utility>

#include "nestwalk/traces/writer.hpp"

namespace nestwalk::sim {

/// Writes a stream. Records may be left out, or lost: where the clock or the address space is not
/// where those so far leave it, a `time` or `space` record says so.
class PartialStream {
 public:
  using u32 = addrspace::u32;
  using u64 = addrspace::u64;

  PartialStream(traces::Writer& writer, u32 vcpu) : writer_(&writer), vcpu_(vcpu) {}

  /// All of it, where it is.
  void append(const traces::Chunk& chunk);
  void append(const traces::Access& access);
  void append(const traces::Event& event);
  /// An event that takes no instructions.
  void append(traces::EventDetail detail) { append(traces::Event{0, std::move(detail)}); }
  /// The clock is at least `time` afterwards.
  void move_to(u64 time);
  /// The same, and the address space is this one.
  void move_to(u64 time, u64 root, u64 asid);

  u64 clock() const { return clock_; }
  bool empty() const { return empty_; }

 private:
  traces::Writer* writer_;
  u32 vcpu_;
  bool empty_ = true;
  u64 clock_ = 0;
  u64 root_ = 0;
  u64 asid_ = 0;
};

}  // namespace nestwalk::sim
