// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AArch64 translation tables (Arm ARM D8, VMSAv8-64): stage 2 for the hypervisor, stage 1 for
// guests, with the three granules.
#pragma once

#include "nestwalk/addrspace/format/format.hpp"
#include "nestwalk/addrspace/format/memory_types.hpp"

namespace nestwalk::addrspace {

namespace stage2 {
struct Extension;
}

enum class Granule : u8 { k4K = 12, k16K = 14, k64K = 16 };

/// 52-bit addresses: FEAT_LPA with the 64K granule, FEAT_LPA2 (descriptors with DS = 1) otherwise.
enum class Width : u8 { k48, k52 };

/// What the descriptors of both stages share.
template <Granule kGranule, Width kWidth>
class VmsaEntry {
 public:
  static constexpr Architecture kArchitecture = Architecture::AArch64;
  static constexpr unsigned kPageShift = static_cast<unsigned>(kGranule);
  static constexpr unsigned kIndexBits = kPageShift - 3;
  static constexpr unsigned kMaxLevels =
      kGranule == Granule::k4K && kWidth == Width::k52 ? 5 : 4;  // LPA2 has a level -1
  // "Using break-before-make when updating translation table entries": a change of output
  // address, size or memory type goes through an invalid entry.
  static constexpr bool kBreakBeforeMake = true;
  static constexpr bool kTablesLimit = false;

  // Bits 58:55 are reserved for software.
  static constexpr u64 kValid = 1;
  static constexpr u64 kOwned = detail::bit(55);
  static constexpr u64 kSoftDirty = detail::bit(56);
  static constexpr u64 kMarker = detail::bit(57);

  static constexpr u64 kTableOrPage = detail::bit(1);
  static constexpr u64 kAccessed = detail::bit(10);
  static constexpr u64 kDirtyModifier = detail::bit(51);
  static constexpr u64 kContiguous = detail::bit(52);
  static constexpr u64 kGroup = kContiguous;

  /// At level 0 (Arm's level 3), 0b01 is reserved and faults; above, it is a block where the
  /// granule has blocks.
  static constexpr bool is_valid(u64 entry, unsigned level) {
    if ((entry & kValid) == 0) return false;
    return (entry & kTableOrPage) != 0 || (level != 0 && (kLeafLevels >> level & 1) != 0);
  }
  static constexpr bool is_table(u64 entry, unsigned level) {
    return level != 0 && (entry & kTableOrPage) != 0;
  }

  /// "The Contiguous bit": a hint, which does not change what the leaf itself translates. Of the
  /// block sizes that 52-bit descriptors add, no number of neighbours is defined.
  static constexpr unsigned neighbours(u64 leaf, unsigned level) {
    if ((leaf & kContiguous) == 0) return 0;
    if constexpr (kGranule == Granule::k4K) return level <= 2 ? 4 : 0;
    if constexpr (kGranule == Granule::k16K) return level == 0 ? 7 : level == 1 ? 5 : 0;
    return level <= 1 ? 5 : 0;
  }

  constexpr bool has_groups() const { return true; }
  static constexpr u64 grouped(u64 page) { return page | kContiguous; }

  /// An output address beyond the implemented size is an Address size fault.
  constexpr bool malformed(u64 entry, unsigned level) const {
    const u64 address = unpack(entry, is_table(entry, level) ? 0 : level);
    return (address & ~low_mask(capabilities_.physical_bits)) != 0;
  }

 protected:
  constexpr explicit VmsaEntry(const Capabilities& capabilities) : capabilities_(capabilities) {}

  // Where the hardware manages the dirty state, it grants the write and notes it in the entry.
  constexpr bool grants_by_modifier(u64 entry) const {
    return capabilities_.hardware_dirty && (entry & kDirtyModifier) != 0;
  }
  constexpr bool machine_has_granule() const {
    const u8 offered = kWidth == Width::k52 ? capabilities_.wide_granules : capabilities_.granules;
    return (offered >> (kPageShift - 12) / 2 & 1) != 0;
  }

  static constexpr bool kSplitAddress = kWidth == Width::k52;
  static constexpr bool kShareabilityInEntry = kGranule == Granule::k64K || !kSplitAddress;

  // Blocks: 1 GiB and 2 MiB; 32 MiB; 512 MiB. 52-bit descriptors add 512 GiB, 64 GiB and 4 TiB.
  static constexpr u8 leaf_levels() {
    if constexpr (kGranule == Granule::k4K) return kSplitAddress ? 0b1111 : 0b0111;
    return kSplitAddress ? 0b0111 : 0b0011;
  }
  static constexpr u8 kLeafLevels = leaf_levels();

  static constexpr Geometry shape(unsigned input_bits, unsigned levels, InputRule rule) {
    Geometry shape;
    shape.page_shift = kPageShift;
    shape.index_bits = kIndexBits;
    shape.levels = static_cast<u8>(levels);
    shape.root_index_bits = static_cast<u8>(input_bits - kPageShift - (levels - 1) * kIndexBits);
    shape.input_bits = static_cast<u8>(input_bits);
    shape.output_bits = kSplitAddress ? 52 : 48;
    shape.leaf_levels = static_cast<u8>(kLeafLevels & low_mask(levels));
    shape.rule = rule;
    return shape;
  }
  static constexpr bool offers(unsigned input_bits) {
    return input_bits >= 32 && input_bits <= (kSplitAddress ? 52u : 48u);
  }

  // Where 52-bit descriptors keep the upper bits: 64K has PA[51:48] in 15:12 (FEAT_LPA), the others
  // PA[51:50] in 9:8, where shareability was (FEAT_LPA2).
  static constexpr u64 pack(u64 address) {
    if constexpr (!kSplitAddress) return address;
    if constexpr (kGranule == Granule::k64K) {
      return (address & detail::bits(47, 16)) | (address >> 48 & 0xf) << 12;
    } else {
      return (address & detail::bits(49, 12)) | (address >> 50 & 3) << 8;
    }
  }
  static constexpr u64 unpack(u64 entry, unsigned level) {
    const unsigned low = kPageShift + kIndexBits * level;
    if constexpr (!kSplitAddress) return entry & detail::bits(47, low);
    if constexpr (kGranule == Granule::k64K) {
      return (entry & detail::bits(47, low)) | (entry >> 12 & 0xf) << 48;
    } else {
      return (entry & detail::bits(49, low)) | (entry >> 8 & 3) << 50;
    }
  }

  static constexpr u64 shareability(MemoryType type) {
    if constexpr (!kShareabilityInEntry) return 0;
    // Inner shareable; for what is not cacheable the field has no effect: always outer shareable.
    const bool cacheable = type == MemoryType::WriteBack || type == MemoryType::WriteThrough;
    return (cacheable ? u64{0b11} : u64{0b10}) << 8;
  }
  static constexpr u64 leaf_kind(unsigned level) {
    return kValid | (level == 0 ? kTableOrPage : 0);
  }

  Capabilities capabilities_;
};

/// Stage 2: IPA sizes of 32 to 48 bits, 52 with `Width::k52`.
template <Granule kGranule, Width kWidth = Width::k48>
class Stage2 : public VmsaEntry<kGranule, kWidth> {
  using Entry = VmsaEntry<kGranule, kWidth>;

 public:
  using Input = Gpa;
  using Output = Hpa;
  using Extension = stage2::Extension;

  static constexpr u64 kReadable = detail::bit(6);  // S2AP[0]
  static constexpr u64 kWritable = detail::bit(7);  // S2AP[1]
  static constexpr u64 kExecuteNever = detail::bit(54);

  /// The fewest levels that do with at most 16 concatenated root tables ("Concatenated translation
  /// tables"), so that walks are as short as the architecture allows.
  static constexpr Result<Geometry> geometry(unsigned ipa_bits) {
    if (!Entry::offers(ipa_bits)) return Error::UnsupportedGeometry;
    constexpr unsigned kConcatenationBits = 4;
    const unsigned resolved = ipa_bits - Entry::kPageShift - kConcatenationBits;
    const unsigned levels = (resolved + Entry::kIndexBits - 1) / Entry::kIndexBits;
    return Entry::shape(ipa_bits, levels, InputRule::Zero);
  }

  constexpr explicit Stage2(const Capabilities& capabilities) : Entry(capabilities) {}

  /// An IPA may not be wider than the implemented physical address.
  constexpr Result<void> supports(const Geometry& shape) const {
    if (!this->machine_has_granule()) return Error::UnsupportedGeometry;
    if (shape.input_bits > this->capabilities_.physical_bits) return Error::UnsupportedGeometry;
    return detail::is_within(shape, geometry(shape.input_bits));
  }

  constexpr Result<void> check(MappingFlags flags) const {
    if (!kMemoryTypes.has(flags.memory)) return Error::UnsupportedFlags;
    if (flags.access.has(addrspace::kGlobal)) return Error::UnsupportedFlags;
    return {};
  }

  static constexpr u64 leaf(Hpa address, MappingFlags flags, unsigned level) {
    const u64 attributes = kMemoryTypes.code(flags.memory);
    return Entry::pack(address.value()) | Entry::leaf_kind(level) | attributes << 2 |
           (flags.access.has(kRead) ? kReadable : 0) | (flags.access.has(kWrite) ? kWritable : 0) |
           (flags.access.has(kExecute) ? 0 : kExecuteNever) | Entry::shareability(flags.memory) |
           Entry::kAccessed;
  }
  static constexpr u64 address_bits(Hpa address) { return Entry::pack(address.value()); }
  static constexpr u64 table(Hpa address) {
    return Entry::pack(address.value()) | Entry::kValid | Entry::kTableOrPage;
  }
  static constexpr Hpa address(u64 entry, unsigned level) {
    return Hpa(Entry::unpack(entry, Entry::is_table(entry, level) ? 0 : level));
  }
  constexpr MappingFlags flags(u64 entry, unsigned) const {
    Access access;
    if ((entry & kReadable) != 0) access = access | kRead;
    if ((entry & kWritable) != 0 || this->grants_by_modifier(entry)) access = access | kWrite;
    if ((entry & kExecuteNever) == 0) access = access | kExecute;
    return {access, kMemoryTypes.type(entry >> 2 & 0xf)};
  }

  /// Writable, or writable-clean.
  static constexpr bool is_writable(u64 entry) {
    return (entry & (kWritable | Entry::kDirtyModifier)) != 0;
  }
  static constexpr u64 without_write(u64 entry) {
    return entry & ~(kWritable | Entry::kDirtyModifier);
  }
  static constexpr bool is_dirty(u64 entry) { return (entry & kWritable) != 0; }
  /// Writable-clean: DBM set, S2AP[1] clear ("Hardware management of the dirty state").
  static constexpr u64 cleaned(u64 entry) {
    return is_writable(entry) ? (entry & ~kWritable) | Entry::kDirtyModifier : entry;
  }
  /// A leaf that forbids writes has no dirty state: the bit would permit them.
  static constexpr u64 dirtied(u64 entry) { return is_writable(entry) ? entry | kWritable : entry; }

  constexpr unsigned id_bits() const { return this->capabilities_.vmid_bits; }

  /// VTTBR_EL2 and VTCR_EL2.
  constexpr RootConfig root_config(Hpa root, const Geometry& shape, VmId id) const {
    const u64 high_root = root.value() >> 48 << 2;  // BADDR[51:48] sit in bits 5:2
    const u64 base = (root.value() & detail::bits(47, 1)) | high_root;
    return {u64{id.vmid} << 48 | base, control_register(shape)};
  }

 private:
  // MemAttr[3:0] without FWB: outer and inner alike.
  static constexpr MemoryTypeTable kMemoryTypes = MemoryTypeTable({
      {MemoryType::Device, 0b0000},
      {MemoryType::DeviceNGnRE, 0b0001},
      {MemoryType::DeviceNGRE, 0b0010},
      {MemoryType::DeviceGRE, 0b0011},
      {MemoryType::Uncached, 0b0101},
      {MemoryType::WriteThrough, 0b1010},
      {MemoryType::WriteBack, 0b1111},
  });

  constexpr u64 control_register(const Geometry& shape) const {
    constexpr u64 kRes1 = detail::bit(31);
    constexpr u64 kCacheableWalks = u64{0b11} << 12 | u64{0b01} << 10 | u64{0b01} << 8;
    constexpr u64 kTg0 = kGranule == Granule::k4K ? 0 : kGranule == Granule::k64K ? 1 : 2;
    // SL0 counts from the level that the granule's shortest usual walk starts at.
    const unsigned start_level = 4u - shape.levels;
    const u64 sl0 = (kGranule == Granule::k4K ? 2u : 3u) - start_level;
    u64 value = kRes1 | kCacheableWalks | kTg0 << 14 | (64u - shape.input_bits) | sl0 << 6;
    value |= physical_size_code() << 16;
    if (this->capabilities_.vmid_bits > 8) value |= detail::bit(19);
    if (this->capabilities_.hardware_dirty) value |= detail::bit(21) | detail::bit(22);
    if (kWidth == Width::k52 && kGranule != Granule::k64K) value |= detail::bit(32);  // DS
    return value;
  }
  constexpr u64 physical_size_code() const {
    constexpr u8 kSizes[] = {32, 36, 40, 42, 44, 48, 52};
    constexpr u8 kWidest = kWidth == Width::k52 ? 52 : 48;
    u64 code = 0;
    for (u8 n = 0; n < 7; ++n) {
      if (kSizes[n] <= this->capabilities_.physical_bits && kSizes[n] <= kWidest) code = n;
    }
    return code;
  }
};

/// Which of the two halves of the virtual address space a stage-1 tree translates.
enum class VaHalf : u8 { Lower, Upper };

/// Stage 1 of EL1&0.
template <Granule kGranule, Width kWidth = Width::k48>
class Stage1 : public VmsaEntry<kGranule, kWidth> {
  using Entry = VmsaEntry<kGranule, kWidth>;

 public:
  using Input = Gva;
  using Output = Gpa;

  static constexpr u64 kUserAccess = detail::bit(6);  // AP[1]
  static constexpr u64 kReadOnly = detail::bit(7);    // AP[2]
  static constexpr u64 kNotGlobal = detail::bit(11);
  static constexpr u64 kPrivilegedExecuteNever = detail::bit(53);
  static constexpr u64 kUserExecuteNever = detail::bit(54);
  // APTable, UXNTable, PXNTable, of tables.
  static constexpr u64 kTablePrivilegedExecuteNever = detail::bit(59);
  static constexpr u64 kTableUserExecuteNever = detail::bit(60);
  static constexpr u64 kTableNoUser = detail::bit(61);
  static constexpr u64 kTableReadOnly = detail::bit(62);
  constexpr bool tables_limit() const { return this->capabilities_.tables_limit; }

  /// MAIR_EL1 with one attribute for each memory type that the architecture has.
  static constexpr u64 kDefaultMair = 0x00'0c'08'04'00'44'bb'ff;

  static constexpr Result<Geometry> geometry(unsigned va_bits, VaHalf half = VaHalf::Lower) {
    if (!Entry::offers(va_bits)) return Error::UnsupportedGeometry;
    const unsigned resolved = va_bits - Entry::kPageShift;
    const unsigned levels = (resolved + Entry::kIndexBits - 1) / Entry::kIndexBits;
    return Entry::shape(va_bits, levels, half == VaHalf::Upper ? InputRule::Ones : InputRule::Zero);
  }

  constexpr explicit Stage1(const Capabilities& capabilities, u64 mair = kDefaultMair)
      : Entry(capabilities), mair_(mair) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    const VaHalf half = shape.rule == InputRule::Ones ? VaHalf::Upper : VaHalf::Lower;
    if (!this->machine_has_granule()) return Error::UnsupportedGeometry;
    return detail::is_within(shape, geometry(shape.input_bits, half));
  }

  /// A valid entry is always readable by the privileged side.
  constexpr Result<void> check(MappingFlags flags) const {
    if (flags.access.any_of(kWrite | kExecute) && !flags.access.has(kRead)) {
      return Error::UnsupportedFlags;
    }
    if (attribute(flags.memory) == 8) return Error::UnsupportedFlags;
    return {};
  }

  constexpr u64 leaf(Gpa address, MappingFlags flags, unsigned level) const {
    const Access access = flags.access;
    const bool user = access.has(kUser);
    const bool execute = access.has(kExecute);
    return Entry::pack(address.value()) | Entry::leaf_kind(level) |
           u64{attribute(flags.memory)} << 2 | (user ? kUserAccess : 0) |
           (access.has(kWrite) ? 0 : kReadOnly) | Entry::shareability(flags.memory) |
           Entry::kAccessed | (access.has(kGlobal) ? 0 : kNotGlobal) |
           (execute && !user ? 0 : kPrivilegedExecuteNever) |
           (execute && user ? 0 : kUserExecuteNever);
  }
  static constexpr u64 address_bits(Gpa address) { return Entry::pack(address.value()); }
  static constexpr u64 table(Gpa address) {
    return Entry::pack(address.value()) | Entry::kValid | Entry::kTableOrPage;
  }
  static constexpr Gpa address(u64 entry, unsigned level) {
    return Gpa(Entry::unpack(entry, Entry::is_table(entry, level) ? 0 : level));
  }
  constexpr MappingFlags flags(u64 entry, unsigned) const {
    Access access = kRead;
    const bool user = (entry & kUserAccess) != 0;
    if ((entry & kReadOnly) == 0 || this->grants_by_modifier(entry)) access = access | kWrite;
    if (user) access = access | kUser;
    if ((entry & kNotGlobal) == 0) access = access | kGlobal;
    const u64 never = user ? kUserExecuteNever : kPrivilegedExecuteNever;
    if ((entry & never) == 0) access = access | kExecute;
    return {access, kMemoryTypes.type(mair_ >> (8 * (entry >> 2 & 7)) & 0xff)};
  }

  static constexpr bool is_writable(u64 entry) {
    return (entry & kReadOnly) == 0 || (entry & Entry::kDirtyModifier) != 0;
  }
  static constexpr u64 without_write(u64 entry) {
    return (entry | kReadOnly) & ~Entry::kDirtyModifier;
  }
  static constexpr bool is_dirty(u64 entry) { return (entry & kReadOnly) == 0; }
  static constexpr u64 cleaned(u64 entry) {
    return is_writable(entry) ? entry | kReadOnly | Entry::kDirtyModifier : entry;
  }
  /// A leaf that forbids writes has no dirty state: the bit would permit them.
  static constexpr u64 dirtied(u64 entry) {
    return is_writable(entry) ? entry & ~kReadOnly : entry;
  }

  static constexpr unsigned id_bits() { return 16; }

  /// TTBR0_EL1 or TTBR1_EL1.
  static constexpr u64 ttbr(Gpa root, u16 asid) {
    return u64{asid} << 48 | (root.value() & detail::bits(47, 1)) | root.value() >> 48 << 2;
  }
  constexpr u64 mair() const { return mair_; }

 private:
  // MAIR_EL1 codes.
  static constexpr MemoryTypeTable kMemoryTypes = MemoryTypeTable({
      {MemoryType::WriteBack, 0xff},
      {MemoryType::WriteThrough, 0xbb},
      {MemoryType::Uncached, 0x44},
      {MemoryType::Device, 0x00},
      {MemoryType::DeviceNGnRE, 0x04},
      {MemoryType::DeviceNGRE, 0x08},
      {MemoryType::DeviceGRE, 0x0c},
  });

  constexpr unsigned attribute(MemoryType type) const {
    const unsigned code = kMemoryTypes.code(type);
    return !kMemoryTypes.has(type) ? 8 : attribute_index(mair_, code);
  }

  u64 mair_;
};

}  // namespace nestwalk::addrspace
