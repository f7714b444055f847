// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The entries of x86-64 page tables: 4-level and 5-level paging (Intel SDM vol. 3A, "4-Level Paging
// and 5-Level Paging"; AMD APM vol. 2, "Long-Mode Page Translation"). Guests have them, and so have
// AMD's nested tables.
#pragma once

#include "nestwalk/addrspace/format/format.hpp"
#include "nestwalk/addrspace/format/memory_types.hpp"

namespace nestwalk::addrspace {

template <class To>
class LongModeEntry {
 public:
  using Output = To;

  static constexpr Architecture kArchitecture = Architecture::X86_64;
  static constexpr unsigned kPageShift = 12;
  static constexpr unsigned kIndexBits = 9;
  static constexpr unsigned kMaxLevels = 5;
  static constexpr bool kBreakBeforeMake = false;
  static constexpr bool kTablesLimit = true;

  static constexpr u64 kPresent = 1, kWrite = 2, kUser = 4;
  static constexpr u64 kAccessed = detail::bit(5), kDirty = detail::bit(6);
  static constexpr u64 kLarge = detail::bit(7), kGlobal = detail::bit(8);
  static constexpr u64 kNoExecute = detail::bit(63);

  // Bits 11:9 are ignored by the processor.
  static constexpr u64 kValid = kPresent;
  static constexpr u64 kOwned = detail::bit(9);
  static constexpr u64 kSoftDirty = detail::bit(10);
  static constexpr u64 kMarker = detail::bit(11);

  static constexpr u64 address_bits(To address) { return address.value(); }
  /// Tables permit everything; the leaf decides.
  static constexpr u64 table(To address) { return address.value() | kPresent | kWrite | kUser; }

  static constexpr bool is_valid(u64 entry, unsigned) { return (entry & kPresent) != 0; }
  static constexpr bool is_table(u64 entry, unsigned level) {
    return level != 0 && (entry & kLarge) == 0;
  }
  static constexpr To address(u64 entry, unsigned level) {
    const unsigned low = is_table(entry, level) ? kPageShift : kPageShift + kIndexBits * level;
    return To(entry & detail::bits(51, low));
  }
  /// Reserved bits, as a page fault with RSVD reports them. Bit 8, where leaves have G, is ignored
  /// in tables; AMD reserves it in PML4 and PML5 entries (APM 5.3.3 "4-Kbyte Page Translation").
  constexpr bool malformed(u64 entry, unsigned level) const {
    if ((entry & detail::bits(51, capabilities_.physical_bits)) != 0) return true;
    if (!capabilities_.execute_disable && (entry & kNoExecute) != 0) return true;
    if (capabilities_.upper_bit_8_reserved && level >= 3 && (entry & kGlobal) != 0) return true;
    if (level == 0 || is_table(entry, level)) return false;
    if (level > 2 || (capabilities_.leaf_levels >> level & 1) == 0) return true;
    return (entry & detail::bits(kPageShift + kIndexBits * level - 1, 13)) != 0;
  }

  static constexpr bool is_writable(u64 entry) { return (entry & kWrite) != 0; }
  static constexpr u64 without_write(u64 entry) { return entry & ~kWrite; }
  static constexpr bool is_dirty(u64 entry) { return (entry & kDirty) != 0; }
  static constexpr u64 cleaned(u64 entry) { return entry & ~kDirty; }
  static constexpr u64 dirtied(u64 entry) { return entry | kDirty; }

 protected:
  constexpr LongModeEntry(const Capabilities& capabilities, u64 pat)
      : capabilities_(capabilities), pat_(pat) {}

  static constexpr Result<Geometry> shape(unsigned levels, InputRule rule) {
    if (levels != 4 && levels != 5) return Error::UnsupportedGeometry;
    Geometry shape;
    shape.levels = static_cast<u8>(levels);
    shape.input_bits = static_cast<u8>(12 + 9 * levels);
    shape.output_bits = 52;
    shape.leaf_levels = 0b00111;
    shape.mode = static_cast<u8>(levels);
    shape.rule = rule;
    return shape;
  }

  /// A present page is always readable; execute-only and write-only do not exist.
  constexpr Result<void> check_common(MappingFlags flags) const {
    if (flags.access.any_of(addrspace::kWrite | addrspace::kExecute) &&
        !flags.access.has(addrspace::kRead)) {
      return Error::UnsupportedFlags;
    }
    if (pat_index(flags.memory) == 8) return Error::UnsupportedFlags;
    return {};
  }

  // A and D are set from the start, so that no machine writes to set them.
  constexpr u64 leaf_entry(To address, MappingFlags flags, u64 extra, unsigned level) const {
    const Access access = flags.access;
    return address.value() | kPresent | kAccessed | kDirty | extra |
           (access.has(addrspace::kWrite) ? kWrite : 0) |
           (access.has(addrspace::kExecute) ? 0 : kNoExecute) | (level != 0 ? kLarge : 0) |
           pat_bits(pat_index(flags.memory), level);
  }
  constexpr MappingFlags common_flags(u64 entry, unsigned level) const {
    Access access = addrspace::kRead;
    if ((entry & kWrite) != 0) access = access | addrspace::kWrite;
    if ((entry & kNoExecute) == 0) access = access | addrspace::kExecute;
    const u64 pat_bit = entry >> (level == 0 ? 7 : 12) & 1;
    const u64 index = pat_bit << 2 | (entry >> 3 & 3);
    return {access, kMemoryTypes.type(pat_ >> (8 * index) & 0xff)};
  }

  Capabilities capabilities_;

 private:
  // The codes of IA32_PAT. UC- (7) yields UC unless an MTRR says WC; read back as Device, as UC.
  static constexpr MemoryTypeTable kMemoryTypes = MemoryTypeTable({
      {MemoryType::Device, 0},
      {MemoryType::Uncached, 0},
      {MemoryType::WriteCombining, 1},
      {MemoryType::WriteThrough, 4},
      {MemoryType::WriteProtected, 5},
      {MemoryType::WriteBack, 6},
      {MemoryType::Device, 7},
  });

  constexpr unsigned pat_index(MemoryType type) const {
    const unsigned code = kMemoryTypes.code(type);
    return !kMemoryTypes.has(type) ? 8 : attribute_index(pat_, code);
  }
  // PWT is bit 3, PCD bit 4, PAT bit 7 of a 4 KiB page and bit 12 of a larger one.
  static constexpr u64 pat_bits(u64 index, unsigned level) {
    return (index & 3) << 3 | (index >> 2 & 1) << (level == 0 ? 7 : 12);
  }

  u64 pat_;
};

/// Guest tables.
class LongMode : public LongModeEntry<Gpa> {
 public:
  using Input = Gva;

  static constexpr Result<Geometry> geometry(unsigned levels) {
    return shape(levels, InputRule::Sign);
  }

  constexpr explicit LongMode(const Capabilities& capabilities, u64 pat = kResetPat)
      : LongModeEntry(capabilities, pat) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    return detail::is_within(shape, geometry(shape.levels));
  }
  constexpr Result<void> check(MappingFlags flags) const { return check_common(flags); }
  constexpr u64 leaf(Gpa address, MappingFlags flags, unsigned level) const {
    const u64 user = flags.access.has(addrspace::kUser) ? kUser : 0;
    const u64 global = flags.access.has(addrspace::kGlobal) ? kGlobal : 0;
    return leaf_entry(address, flags, user | global, level);
  }
  constexpr MappingFlags flags(u64 entry, unsigned level) const {
    MappingFlags found = common_flags(entry, level);
    if ((entry & kUser) != 0) found.access = found.access | addrspace::kUser;
    if ((entry & kGlobal) != 0) found.access = found.access | addrspace::kGlobal;
    return found;
  }

  static constexpr unsigned id_bits() { return 12; }  // PCID

  /// CR3: root and PCID.
  static constexpr u64 cr3(Gpa root, u16 pcid) { return root.value() | (pcid & low_mask(12)); }
};

}  // namespace nestwalk::addrspace
