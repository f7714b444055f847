// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What each fence removes: one row per operation, in the order of FenceKind.
#pragma once

#include "nestwalk/models/fence_shape.hpp"
#include "nestwalk/models/fence_unit.hpp"

namespace nestwalk::models {

// Structures that an operation reaches.
constexpr u8 kTlb = 1;         // first-stage and combined leaves
constexpr u8 kGuestWalk = 2;   // first-stage and combined tables
constexpr u8 kNestedWalk = 4;  // second-stage tables
constexpr u8 kNestedTlb = 8;   // second-stage leaves
constexpr u8 kFirst = kTlb | kGuestWalk;
constexpr u8 kSecond = kNestedWalk | kNestedTlb;

// Which entries there, and how.
constexpr u16 kRoot = 1;      // only under this root
constexpr u16 kNested = 2;    // only what has a root at all: INVEPT spares linear mappings
constexpr u16 kVmid = 4;      // only of this VMID or VPID
constexpr u16 kHost = 8;      // only of VPID 0, whatever the request says
constexpr u16 kGuests = 16;   // only of other VPIDs than 0
constexpr u16 kAsid = 32;     // only of this ASID or PCID; or global
constexpr u16 kGlobals = 64;  // global entries, too
constexpr u16 kTables = 128;  // walk caches are searched by address as well; else by tags only
constexpr u16 kBroadcast = 256;
constexpr u16 kPosted = 512;  // the issuer goes on; SFENCE.INVAL.IR waits
constexpr u16 kVm = kVmid | kGlobals;
constexpr u16 kAddressSpace = kVmid | kAsid | kGlobals;
constexpr u16 kAsidAlone = kVmid | kAsid;

enum class By : u8 { Nothing, Virtual, GuestPhysical };

struct FenceRow {
  const char* name;
  FenceCost cost;
  u8 structures;
  u16 scope;
  By address;

  constexpr bool has(u16 flag) const { return (scope & flag) != 0; }
};

using Cost = FenceCost;
constexpr FenceRow kFenceRows[] = {
    {"invept single-context", Cost::InveptSingle, kFirst | kSecond, kRoot | kGlobals, By::Nothing},
    {"invept all-context", Cost::InveptAll, kFirst | kSecond, kNested | kGlobals, By::Nothing},
    {"invvpid individual-address", Cost::InvvpidAddress, kFirst, kVm | kTables, By::Virtual},
    {"invvpid single-context", Cost::InvvpidContext, kFirst, kVm, By::Nothing},
    {"invvpid all-context", Cost::InvvpidContext, kFirst, kGuests | kGlobals, By::Nothing},
    {"invvpid single-context, retaining globals", Cost::InvvpidContext, kFirst, kVmid, By::Nothing},
    // INVLPG removes all paging-structure entries of the PCID (Intel SDM vol. 3A, "Operations that
    // Invalidate TLBs and Paging-Structure Caches"): no kTables.
    {"invlpg (guest)", Cost::Invlpg, kFirst, kAddressSpace, By::Virtual},
    {"mov cr3 (guest)", Cost::MovCr3, kFirst, kAsidAlone, By::Nothing},
    {"invlpg (host)", Cost::Invlpg, kFirst, kHost | kAsid | kGlobals, By::Virtual},
    {"mov cr3 (host)", Cost::MovCr3, kFirst, kHost | kAsid, By::Nothing},
    {"vm entry without vpid", Cost::Nothing, kFirst, kHost | kGlobals, By::Nothing},
    {"invpcid individual-address", Cost::InvpcidAddress, kFirst, kAsidAlone | kTables, By::Virtual},
    {"invpcid single-context", Cost::InvpcidContext, kFirst, kAsidAlone, By::Nothing},
    {"invpcid all-context", Cost::InvpcidContext, kFirst, kVm, By::Nothing},
    {"invpcid all-context, retaining globals", Cost::InvpcidContext, kFirst, kVmid, By::Nothing},

    // The R forms differ by the length of the request alone.
    {"tlbi ipas2e1", Cost::TlbiAddress, kSecond, kVm | kTables, By::GuestPhysical},
    {"tlbi ipas2e1is", Cost::TlbiAddressBroadcast, kSecond, kVm | kTables | kBroadcast,
     By::GuestPhysical},
    {"tlbi ipas2e1os", Cost::TlbiAddressBroadcast, kSecond, kVm | kTables | kBroadcast,
     By::GuestPhysical},
    {"tlbi ipas2le1", Cost::TlbiAddress, kNestedTlb, kVm, By::GuestPhysical},
    {"tlbi ipas2le1is", Cost::TlbiAddressBroadcast, kNestedTlb, kVm | kBroadcast,
     By::GuestPhysical},
    {"tlbi ipas2le1os", Cost::TlbiAddressBroadcast, kNestedTlb, kVm | kBroadcast,
     By::GuestPhysical},
    {"tlbi ripas2e1", Cost::TlbiRange, kSecond, kVm | kTables, By::GuestPhysical},
    {"tlbi ripas2e1is", Cost::TlbiRangeBroadcast, kSecond, kVm | kTables | kBroadcast,
     By::GuestPhysical},
    {"tlbi ripas2e1os", Cost::TlbiRangeBroadcast, kSecond, kVm | kTables | kBroadcast,
     By::GuestPhysical},
    {"tlbi ripas2le1", Cost::TlbiRange, kNestedTlb, kVm, By::GuestPhysical},
    {"tlbi ripas2le1is", Cost::TlbiRangeBroadcast, kNestedTlb, kVm | kBroadcast, By::GuestPhysical},
    {"tlbi ripas2le1os", Cost::TlbiRangeBroadcast, kNestedTlb, kVm | kBroadcast, By::GuestPhysical},
    {"tlbi vmalle1", Cost::TlbiContext, kFirst, kVm, By::Nothing},
    {"tlbi vmalle1is", Cost::TlbiContextBroadcast, kFirst, kVm | kBroadcast, By::Nothing},
    {"tlbi vmalle1os", Cost::TlbiContextBroadcast, kFirst, kVm | kBroadcast, By::Nothing},
    {"tlbi vmalls12e1", Cost::TlbiContext, kFirst | kSecond, kVm, By::Nothing},
    {"tlbi vmalls12e1is", Cost::TlbiContextBroadcast, kFirst | kSecond, kVm | kBroadcast,
     By::Nothing},
    {"tlbi vmalls12e1os", Cost::TlbiContextBroadcast, kFirst | kSecond, kVm | kBroadcast,
     By::Nothing},
    {"tlbi alle1", Cost::TlbiContext, kFirst | kSecond, kGlobals, By::Nothing},
    {"tlbi alle1is", Cost::TlbiContextBroadcast, kFirst | kSecond, kGlobals | kBroadcast,
     By::Nothing},
    {"tlbi alle1os", Cost::TlbiContextBroadcast, kFirst | kSecond, kGlobals | kBroadcast,
     By::Nothing},
    {"tlbi vae1", Cost::TlbiAddress, kFirst, kAddressSpace | kTables, By::Virtual},
    {"tlbi vae1is", Cost::TlbiAddressBroadcast, kFirst, kAddressSpace | kTables | kBroadcast,
     By::Virtual},
    {"tlbi vae1os", Cost::TlbiAddressBroadcast, kFirst, kAddressSpace | kTables | kBroadcast,
     By::Virtual},
    {"tlbi vaae1", Cost::TlbiAddress, kFirst, kVm | kTables, By::Virtual},
    {"tlbi vaae1is", Cost::TlbiAddressBroadcast, kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi vaae1os", Cost::TlbiAddressBroadcast, kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi vale1", Cost::TlbiAddress, kTlb, kAddressSpace, By::Virtual},
    {"tlbi vale1is", Cost::TlbiAddressBroadcast, kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi vale1os", Cost::TlbiAddressBroadcast, kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi vaale1", Cost::TlbiAddress, kTlb, kVm, By::Virtual},
    {"tlbi vaale1is", Cost::TlbiAddressBroadcast, kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi vaale1os", Cost::TlbiAddressBroadcast, kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi rvae1", Cost::TlbiRange, kFirst, kAddressSpace | kTables, By::Virtual},
    {"tlbi rvae1is", Cost::TlbiRangeBroadcast, kFirst, kAddressSpace | kTables | kBroadcast,
     By::Virtual},
    {"tlbi rvae1os", Cost::TlbiRangeBroadcast, kFirst, kAddressSpace | kTables | kBroadcast,
     By::Virtual},
    {"tlbi rvaae1", Cost::TlbiRange, kFirst, kVm | kTables, By::Virtual},
    {"tlbi rvaae1is", Cost::TlbiRangeBroadcast, kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi rvaae1os", Cost::TlbiRangeBroadcast, kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi rvale1", Cost::TlbiRange, kTlb, kAddressSpace, By::Virtual},
    {"tlbi rvale1is", Cost::TlbiRangeBroadcast, kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi rvale1os", Cost::TlbiRangeBroadcast, kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi rvaale1", Cost::TlbiRange, kTlb, kVm, By::Virtual},
    {"tlbi rvaale1is", Cost::TlbiRangeBroadcast, kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi rvaale1os", Cost::TlbiRangeBroadcast, kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi aside1", Cost::TlbiContext, kFirst, kAsidAlone, By::Nothing},
    {"tlbi aside1is", Cost::TlbiContextBroadcast, kFirst, kAsidAlone | kBroadcast, By::Nothing},
    {"tlbi aside1os", Cost::TlbiContextBroadcast, kFirst, kAsidAlone | kBroadcast, By::Nothing},
    {"tlbi vae2", Cost::TlbiAddress, 0, 0, By::Nothing},
    {"tlbi vae2is", Cost::TlbiAddressBroadcast, 0, kBroadcast, By::Nothing},
    {"tlbi vae2os", Cost::TlbiAddressBroadcast, 0, kBroadcast, By::Nothing},
    {"tlbi alle2", Cost::TlbiContext, 0, 0, By::Nothing},
    {"tlbi alle2is", Cost::TlbiContextBroadcast, 0, kBroadcast, By::Nothing},
    {"tlbi alle2os", Cost::TlbiContextBroadcast, 0, kBroadcast, By::Nothing},

    // With rs1, only leaf entries are ordered; with rs2, globals stay.
    {"hfence.vvma", Cost::HfenceVvmaAll, kFirst, kVm, By::Nothing},
    {"hfence.vvma rs1", Cost::HfenceVvmaAddress, kTlb, kVm, By::Virtual},
    {"hfence.vvma rs2", Cost::HfenceVvmaAll, kFirst, kAsidAlone, By::Nothing},
    {"hfence.vvma rs1, rs2", Cost::HfenceVvmaAddress, kTlb, kAsidAlone, By::Virtual},
    // A walk-cache entry of the first stage holds what a G-stage leaf made of a table's address: it
    // goes with that leaf.
    {"hfence.gvma", Cost::HfenceGvmaAll, kFirst | kSecond, kGlobals, By::Nothing},
    {"hfence.gvma rs2", Cost::HfenceGvmaAll, kFirst | kSecond, kVm, By::Nothing},
    {"hfence.gvma rs1", Cost::HfenceGvmaAddress, kFirst | kNestedTlb, kGlobals | kTables,
     By::GuestPhysical},
    {"hfence.gvma rs1, rs2", Cost::HfenceGvmaAddress, kFirst | kNestedTlb, kVm | kTables,
     By::GuestPhysical},
    // Svinval. Stores are visible when they are made, so SFENCE.W.INVAL has nothing to order.
    {"sfence.w.inval", Cost::Nothing, 0, kPosted, By::Nothing},
    {"hinval.vvma", Cost::Hinval, kFirst, kVm | kPosted, By::Nothing},
    {"hinval.vvma rs1", Cost::Hinval, kTlb, kVm | kPosted, By::Virtual},
    {"hinval.vvma rs2", Cost::Hinval, kFirst, kAsidAlone | kPosted, By::Nothing},
    {"hinval.vvma rs1, rs2", Cost::Hinval, kTlb, kAsidAlone | kPosted, By::Virtual},
    {"hinval.gvma", Cost::Hinval, kFirst | kSecond, kGlobals | kPosted, By::Nothing},
    {"hinval.gvma rs2", Cost::Hinval, kFirst | kSecond, kVm | kPosted, By::Nothing},
    {"hinval.gvma rs1", Cost::Hinval, kFirst | kNestedTlb, kGlobals | kTables | kPosted,
     By::GuestPhysical},
    {"hinval.gvma rs1, rs2", Cost::Hinval, kFirst | kNestedTlb, kVm | kTables | kPosted,
     By::GuestPhysical},
    {"sfence.inval.ir", Cost::SfenceInvalIr, 0, 0, By::Nothing},
    {"dsb", Cost::Dsb, 0, 0, By::Nothing},
    {"barrier", Cost::Nothing, 0, 0, By::Nothing},
};
static_assert(sizeof(kFenceRows) / sizeof(kFenceRows[0]) == kFenceKindCount);

}  // namespace nestwalk::models
