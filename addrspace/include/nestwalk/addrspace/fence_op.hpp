// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Instructions that invalidate translations, or order that, as data: one row for each. The rows
// themselves are in extension/, with the manual that they follow.
#pragma once

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::addrspace {

/// What an instruction takes.
enum class FenceOperand : u8 {
  None,
  Root,        ///< the root register
  Vpid,        ///< a VPID
  VpidLinear,  ///< a VPID and a linear address
  Linear,      ///< a linear address
  Ipa,         ///< an IPA >> 12
  IpaRange,    ///< a range of IPAs: fence_range.hpp
  Va,          ///< a virtual address >> 12, and an ASID above
  VaRange,     ///< a range of these, and an ASID above
  Asid,        ///< an ASID
  Hart,  ///< rs1: an address (a guest-physical one >> 2), rs2: a VMID or an ASID; or x0 for all
};

/// Which addresses an operation names.
enum class By : u8 { Nothing, Virtual, GuestPhysical };

/// What it orders, besides.
enum class FenceOrder : u8 {
  Nothing,
  Stores,     ///< before it are visible to page-table walks: DSB ISHST
  All,        ///< and fences before it are complete: DSB ISH
  OwnStores,  ///< as Stores, but only its own processor's walks wait: DSB NSHST
  OwnAll,     ///< and fences before it that are for this processor alone are complete: DSB NSH
  Context,    ///< what follows runs under what was changed: ISB
  Begin,      ///< stores before it come before the posted fences that follow: SFENCE.W.INVAL
  End,        ///< posted fences before it are complete: SFENCE.INVAL.IR
};

namespace fence {

// Structures that an operation reaches.
inline constexpr u8 kTlb = 1;         ///< first-stage and combined leaves
inline constexpr u8 kGuestWalk = 2;   ///< first-stage and combined tables
inline constexpr u8 kNestedWalk = 4;  ///< second-stage tables
inline constexpr u8 kNestedTlb = 8;   ///< second-stage leaves
inline constexpr u8 kFirst = kTlb | kGuestWalk;
inline constexpr u8 kSecond = kNestedWalk | kNestedTlb;

// Which entries there, and how.
inline constexpr u16 kRoot = 1;      ///< only under this root
inline constexpr u16 kNested = 2;    ///< only what has a root at all: INVEPT spares linear mappings
inline constexpr u16 kVmid = 4;      ///< only of this VMID or VPID
inline constexpr u16 kHost = 8;      ///< only of VPID 0, whatever the request says
inline constexpr u16 kGuests = 16;   ///< only of other VPIDs than 0
inline constexpr u16 kAsid = 32;     ///< only of this ASID or PCID; or global
inline constexpr u16 kGlobals = 64;  ///< global entries, too
inline constexpr u16 kTables = 128;  ///< walk caches are searched by address as well; else by tags
inline constexpr u16 kBroadcast = 256;   ///< it reaches the other processors by itself
inline constexpr u16 kPosted = 512;      ///< the issuer goes on; FenceOrder::End waits
inline constexpr u16 kUnordered = 2048;  ///< stores come before it by FenceOrder::Begin alone
/// A policy's rules may issue it for changed second-stage entries: its operands follow from these.
inline constexpr u16 kForChanges = 1024;
inline constexpr u16 kVm = kVmid | kGlobals;
inline constexpr u16 kAddressSpace = kVmid | kAsid | kGlobals;
inline constexpr u16 kAsidAlone = kVmid | kAsid;

}  // namespace fence

/// Makes what holds it uncopyable: the address of a row is its identity.
struct Unique {
  constexpr Unique() = default;
  Unique(const Unique&) = delete;
  Unique& operator=(const Unique&) = delete;
};

/// Operations that take the same time: a key of presets.
struct FenceCost {
  enum class Like : u8 {
    Nothing,
    Local,      ///< any that acts on its own processor
    Broadcast,  ///< any that broadcasts
  };
  const char* name;
  Like like;  ///< which general value holds where a preset has none for this
  [[no_unique_address]] Unique unique{};
};

struct FenceRow {
  Text<40> name;  ///< as an assembler listing shows it, without its operands
  FenceOperand operand = FenceOperand::None;
  const FenceCost* cost = nullptr;  ///< none: it takes no time
  u8 structures = 0;
  u16 scope = 0;
  By by = By::Nothing;
  FenceOrder order = FenceOrder::Nothing;
  const char* own_title = nullptr;   ///< where the name says too little
  const FenceRow* single = nullptr;  ///< of a range: the same for one page
  [[no_unique_address]] Unique unique{};

  constexpr bool has(u16 flag) const { return (scope & flag) != 0; }
  constexpr const char* title() const { return own_title != nullptr ? own_title : name.c_str(); }
  constexpr bool orders_only() const { return order != FenceOrder::Nothing; }
};

/// One of the rows, or none.
class FenceOp {
 public:
  constexpr FenceOp() = default;
  constexpr FenceOp(const FenceRow& row) : row_(&row) {}
  FenceOp(const FenceRow&&) = delete;

  /// Does it reach the other processors by itself?
  constexpr bool is_broadcast() const { return row_->has(fence::kBroadcast); }
  constexpr explicit operator bool() const { return row_ != nullptr; }
  constexpr const FenceRow& operator*() const { return *row_; }
  constexpr const FenceRow* operator->() const { return row_; }
  constexpr const FenceRow* row() const { return row_; }
  friend constexpr bool operator==(FenceOp, FenceOp) = default;

 private:
  const FenceRow* row_ = nullptr;
};

struct Fence {
  FenceOp op;
  u16 vmid = 0;  ///< VMID or VPID; of RISC-V's first stage, the ASID
  u64 operand = 0;
  friend constexpr bool operator==(const Fence&, const Fence&) = default;
};

/// As an assembler listing shows it, with the operand's value: `tlbi ipas2e1is, 0x10`.
Text<64> to_text(const Fence& fence);

}  // namespace nestwalk::addrspace
