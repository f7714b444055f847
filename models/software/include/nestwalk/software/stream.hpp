// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a guest's processor does, in order: what a Vcpu plays.
#pragma once

#include <span>
#include <string>
#include <variant>

#include "nestwalk/models/translation/regime.hpp"
#include "nestwalk/models/translation/rights.hpp"
#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

/// Within one page of 4 KiB.
struct GuestAccess {
  enum Fact : u8 {
    kAddress = 1,  ///< these are known
    kGuestPhysical = 2,
    kHost = 4,
    kDependent = 8,       ///< its address came out of the read before it
    kUntranslated = 128,  ///< by the first stage, whatever its tables are
  };

  u64 address = 0;         ///< virtual; guest-physical where the guest does not translate
  u64 guest_physical = 0;  ///< where the trace says that it lies
  u64 host = 0;            ///< where the trace says that it ended
  u32 instructions = 0;    ///< since what came before
  models::AccessKind kind = models::AccessKind::Read;
  u8 facts = kAddress;
  u16 bytes = 8;

  bool is(Fact fact) const { return (facts & fact) != 0; }
};

/// From here on in this address space.
struct GuestSwitch {
  u64 key = 0;
};
/// The guest invalidates translations of its first stage.
struct GuestFence {
  bool by_address = false;
  bool by_space = false;  ///< of one address space only: that of the vCPU
  u64 address = 0;
  u64 bytes = 0;
  u16 asid = 0;  ///< as it was recorded
};
/// Recorded tables that are replayed: these translate from here on.
struct TableRoots {
  models::Stage guest, guest_upper;
  models::Stage nested;  ///< off where the engine has the second stage
  u16 asid = 0;
  bool known = true;
  u16 vmid = 0;  ///< beside the second stage's root; 0 where the register has none
  models::PrivilegeRules privilege{};  ///< beyond that who accesses is not known
};
/// An entry of a recorded table gets a new value.
struct TableStore {
  bool nested = false;
  u64 address = 0;  ///< in the space of its stage
  u64 value = 0;
};
/// The recorded guest leaves for its hypervisor.
struct RecordedExit {};
/// And is back.
struct RecordedEntry {};
struct GuestPhase {
  u64 number = 0;
  std::string name;
};
/// The stream's clock moves on to there.
struct GuestTime {
  u64 clock = 0;
};
/// Something that this model has no use for.
struct GuestRest {};

struct GuestEvent {
  u64 instructions = 0;
  std::variant<GuestRest, GuestSwitch, GuestFence, GuestPhase, GuestTime, HostOperation, TableRoots,
               TableStore, RecordedExit, RecordedEntry>
      detail;
};

/// A run of accesses, and then perhaps an event.
struct GuestBatch {
  std::span<const GuestAccess> accesses;
  const GuestEvent* event = nullptr;
};

class GuestStream {
 public:
  virtual ~GuestStream() = default;
  /// The next batch, valid until the next call; false at the end.
  virtual bool next(GuestBatch& batch) = 0;
  /// After the end: throws what ended it early, if something did.
  virtual void rethrow() const {}
};

}  // namespace nestwalk::software
