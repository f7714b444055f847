// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/trace_part.hpp"

#include <utility>

#include "nestwalk/traces/reader.hpp"

namespace nestwalk::sim {

using addrspace::u32;
using addrspace::u64;
using traces::Event;
using traces::SideData;
using traces::SpaceSwitch;

void PartialStream::append(const traces::Chunk& chunk) {
  move_to(chunk.time, chunk.root, chunk.asid);
  for (const traces::Access& access : chunk.accesses) append(access);
  if (chunk.event != nullptr) append(*chunk.event);
}

void PartialStream::append(const traces::Access& access) {
  empty_ = false;
  clock_ = traces::time_after(clock_, access);
  writer_->append(vcpu_, access);
}

void PartialStream::append(const Event& event) {
  empty_ = false;
  clock_ = traces::time_after(clock_, event);
  if (const auto* const space = std::get_if<SpaceSwitch>(&event.detail)) {
    root_ = space->root;
    asid_ = space->asid;
  }
  writer_->append(vcpu_, event);
}

void PartialStream::move_to(u64 time) {
  if (time > clock_) append(traces::TimeSync{time});
}

// Blocks say in which address space they begin, but not how well that was known.
void PartialStream::move_to(u64 time, u64 root, u64 asid) {
  move_to(time);
  if (root == root_ && asid == asid_) return;
  append(SpaceSwitch{root, asid, traces::Precision::Inferred});
}

std::optional<traces::Breach> BeginRegisters::add(const SideData& side) {
  if (side.when != traces::When::Begin || side.registers.empty()) return {};
  if (unknown_.contains(side.vcpu)) {
    return traces::Breach{
        "registers of the begin of vCPU " + std::to_string(side.vcpu) + " before its records",
        "them behind"};
  }
  known_.insert(side.vcpu);
  if (side.vcpu == 0) first_.insert(first_.end(), side.registers.begin(), side.registers.end());
  return {};
}

void BeginRegisters::begin(u32 from, traces::Writer& writer, u32 to, PartialStream& stream) {
  if (first_.empty() || known_.contains(from)) return;
  unknown_.insert(from);
  writer.append(SideData{traces::When::Begin, traces::Stage::Guest, to, first_, {}});
  stream.append(SpaceSwitch{0, 0, traces::Precision::Widened});
}

}  // namespace nestwalk::sim
