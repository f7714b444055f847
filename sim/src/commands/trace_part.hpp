// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a trace made of records of others says about those that it does not have.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "nestwalk/traces/rules.hpp"
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

/// A vCPU without registers of the begin has page tables of the form that those of its trace's vCPU
/// 0 say, and its root is not known before it switches to one. Where its stream goes to a trace
/// with another vCPU 0, both have to be said there.
class BeginRegisters {
 public:
  /// Of the trace that streams come from. Registers of a vCPU come before its records.
  std::optional<traces::Breach> add(const traces::SideData& side);
  /// Before the first record of `from`, which becomes the stream of `to`.
  void begin(addrspace::u32 from, traces::Writer& writer, addrspace::u32 to, PartialStream& stream);

 private:
  std::vector<std::pair<std::string, addrspace::u64>> first_;  ///< of vCPU 0
  std::set<addrspace::u32> known_;
  std::set<addrspace::u32> unknown_;  ///< whose streams began without any
};

}  // namespace nestwalk::sim
