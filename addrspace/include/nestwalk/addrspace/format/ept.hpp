// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86-64 extended page tables (Intel SDM vol. 3C, "The Extended Page Table Mechanism").
#pragma once

#include "nestwalk/addrspace/format/format.hpp"
#include "nestwalk/addrspace/format/memory_types.hpp"

namespace nestwalk::addrspace {

namespace vmx {
struct Extension;
}

class Ept {
 public:
  using Input = Gpa;
  using Output = Hpa;
  using Extension = vmx::Extension;

  static constexpr Architecture kArchitecture = Architecture::X86_64;
  static constexpr unsigned kPageShift = 12;
  static constexpr unsigned kIndexBits = 9;
  static constexpr unsigned kMaxLevels = 5;
  static constexpr bool kBreakBeforeMake = false;
  static constexpr bool kTablesLimit = true;

  static constexpr u64 kRead = 1, kWrite = 2, kExecute = 4;
  static constexpr u64 kLarge = detail::bit(7);
  static constexpr u64 kAccessed = detail::bit(8);
  static constexpr u64 kDirty = detail::bit(9);
  static constexpr unsigned kMemoryTypeShift = 3;

  // "Present" is any of read, write and execute; bits 62:52 are ignored by the processor but for
  // 61:57, which guest-paging, shadow-stack and sub-page controls use.
  static constexpr u64 kValid = kRead | kWrite | kExecute;
  static constexpr u64 kOwned = detail::bit(52);
  static constexpr u64 kSoftDirty = detail::bit(53);
  static constexpr u64 kMarker = detail::bit(54);

  /// 4 or 5 levels; EPT has no 3-level form.
  static constexpr Result<Geometry> geometry(unsigned levels) {
    if (levels != 4 && levels != 5) return Error::UnsupportedGeometry;
    Geometry shape;
    shape.levels = static_cast<u8>(levels);
    shape.input_bits = static_cast<u8>(12 + 9 * levels);
    shape.output_bits = 52;
    shape.leaf_levels = 0b00111;
    shape.mode = static_cast<u8>(levels - 1);  // EPTP bits 5:3: the walk length less 1
    return shape;
  }

  constexpr explicit Ept(const Capabilities& capabilities) : capabilities_(capabilities) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    return detail::is_within(shape, geometry(shape.levels));
  }

  constexpr Result<void> check(MappingFlags flags) const {
    if (!kMemoryTypes.has(flags.memory)) return Error::UnsupportedFlags;
    if (flags.access.has(addrspace::kGlobal)) return Error::UnsupportedFlags;
    return refuses(flags.access.bits() & kValid) ? Result<void>(Error::UnsupportedFlags)
                                                 : Result<void>();
  }

  static constexpr u64 leaf(Hpa address, MappingFlags flags, unsigned level) {
    const u64 type = kMemoryTypes.code(flags.memory);
    return address.value() | (flags.access.bits() & kValid) | type << kMemoryTypeShift |
           (level != 0 ? kLarge : 0);
  }
  static constexpr u64 address_bits(Hpa address) { return address.value(); }
  static constexpr u64 table(Hpa address) { return address.value() | kValid; }

  static constexpr bool is_valid(u64 entry, unsigned) { return (entry & kValid) != 0; }
  static constexpr bool is_table(u64 entry, unsigned level) {
    return level != 0 && (entry & kLarge) == 0;
  }
  static constexpr Hpa address(u64 entry, unsigned level) {
    const unsigned low = is_table(entry, level) ? kPageShift : kPageShift + kIndexBits * level;
    return Hpa(entry & detail::bits(51, low));
  }
  static constexpr MappingFlags flags(u64 entry, unsigned) {
    return {Access(static_cast<u8>(entry & kValid)),
            kMemoryTypes.type(entry >> kMemoryTypeShift & 7)};
  }

  /// "EPT Misconfigurations".
  constexpr bool malformed(u64 entry, unsigned level) const {
    if (refuses(entry & kValid)) return true;
    if ((entry & detail::bits(51, capabilities_.physical_bits)) != 0) return true;
    if (is_table(entry, level)) return (entry & detail::bits(6, 3)) != 0;
    if ((capabilities_.leaf_levels >> level & 1) == 0 || level > 2) return true;
    if (level != 0 && (entry & detail::bits(kPageShift + kIndexBits * level - 1, 12)) != 0) {
      return true;
    }
    return flags(entry, level).memory == MemoryType::Other;
  }

  static constexpr bool is_writable(u64 entry) { return (entry & kWrite) != 0; }
  static constexpr u64 without_write(u64 entry) { return entry & ~kWrite; }
  static constexpr bool is_dirty(u64 entry) { return (entry & kDirty) != 0; }
  static constexpr u64 cleaned(u64 entry) { return entry & ~kDirty; }
  static constexpr u64 dirtied(u64 entry) { return entry | kDirty; }

  static constexpr unsigned id_bits() { return 16; }  // VPID

  /// EPTP: write-back walks, walk length, accessed and dirty flags when the machine has them.
  constexpr RootConfig root_config(Hpa root, const Geometry& shape, VmId) const {
    constexpr u64 kWriteBackWalks = 6;
    const u64 track = capabilities_.hardware_dirty ? detail::bit(6) : 0;
    return {root.value() | u64{shape.mode} << 3 | track | kWriteBackWalks, 0};
  }

 private:
  // Memory types of bits 5:3, the most frequent first. UC serves Uncached and Device, and reads
  // back as Device.
  static constexpr MemoryTypeTable kMemoryTypes = MemoryTypeTable({
      {MemoryType::WriteBack, 6},
      {MemoryType::Device, 0},
      {MemoryType::Uncached, 0},
      {MemoryType::WriteCombining, 1},
      {MemoryType::WriteThrough, 4},
      {MemoryType::WriteProtected, 5},
  });

  // Write needs read; execute without read needs the capability.
  constexpr bool refuses(u64 rwx) const {
    if ((rwx & kRead) != 0) return false;
    return (rwx & kWrite) != 0 || ((rwx & kExecute) != 0 && !capabilities_.execute_only);
  }

  Capabilities capabilities_;
};

}  // namespace nestwalk::addrspace
