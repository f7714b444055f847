// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a mapping permits and what kind of memory it is.
#pragma once

#include <cstdint>

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::addrspace {

/// A set of permissions. `kUser` and `kGlobal` mean something in guest (stage-1) tables; a nested
/// table serves every privilege level of the guest, so nested formats accept and ignore `kUser`.
class Access {
 public:
  constexpr Access() = default;
  constexpr explicit Access(u8 bits) : bits_(bits) {}

  constexpr u8 bits() const { return bits_; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool has(Access wanted) const { return (bits_ & wanted.bits_) == wanted.bits_; }
  constexpr bool any_of(Access wanted) const { return (bits_ & wanted.bits_) != 0; }
  constexpr Access without(Access dropped) const {
    return Access(static_cast<u8>(bits_ & ~dropped.bits_));
  }

  friend constexpr Access operator|(Access a, Access b) {
    return Access(static_cast<u8>(a.bits_ | b.bits_));
  }
  friend constexpr Access operator&(Access a, Access b) {
    return Access(static_cast<u8>(a.bits_ & b.bits_));
  }
  friend constexpr bool operator==(Access, Access) = default;

 private:
  u8 bits_ = 0;
};

inline constexpr Access kNoAccess{};
inline constexpr Access kRead{1};
inline constexpr Access kWrite{2};
inline constexpr Access kExecute{4};
inline constexpr Access kUser{8};
inline constexpr Access kGlobal{16};
/// What a processor can ask for; the rest of a set describes the mapping.
inline constexpr Access kRwx = kRead | kWrite | kExecute;

/// Memory types by the behaviour that software relies on. A format encodes those that its
/// architecture has and refuses the others. (On a RISC-V machine without Svpbmt the platform's
/// physical memory attributes make device memory what it is: Device is accepted and writes
/// nothing.)
enum class MemoryType : u8 {
  WriteBack,       ///< ordinary cacheable memory
  WriteThrough,    ///< x86 WT; Arm Normal, write-through
  WriteProtected,  ///< x86 WP
  WriteCombining,  ///< x86 WC
  Uncached,        ///< x86 UC; Arm Normal Non-cacheable; RISC-V Svpbmt NC
  Device,          ///< x86 UC; Arm Device-nGnRnE; RISC-V Svpbmt IO
  DeviceNGnRE,     ///< Arm only, as are the next two
  DeviceNGRE,
  DeviceGRE,
  Other,  ///< read from a table, but none of the above (never encoded)
};
inline constexpr unsigned kMemoryTypeCount = static_cast<unsigned>(MemoryType::Other) + 1;

constexpr bool is_device(MemoryType type) {
  return type >= MemoryType::Device && type <= MemoryType::DeviceGRE;
}

struct MappingFlags {
  Access access{};
  MemoryType memory = MemoryType::WriteBack;

  friend constexpr bool operator==(MappingFlags, MappingFlags) = default;
};

const char* to_string(MemoryType type);
/// `READ | WRITE | DEVICE`; an empty set is `0x0`.
Text<96> to_text(MappingFlags flags);

}  // namespace nestwalk::addrspace
