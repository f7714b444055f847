// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a trace consists of: accesses, which are many and small, and events, which are few.
//
// A stream is what one virtual CPU did, in order. Its clock counts instructions: every record says
// how many passed since the one before it.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::traces {

using addrspace::Gpa;
using addrspace::Gva;
using addrspace::Hpa;
using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using addrspace::u8;

/// A record never crosses a boundary of this many bytes, so that it has one translation.
inline constexpr u64 kPageBytes = addrspace::kFrameBytes;
inline constexpr unsigned kPageShift = addrspace::kFrameShift;

enum class AccessKind : u8 { Read, Write, Fetch };
inline constexpr std::string_view kAccessKindNames[] = {"read", "write", "fetch"};

enum AccessFlag : u8 {
  kGvaKnown = 1,
  kGpaKnown = 2,
  kHpaKnown = 4,
  kAddressesKnown = kGvaKnown | kGpaKnown | kHpaKnown,
  kDependent = 8,   ///< the address came out of the stream's previous read
  kContinues = 16,  ///< the rest of the record before it, in the next page
};

/// One access to memory within one page. An address that is not known is 0; those that are known
/// agree in their offset within the page.
struct Access {
  Gva gva;
  Gpa gpa;
  Hpa hpa;           ///< where a nested recording ended up
  u32 instructions;  ///< since the stream's previous record
  u16 size;          ///< in bytes; 0 when the source did not say
  AccessKind kind;
  u8 flags;  ///< of AccessFlag

  bool has(u8 flag) const { return (flags & flag) == flag; }
  friend bool operator==(const Access&, const Access&) = default;
};
static_assert(sizeof(Access) == 32);

/// How well the source knew the operands of an event.
enum class Precision : u8 {
  Exact,
  Widened,   ///< an operand was lost; the event covers more than what happened
  Inferred,  ///< reconstructed from something else
};
inline constexpr std::string_view kPrecisionNames[] = {"exact", "widened", "inferred"};
constexpr auto& names_of(Precision) { return kPrecisionNames; }

enum class Stage : u8 { Guest, Host };
inline constexpr std::string_view kStageNames[] = {"guest", "host"};
constexpr auto& names_of(Stage) { return kStageNames; }

/// From here on the guest's first stage starts at `root`.
struct SpaceSwitch {
  static constexpr std::string_view kName = "space";
  u64 root = 0;  ///< physical address of the root table, as the guest sees it; 0 when not known
  u64 asid = 0;
  Precision precision = Precision::Exact;

  friend bool operator==(const SpaceSwitch&, const SpaceSwitch&) = default;
};

enum class FenceScope : u8 { All, Address, Asid, AddressAsid };
inline constexpr std::string_view kFenceScopeNames[] = {"all", "address", "asid", "address+asid"};
constexpr auto& names_of(FenceScope) { return kFenceScopeNames; }

enum FenceFlag : u8 {
  kFenceGlobal = 1,     ///< global translations go as well
  kFenceLeaf = 2,       ///< last level only
  kFenceBroadcast = 4,  ///< reaches the other CPUs by itself
};

/// The guest invalidated translations of its first stage.
struct GuestFence {
  static constexpr std::string_view kName = "fence";
  FenceScope scope = FenceScope::All;
  u64 flags = 0;  ///< of FenceFlag
  Gva address;
  u64 bytes = 0;  ///< from `address`; 0 is the page around it
  u64 asid = 0;
  Precision precision = Precision::Exact;

  friend bool operator==(const GuestFence&, const GuestFence&) = default;
};

struct VmEntry {
  static constexpr std::string_view kName = "entry";
  u64 vmid = 0;

  friend bool operator==(const VmEntry&, const VmEntry&) = default;
};

struct VmExit {
  static constexpr std::string_view kName = "exit";
  u64 reason = 0;  ///< the architecture's code: VMX or SVM exit reason, ESR class, scause
  u64 info = 0;    ///< what the architecture adds: qualification, EXITINFO1, ESR, htinst
  Gpa gpa;         ///< of a second-stage fault, otherwise 0

  friend bool operator==(const VmExit&, const VmExit&) = default;
};

enum class Operation : u8 {
  Map,
  Unmap,
  Protect,
  DirtyLogStart,
  DirtyLogHarvest,
  DirtyLogStop,
  BalloonInflate,
  BalloonDeflate,
};
inline constexpr std::string_view kOperationNames[] = {"map",
                                                       "unmap",
                                                       "protect",
                                                       "dirty-log-start",
                                                       "dirty-log-harvest",
                                                       "dirty-log-stop",
                                                       "balloon-inflate",
                                                       "balloon-deflate"};
constexpr auto& names_of(Operation) { return kOperationNames; }

enum PermissionFlag : u8 { kPermitRead = 1, kPermitWrite = 2, kPermitExecute = 4 };

/// The hypervisor changed the second stage.
struct HypervisorOperation {
  static constexpr std::string_view kName = "hypervisor";
  Operation operation = Operation::Map;
  Gpa gpa;
  u64 bytes = 0;
  u64 flags = 0;  ///< of PermissionFlag, for map and protect

  friend bool operator==(const HypervisorOperation&, const HypervisorOperation&) = default;
};

/// Of the text in an event.
inline constexpr std::size_t kMaxEventText = 4096;

/// Something begins that a report should tell apart.
struct PhaseMarker {
  static constexpr std::string_view kName = "phase";
  u64 number = 0;
  std::string name;

  friend bool operator==(const PhaseMarker&, const PhaseMarker&) = default;
};

/// The stream's clock moves to `time` unless it is there already: what orders streams of CPUs that
/// did not run in step. Without one, the clocks of all streams start at 0.
struct TimeSync {
  static constexpr std::string_view kName = "time";
  u64 time = 0;

  friend bool operator==(const TimeSync&, const TimeSync&) = default;
};

/// An entry of a page table got a new value. Entries that neither side data nor an event mentions
/// are 0. Bits that the processor sets by itself (accessed, dirty) may be missing.
struct TableWrite {
  static constexpr std::string_view kName = "table";
  Stage stage = Stage::Guest;
  u64 address = 0;  ///< of the entry: physical, in the space of its stage
  u64 value = 0;

  friend bool operator==(const TableWrite&, const TableWrite&) = default;
};

/// A register that says how the stream's addresses are translated got a new value, as far as no
/// space record says so. Named as in side data.
struct ControlWrite {
  static constexpr std::string_view kName = "control";
  std::string name;
  u64 value = 0;

  friend bool operator==(const ControlWrite&, const ControlWrite&) = default;
};

/// The position of a type is its number in the file: new ones go to the end.
using EventDetail = std::variant<SpaceSwitch, GuestFence, VmEntry, VmExit, HypervisorOperation,
                                 PhaseMarker, TimeSync, TableWrite, ControlWrite>;

struct Event {
  u64 instructions = 0;  ///< since the stream's previous record
  EventDetail detail;

  friend bool operator==(const Event&, const Event&) = default;
};

/// Calls visit(name, field) for each field, in the order of the file. One list serves the encoder,
/// the decoder, the text form and the tests.
template <class Visit, class E>
void for_each_field(E& event, Visit&& visit) {
  using T = std::remove_const_t<E>;
  if constexpr (std::is_same_v<T, SpaceSwitch>) {
    visit("root", event.root);
    visit("asid", event.asid);
    visit("precision", event.precision);
  } else if constexpr (std::is_same_v<T, GuestFence>) {
    visit("scope", event.scope);
    visit("flags", event.flags);
    visit("gva", event.address);
    visit("bytes", event.bytes);
    visit("asid", event.asid);
    visit("precision", event.precision);
  } else if constexpr (std::is_same_v<T, VmEntry>) {
    visit("vmid", event.vmid);
  } else if constexpr (std::is_same_v<T, VmExit>) {
    visit("reason", event.reason);
    visit("info", event.info);
    visit("gpa", event.gpa);
  } else if constexpr (std::is_same_v<T, HypervisorOperation>) {
    visit("operation", event.operation);
    visit("gpa", event.gpa);
    visit("bytes", event.bytes);
    visit("flags", event.flags);
  } else if constexpr (std::is_same_v<T, PhaseMarker>) {
    visit("number", event.number);
    visit("name", event.name);
  } else if constexpr (std::is_same_v<T, TimeSync>) {
    visit("time", event.time);
  } else if constexpr (std::is_same_v<T, TableWrite>) {
    visit("stage", event.stage);
    visit("address", event.address);
    visit("value", event.value);
  } else {
    static_assert(std::is_same_v<T, ControlWrite>);
    visit("name", event.name);
    visit("value", event.value);
  }
}

}  // namespace nestwalk::traces
