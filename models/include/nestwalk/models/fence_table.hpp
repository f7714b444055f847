// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What each fence removes: one row per operation, in the order of FenceKind.
#pragma once

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
  u8 structures;
  u16 scope;
  By address;

  constexpr bool has(u16 flag) const { return (scope & flag) != 0; }
};

constexpr FenceRow kFenceRows[] = {
    {"invept single-context", kFirst | kSecond, kRoot | kGlobals, By::Nothing},
    {"invept all-context", kFirst | kSecond, kNested | kGlobals, By::Nothing},
    {"invvpid individual-address", kFirst, kVm | kTables, By::Virtual},
    {"invvpid single-context", kFirst, kVm, By::Nothing},
    {"invvpid all-context", kFirst, kGuests | kGlobals, By::Nothing},
    {"invvpid single-context, retaining globals", kFirst, kVmid, By::Nothing},
    // INVLPG removes all paging-structure entries of the PCID (Intel SDM vol. 3A, "Operations that
    // Invalidate TLBs and Paging-Structure Caches"): no kTables.
    {"invlpg (guest)", kFirst, kAddressSpace, By::Virtual},
    {"mov cr3 (guest)", kFirst, kAsidAlone, By::Nothing},
    {"invlpg (host)", kFirst, kHost | kAsid | kGlobals, By::Virtual},
    {"mov cr3 (host)", kFirst, kHost | kAsid, By::Nothing},
    {"vm entry without vpid", kFirst, kHost | kGlobals, By::Nothing},
    {"invpcid individual-address", kFirst, kAsidAlone | kTables, By::Virtual},
    {"invpcid single-context", kFirst, kAsidAlone, By::Nothing},
    {"invpcid all-context", kFirst, kVm, By::Nothing},
    {"invpcid all-context, retaining globals", kFirst, kVmid, By::Nothing},

    // The R forms differ by the length of the request alone.
    {"tlbi ipas2e1", kSecond, kVm | kTables, By::GuestPhysical},
    {"tlbi ipas2e1is", kSecond, kVm | kTables | kBroadcast, By::GuestPhysical},
    {"tlbi ipas2e1os", kSecond, kVm | kTables | kBroadcast, By::GuestPhysical},
    {"tlbi ipas2le1", kNestedTlb, kVm, By::GuestPhysical},
    {"tlbi ipas2le1is", kNestedTlb, kVm | kBroadcast, By::GuestPhysical},
    {"tlbi ipas2le1os", kNestedTlb, kVm | kBroadcast, By::GuestPhysical},
    {"tlbi ripas2e1", kSecond, kVm | kTables, By::GuestPhysical},
    {"tlbi ripas2e1is", kSecond, kVm | kTables | kBroadcast, By::GuestPhysical},
    {"tlbi ripas2e1os", kSecond, kVm | kTables | kBroadcast, By::GuestPhysical},
    {"tlbi ripas2le1", kNestedTlb, kVm, By::GuestPhysical},
    {"tlbi ripas2le1is", kNestedTlb, kVm | kBroadcast, By::GuestPhysical},
    {"tlbi ripas2le1os", kNestedTlb, kVm | kBroadcast, By::GuestPhysical},
    {"tlbi vmalle1", kFirst, kVm, By::Nothing},
    {"tlbi vmalle1is", kFirst, kVm | kBroadcast, By::Nothing},
    {"tlbi vmalle1os", kFirst, kVm | kBroadcast, By::Nothing},
    {"tlbi vmalls12e1", kFirst | kSecond, kVm, By::Nothing},
    {"tlbi vmalls12e1is", kFirst | kSecond, kVm | kBroadcast, By::Nothing},
    {"tlbi vmalls12e1os", kFirst | kSecond, kVm | kBroadcast, By::Nothing},
    {"tlbi alle1", kFirst | kSecond, kGlobals, By::Nothing},
    {"tlbi alle1is", kFirst | kSecond, kGlobals | kBroadcast, By::Nothing},
    {"tlbi alle1os", kFirst | kSecond, kGlobals | kBroadcast, By::Nothing},
    {"tlbi vae1", kFirst, kAddressSpace | kTables, By::Virtual},
    {"tlbi vae1is", kFirst, kAddressSpace | kTables | kBroadcast, By::Virtual},
    {"tlbi vae1os", kFirst, kAddressSpace | kTables | kBroadcast, By::Virtual},
    {"tlbi vaae1", kFirst, kVm | kTables, By::Virtual},
    {"tlbi vaae1is", kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi vaae1os", kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi vale1", kTlb, kAddressSpace, By::Virtual},
    {"tlbi vale1is", kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi vale1os", kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi vaale1", kTlb, kVm, By::Virtual},
    {"tlbi vaale1is", kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi vaale1os", kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi rvae1", kFirst, kAddressSpace | kTables, By::Virtual},
    {"tlbi rvae1is", kFirst, kAddressSpace | kTables | kBroadcast, By::Virtual},
    {"tlbi rvae1os", kFirst, kAddressSpace | kTables | kBroadcast, By::Virtual},
    {"tlbi rvaae1", kFirst, kVm | kTables, By::Virtual},
    {"tlbi rvaae1is", kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi rvaae1os", kFirst, kVm | kTables | kBroadcast, By::Virtual},
    {"tlbi rvale1", kTlb, kAddressSpace, By::Virtual},
    {"tlbi rvale1is", kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi rvale1os", kTlb, kAddressSpace | kBroadcast, By::Virtual},
    {"tlbi rvaale1", kTlb, kVm, By::Virtual},
    {"tlbi rvaale1is", kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi rvaale1os", kTlb, kVm | kBroadcast, By::Virtual},
    {"tlbi aside1", kFirst, kAsidAlone, By::Nothing},
    {"tlbi aside1is", kFirst, kAsidAlone | kBroadcast, By::Nothing},
    {"tlbi aside1os", kFirst, kAsidAlone | kBroadcast, By::Nothing},
    {"tlbi vae2", 0, 0, By::Nothing},
    {"tlbi vae2is", 0, kBroadcast, By::Nothing},
    {"tlbi vae2os", 0, kBroadcast, By::Nothing},
    {"tlbi alle2", 0, 0, By::Nothing},
    {"tlbi alle2is", 0, kBroadcast, By::Nothing},
    {"tlbi alle2os", 0, kBroadcast, By::Nothing},

    // With rs1, only leaf entries are ordered; with rs2, globals stay.
    {"hfence.vvma", kFirst, kVm, By::Nothing},
    {"hfence.vvma rs1", kTlb, kVm, By::Virtual},
    {"hfence.vvma rs2", kFirst, kAsidAlone, By::Nothing},
    {"hfence.vvma rs1, rs2", kTlb, kAsidAlone, By::Virtual},
    // A walk-cache entry of the first stage holds what a G-stage leaf made of a table's address: it
    // goes with that leaf.
    {"hfence.gvma", kFirst | kSecond, kGlobals, By::Nothing},
    {"hfence.gvma rs2", kFirst | kSecond, kVm, By::Nothing},
    {"hfence.gvma rs1", kFirst | kNestedTlb, kGlobals | kTables, By::GuestPhysical},
    {"hfence.gvma rs1, rs2", kFirst | kNestedTlb, kVm | kTables, By::GuestPhysical},
    // Svinval. Stores are visible when they are made, so SFENCE.W.INVAL has nothing to order.
    {"sfence.w.inval", 0, kPosted, By::Nothing},
    {"hinval.vvma", kFirst, kVm | kPosted, By::Nothing},
    {"hinval.vvma rs1", kTlb, kVm | kPosted, By::Virtual},
    {"hinval.vvma rs2", kFirst, kAsidAlone | kPosted, By::Nothing},
    {"hinval.vvma rs1, rs2", kTlb, kAsidAlone | kPosted, By::Virtual},
    {"hinval.gvma", kFirst | kSecond, kGlobals | kPosted, By::Nothing},
    {"hinval.gvma rs2", kFirst | kSecond, kVm | kPosted, By::Nothing},
    {"hinval.gvma rs1", kFirst | kNestedTlb, kGlobals | kTables | kPosted, By::GuestPhysical},
    {"hinval.gvma rs1, rs2", kFirst | kNestedTlb, kVm | kTables | kPosted, By::GuestPhysical},
    {"sfence.inval.ir", 0, 0, By::Nothing},
    {"dsb", 0, 0, By::Nothing},
    {"barrier", 0, 0, By::Nothing},
};
static_assert(sizeof(kFenceRows) / sizeof(kFenceRows[0]) == kFenceKindCount);

}  // namespace nestwalk::models
