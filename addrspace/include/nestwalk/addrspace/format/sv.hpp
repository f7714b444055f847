// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// RISC-V page tables (privileged architecture, "Sv39", "Sv48", "Sv57" and "Two-Stage Address
// Translation"): Sv39x4 and its larger kin for the G-stage, Sv39 and its larger kin for guests.
#pragma once

#include "nestwalk/addrspace/format/format.hpp"
#include "nestwalk/addrspace/format/memory_types.hpp"

namespace nestwalk::addrspace {

namespace hext {
struct Extension;
}

/// The entry format that both stages share.
class SvEntry {
 public:
  static constexpr Architecture kArchitecture = Architecture::RiscV64;
  static constexpr unsigned kPageShift = 12;
  static constexpr unsigned kIndexBits = 9;
  static constexpr unsigned kMaxLevels = 5;
  static constexpr bool kBreakBeforeMake = false;
  static constexpr bool kTablesLimit = false;

  static constexpr u64 kV = 1, kR = 2, kW = 4, kX = 8, kU = 16, kG = 32, kA = 64, kD = 128;
  static constexpr unsigned kPpnShift = 10, kPbmtShift = 61;
  static constexpr u64 kNapot = detail::bit(63);
  static constexpr unsigned kNapotBits = 4;
  static constexpr u64 kGroup = kNapot;

  // Bits 9:8 are RSW. An invalid entry leaves G to software as well.
  static constexpr u64 kValid = kV;
  static constexpr u64 kAccessed = kA;
  static constexpr u64 kOwned = detail::bit(8);
  static constexpr u64 kSoftDirty = detail::bit(9);
  static constexpr u64 kMarker = kG;

  static constexpr u64 table_entry(u64 address) { return address >> 2 | kV; }

  static constexpr bool is_valid(u64 entry, unsigned) { return (entry & kV) != 0; }
  static constexpr bool is_table(u64 entry, unsigned level) {
    return level != 0 && (entry & (kR | kW | kX)) == 0;
  }
  static constexpr bool is_writable(u64 entry) { return (entry & kW) != 0; }
  static constexpr u64 without_write(u64 entry) { return entry & ~kW; }
  static constexpr bool is_dirty(u64 entry) { return (entry & kD) != 0; }
  static constexpr u64 cleaned(u64 entry) { return entry & ~kD; }
  static constexpr u64 dirtied(u64 entry) { return entry | kD; }

  // "Svnapot": of all encodings, one is not reserved, which makes 64 KiB of pages.
  static constexpr unsigned neighbours(u64 leaf, unsigned) {
    return (leaf & kNapot) != 0 ? kNapotBits : 0;
  }
  /// "Implicit reads of a NAPOT PTE return a copy" with the lowest bits of the page's number in the
  /// place of the encoding.
  static constexpr u64 entry_at(u64 index, u64 entry) {
    if ((entry & kNapot) == 0) return entry;
    return (entry & ~kNapotEncoding) | (index << kPpnShift & kNapotEncoding);
  }

  constexpr bool has_groups() const { return capabilities_.napot_pages; }
  static constexpr u64 grouped(u64 page) { return (page & ~kNapotEncoding) | kNapotOf64K | kNapot; }

  constexpr bool malformed(u64 entry, unsigned level) const {
    if ((entry & detail::bits(60, 54)) != 0) return true;
    if ((entry & kNapot) != 0 && !is_napot(entry, level)) return true;
    const u64 pbmt = entry >> kPbmtShift & 3;
    if (pbmt == 3 || (pbmt != 0 && !capabilities_.page_memory_types)) return true;
    if ((entry & (kR | kW | kX)) == 0) {  // a pointer, which level 0 cannot have
      return level == 0 || pbmt != 0 || (entry & (kA | kD | kU)) != 0;
    }
    if ((entry & (kW | kR)) == kW) return true;
    return (leaf_address(entry, level) ^ entry_address(entry)) != 0;  // a misaligned superpage
  }

 protected:
  constexpr explicit SvEntry(const Capabilities& capabilities) : capabilities_(capabilities) {}

  static constexpr Geometry shape(unsigned levels, unsigned extra_root_bits, InputRule rule) {
    Geometry shape;
    shape.levels = static_cast<u8>(levels);
    shape.root_index_bits = static_cast<u8>(9 + extra_root_bits);
    shape.input_bits = static_cast<u8>(12 + 9 * levels + extra_root_bits);
    shape.output_bits = 56;
    shape.leaf_levels = static_cast<u8>(low_mask(levels));
    shape.mode = static_cast<u8>(levels + 5);  // MODE: 8 is Sv39, 9 Sv48, 10 Sv57
    shape.rule = rule;
    return shape;
  }

  constexpr Result<void> check_common(MappingFlags flags) const {
    if (!kMemoryTypes.has(flags.memory)) return Error::UnsupportedFlags;
    // Without Svpbmt the platform says what is a device, and memory cannot be made uncached.
    if (flags.memory == MemoryType::Uncached && !capabilities_.page_memory_types) {
      return Error::UnsupportedFlags;
    }
    // W without R is reserved for future use.
    if (flags.access.has(addrspace::kWrite) && !flags.access.has(addrspace::kRead)) {
      return Error::UnsupportedFlags;
    }
    return {};
  }

  // A and D are set from the start, so that no machine faults or writes to set them.
  constexpr u64 leaf_entry(u64 address, MappingFlags flags, u64 extra) const {
    // Without R, W and X it would be a pointer. A page without access is always parked, so R, which
    // then means nothing to the hardware, keeps it a leaf.
    const u64 rwx = flags.access.any_of(kRwx) ? u64{flags.access.bits()} & 7 : 1;
    const u64 pbmt = capabilities_.page_memory_types ? kMemoryTypes.code(flags.memory) : 0;
    return address >> 2 | kV | rwx << 1 | kA | kD | extra | pbmt << kPbmtShift;
  }
  static constexpr u64 entry_address(u64 entry) { return (entry & detail::bits(53, 10)) << 2; }
  static constexpr u64 leaf_address(u64 entry, unsigned level) {
    return entry_address(entry) & ~low_mask(kPageShift + kIndexBits * level);
  }
  static constexpr u64 any_address(u64 entry, unsigned level) {
    return is_table(entry, level) ? entry_address(entry) : leaf_address(entry, level);
  }
  static constexpr MappingFlags common_flags(u64 entry) {
    return {Access(static_cast<u8>(entry >> 1 & 7)), kMemoryTypes.type(entry >> kPbmtShift & 3)};
  }

  Capabilities capabilities_;

 private:
  static constexpr u64 kNapotEncoding = low_mask(kNapotBits) << kPpnShift;
  static constexpr u64 kNapotOf64K = u64{0b1000} << kPpnShift;
  constexpr bool is_napot(u64 entry, unsigned level) const {
    return capabilities_.napot_pages && level == 0 && (entry & kNapotEncoding) == kNapotOf64K;
  }

  // Svpbmt: 0 leaves the type to the physical memory attributes.
  static constexpr MemoryTypeTable kMemoryTypes = MemoryTypeTable(
      {{MemoryType::WriteBack, 0}, {MemoryType::Uncached, 1}, {MemoryType::Device, 2}});
};

/// G-stage tables: Sv39x4, Sv48x4, Sv57x4, each with a 16 KiB root.
class GStage : public SvEntry {
 public:
  using Input = Gpa;
  using Output = Hpa;
  using Extension = hext::Extension;

  static constexpr Result<Geometry> geometry(unsigned levels) {
    if (levels < 3 || levels > 5) return Error::UnsupportedGeometry;
    return shape(levels, 2, InputRule::Zero);
  }

  constexpr explicit GStage(const Capabilities& capabilities) : SvEntry(capabilities) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    return detail::is_within(shape, geometry(shape.levels));
  }
  constexpr Result<void> check(MappingFlags flags) const {
    if (flags.access.has(addrspace::kGlobal)) return Error::UnsupportedFlags;
    return check_common(flags);
  }
  /// Every guest access counts as a user access in the G-stage, so every leaf carries U.
  constexpr u64 leaf(Hpa address, MappingFlags flags, unsigned) const {
    return leaf_entry(address.value(), flags, kU);
  }
  static constexpr u64 address_bits(Hpa address) { return address.value() >> 2; }
  static constexpr u64 table(Hpa address) { return table_entry(address.value()); }
  static constexpr Hpa address(u64 entry, unsigned level) { return Hpa(any_address(entry, level)); }
  static constexpr MappingFlags flags(u64 entry, unsigned) {
    MappingFlags found = common_flags(entry);
    if ((entry & kU) == 0) found.access = kNoAccess;  // it faults every access
    return found;
  }

  constexpr unsigned id_bits() const {
    constexpr u8 kVmidMax = 14;
    return capabilities_.vmid_bits < kVmidMax ? capabilities_.vmid_bits : kVmidMax;
  }

  /// hgatp: MODE, VMID, PPN. The PPN's low two bits are 0: the root is 16 KiB, aligned.
  static constexpr RootConfig root_config(Hpa root, const Geometry& shape, VmId id) {
    return {u64{shape.mode} << 60 | (u64{id.vmid} & low_mask(14)) << 44 | root.value() >> 12, 0};
  }
};

/// Guest tables: Sv39, Sv48, Sv57.
class Sv : public SvEntry {
 public:
  using Input = Gva;
  using Output = Gpa;

  static constexpr Result<Geometry> geometry(unsigned levels) {
    if (levels < 3 || levels > 5) return Error::UnsupportedGeometry;
    return shape(levels, 0, InputRule::Sign);
  }

  constexpr explicit Sv(const Capabilities& capabilities) : SvEntry(capabilities) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    return detail::is_within(shape, geometry(shape.levels));
  }
  constexpr Result<void> check(MappingFlags flags) const { return check_common(flags); }
  constexpr u64 leaf(Gpa address, MappingFlags flags, unsigned) const {
    const u64 user = flags.access.has(addrspace::kUser) ? kU : 0;
    const u64 global = flags.access.has(addrspace::kGlobal) ? kG : 0;
    return leaf_entry(address.value(), flags, user | global);
  }
  static constexpr u64 address_bits(Gpa address) { return address.value() >> 2; }
  static constexpr u64 table(Gpa address) { return table_entry(address.value()); }
  static constexpr Gpa address(u64 entry, unsigned level) { return Gpa(any_address(entry, level)); }
  static constexpr MappingFlags flags(u64 entry, unsigned) {
    MappingFlags found = common_flags(entry);
    if ((entry & kU) != 0) found.access = found.access | addrspace::kUser;
    if ((entry & kG) != 0) found.access = found.access | addrspace::kGlobal;
    return found;
  }

  static constexpr unsigned id_bits() { return 16; }  // ASIDMAX

  /// satp: MODE, ASID, PPN.
  static constexpr u64 satp(Gpa root, const Geometry& shape, u16 asid) {
    return u64{shape.mode} << 60 | u64{asid} << 44 | root.value() >> 12;
  }
};

}  // namespace nestwalk::addrspace
