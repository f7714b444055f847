// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "trace_stream.hpp"

namespace nestwalk::sim {

using addrspace::u64;
using software::GuestAccess;

bool TraceStream::next(software::GuestBatch& batch) {
  if (!reader_.next(chunk_)) return false;
  accesses_.clear();
  accesses_.reserve(chunk_.accesses.size());
  for (const traces::Access& access : chunk_.accesses) {
    const bool knows = access.has(traces::kGpaKnown);
    accesses_.push_back({physical_ ? access.gpa.value() : access.gva.value(), access.gpa.value(),
                         access.instructions, static_cast<models::AccessKind>(access.kind), knows});
  }
  batch.accesses = accesses_;
  batch.event = nullptr;
  if (chunk_.event != nullptr) {
    convert(*chunk_.event);
    batch.event = &event_;
  }
  return true;
}

void TraceStream::convert(const traces::Event& event) {
  event_.instructions = event.instructions;
  event_.detail = software::GuestRest{};
  if (const auto* const to = std::get_if<traces::SpaceSwitch>(&event.detail)) {
    event_.detail = software::GuestSwitch{to->root != 0 ? to->root : to->asid};
  } else if (const auto* const fence = std::get_if<traces::GuestFence>(&event.detail)) {
    const bool by_address = fence->scope == traces::FenceScope::Address ||
                            fence->scope == traces::FenceScope::AddressAsid;
    const bool by_space =
        fence->scope == traces::FenceScope::Asid || fence->scope == traces::FenceScope::AddressAsid;
    event_.detail =
        software::GuestFence{by_address, by_space, fence->address.value(), fence->bytes};
  } else if (const auto* const phase = std::get_if<traces::PhaseMarker>(&event.detail)) {
    event_.detail = software::GuestPhase{phase->number, phase->name};
  }
}

}  // namespace nestwalk::sim
