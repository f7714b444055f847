// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/trace_stream.hpp"

#include <algorithm>

#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::sim {

using addrspace::u64;
using addrspace::u8;
using software::GuestAccess;

namespace {

constexpr u64 kMostInstructions = u64{1} << 40;

software::HostOperation host_operation(const traces::HypervisorOperation& from) {
  using Kind = software::HostOperation::Kind;
  static constexpr Kind kKinds[] = {Kind::Map,        Kind::Zap,     Kind::Protect, Kind::LogStart,
                                    Kind::LogHarvest, Kind::LogStop, Kind::Inflate, Kind::Deflate};
  static_assert(std::size(kKinds) == std::size(traces::kOperationNames));
  // Read, write and execute are the same bits in both.
  return {kKinds[static_cast<unsigned>(from.operation)], from.gpa, from.bytes,
          addrspace::Access(static_cast<addrspace::u8>(from.flags & 7))};
}
static_assert(addrspace::kRead.bits() == traces::kPermitRead &&
              addrspace::kWrite.bits() == traces::kPermitWrite &&
              addrspace::kExecute.bits() == traces::kPermitExecute);

// What is known of an access are the same bits in both.
constexpr u8 kFacts = traces::kAddressesKnown | traces::kDependent;
static_assert((kFacts & GuestAccess::kUntranslated) == 0);
static_assert(GuestAccess::kAddress == +traces::kGvaKnown);
static_assert(GuestAccess::kGuestPhysical == +traces::kGpaKnown);
static_assert(GuestAccess::kHost == +traces::kHpaKnown);
static_assert(GuestAccess::kDependent == +traces::kDependent);

// Where the source did not say.
constexpr addrspace::u16 kUsualBytes = GuestAccess{}.bytes;

GuestAccess as_recorded(const traces::Access& access) {
  return {access.gva.value(),
          access.gpa.value(),
          access.hpa.value(),
          access.instructions,
          static_cast<models::AccessKind>(access.kind),
          static_cast<u8>(access.flags & kFacts),
          access.size == 0 ? kUsualBytes : access.size};
}

void make_physical(GuestAccess& access) {
  access.address = access.guest_physical;
  access.facts &= static_cast<u8>(~GuestAccess::kAddress);
  if (access.is(GuestAccess::kGuestPhysical)) access.facts |= GuestAccess::kAddress;
}

}  // namespace

void Devices::expect_no_table(u64 guest_physical) const {
  for (const software::MemoryRange& range : ranges_) {
    if (guest_physical - range.start >= range.bytes) continue;
    throw traces::InputError(trace_,
                             "expected tables of the guest outside of hypervisor.mmio, "
                             "found one at " +
                                 models::hex(guest_physical));
  }
}

// The kernel would make something else of an exception: it is kept for whoever runs it.
bool TraceStream::next(software::GuestBatch& batch) {
  try {
    return read(batch);
  } catch (const std::exception&) {
    error_ = std::current_exception();
    return false;
  }
}

bool TraceStream::read(software::GuestBatch& batch) {
  if (roots_ && !began_) {
    began_ = true;
    event_ = {0, roots_->roots()};
    batch = {{}, &event_};
    return true;
  }
  if (!reader_ || !reader_->next(chunk_)) return false;
  lacks_->check(chunk_, name_, {});
  if (roots_ && !chunk_.accesses.empty()) expect_walks();
  accesses_.resize(chunk_.accesses.size());
  std::transform(chunk_.accesses.begin(), chunk_.accesses.end(), accesses_.begin(), as_recorded);
  if (physical_) {
    std::for_each(accesses_.begin(), accesses_.end(), make_physical);
  } else if (roots_) {
    for (std::size_t n = 0; n < accesses_.size(); ++n) {
      const traces::Access& access = chunk_.accesses[n];
      if (traces::in_firmware(reader_->header(), access))
        accesses_[n].facts |= GuestAccess::kUntranslated;
      accesses_[n].address = roots_->rules().translated(accesses_[n].address, access.kind);
    }
  }
  batch.accesses = accesses_;
  batch.event = nullptr;
  if (chunk_.event != nullptr) {
    convert(*chunk_.event);
    batch.event = &event_;
  }
  return true;
}

void TraceStream::expect_walks() const {
  const traces::Breach* const breach = roots_->breach();
  if (breach == nullptr) return;
  throw traces::InputError(name_, "expected, at record " + std::to_string(chunk_.first_record) +
                                      " of vCPU " + std::to_string(chunk_.vcpu) + ", " +
                                      breach->expected + ", found " + breach->found);
}

// True if it is an event of recorded tables.
bool TraceStream::replay(const traces::Event& event) {
  if (const auto* const write = std::get_if<traces::TableWrite>(&event.detail)) {
    const bool nested = write->stage == traces::Stage::Host;
    if (nested && !roots_->both()) return false;
    if (!nested) devices_->expect_no_table(write->address);
    event_.detail = software::TableStore{nested, write->address, write->value};
  } else if (roots_->follow(event)) {
    event_.detail = roots_->roots();
  } else if (roots_->both() && std::holds_alternative<traces::VmExit>(event.detail)) {
    event_.detail = software::RecordedExit{};
  } else if (roots_->both() && std::holds_alternative<traces::VmEntry>(event.detail)) {
    event_.detail = software::RecordedEntry{};
  } else {
    return false;
  }
  return true;
}

void TraceStream::convert(const traces::Event& event) {
  if (event.instructions > kMostInstructions) {
    throw traces::InputError(name_, "an event after " + std::to_string(event.instructions) +
                                        " instructions; at most 2^40 are replayed");
  }
  event_.instructions = event.instructions;
  event_.detail = software::GuestRest{};
  if (roots_ && replay(event)) return;
  if (const auto* const to = std::get_if<traces::SpaceSwitch>(&event.detail)) {
    event_.detail = software::GuestSwitch{to->root != 0 ? to->root : to->asid};
  } else if (const auto* const fence = std::get_if<traces::GuestFence>(&event.detail)) {
    const bool by_address = fence->scope == traces::FenceScope::Address ||
                            fence->scope == traces::FenceScope::AddressAsid;
    const bool by_space =
        fence->scope == traces::FenceScope::Asid || fence->scope == traces::FenceScope::AddressAsid;
    // Where there are recorded tables, there is an architecture, whose ASIDs have 16 bits at most.
    const auto asid = static_cast<addrspace::u16>(roots_ ? fence->asid : 0);
    event_.detail =
        software::GuestFence{by_address, by_space, fence->address.value(), fence->bytes, asid};
  } else if (const auto* const operation =
                 std::get_if<traces::HypervisorOperation>(&event.detail)) {
    event_.detail = host_operation(*operation);
  } else if (const auto* const phase = std::get_if<traces::PhaseMarker>(&event.detail)) {
    event_.detail = software::GuestPhase{phase->number, phase->name};
  } else if (const auto* const time = std::get_if<traces::TimeSync>(&event.detail)) {
    event_.detail = software::GuestTime{time->time};
  }
}

}  // namespace nestwalk::sim
