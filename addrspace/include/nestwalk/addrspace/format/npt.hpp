// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AMD-V's nested page tables: the host's long-mode tables (AMD APM vol. 2, 15.25 "Nested Paging").
// NX counts if the host has set EFER.NXE (15.25.7).
//
// Where the hypervisor's own memory is encrypted (7.10 "Secure Memory Encryption"), frames that it
// writes to have the C-bit in whatever leads to them: nCR3, entries of tables, leaves. Leaves of
// devices have not. The C-bit is not part of an address, on either side of the format. Where it is
// says CPUID; it is a parameter of the type, as the width of Arm's descriptors is, so that decoding
// stays a mask that the compiler knows. A guest with SEV has its own key for what its own tables
// call private; the nested tables' C-bit counts for the rest (15.34 "Secure Encrypted
// Virtualization").
#pragma once

#include "nestwalk/addrspace/format/long_mode.hpp"

namespace nestwalk::addrspace {

namespace svm {
struct Extension;
}

/// `kEncryptionBit` is the place of the C-bit; 0: nothing is encrypted.
template <unsigned kEncryptionBit>
class NptOf : public LongModeEntry<Hpa> {
 public:
  using Input = Gpa;
  using Extension = svm::Extension;

  static_assert(kEncryptionBit == 0 || (kEncryptionBit >= 32 && kEncryptionBit < 52));
  static constexpr u64 kEncrypted = kEncryptionBit == 0 ? 0 : u64{1} << kEncryptionBit;

  /// As many levels as the host's own tables have: VMRUN keeps the host's paging mode.
  static constexpr Result<Geometry> geometry(unsigned levels) {
    Result<Geometry> made = shape(levels, InputRule::Zero);
    if (made && kEncrypted != 0) made->output_bits = kEncryptionBit;
    return made;
  }

  constexpr explicit NptOf(const Capabilities& capabilities)
      : LongModeEntry(of_amd(capabilities), capabilities.host_pat) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    if (kEncrypted != 0 && capabilities_.encryption_bit != kEncryptionBit) {
      return Error::UnsupportedGeometry;
    }
    return detail::is_within(shape, geometry(shape.levels));
  }
  /// Write-combining is of memory or of a device's: with encryption nothing says which, so it is
  /// refused.
  constexpr Result<void> check(MappingFlags flags) const {
    if (flags.access.has(addrspace::kGlobal)) return Error::UnsupportedFlags;
    if (kEncrypted != 0 && flags.memory == MemoryType::WriteCombining) {
      return Error::UnsupportedFlags;
    }
    return check_common(flags);
  }
  /// Every guest access counts as a user access, so every entry carries U.
  constexpr u64 leaf(Hpa address, MappingFlags flags, unsigned level) const {
    return leaf_entry(address, flags, kUser | (is_device(flags.memory) ? 0 : kEncrypted), level);
  }
  static constexpr u64 table(Hpa address) { return LongModeEntry::table(address) | kEncrypted; }
  static constexpr Hpa address(u64 entry, unsigned level) {
    return LongModeEntry::address(entry & ~kEncrypted, level);
  }
  constexpr MappingFlags flags(u64 entry, unsigned level) const {
    MappingFlags found = common_flags(entry, level);
    // Uncached memory and devices have one type, and the C-bit tells which it is.
    if ((entry & kEncrypted) != 0 && found.memory == MemoryType::Device) {
      found.memory = MemoryType::Uncached;
    }
    if ((entry & kUser) == 0) found.access = kNoAccess;  // it faults every access
    return found;
  }

  constexpr bool malformed(u64 entry, unsigned level) const {
    return LongModeEntry::malformed(entry & ~kEncrypted, level);
  }

  constexpr unsigned id_bits() const { return capabilities_.vmid_bits; }

  /// nCR3, of which PWT and PCD are 0: walks are as entry 0 of the host's PAT says (VMRUN refuses
  /// its MBZ bits, 15.25.4, and an ASID of 0, 15.25.1); and the VMCB's quadword at 058h: the
  /// guest's ASID, and TLB_CONTROL (bits 39:32), which stays 0 unless a fence asks for more
  /// (svm::TlbControl).
  static constexpr RootConfig root_config(Hpa root, const Geometry&, VmId id) {
    return {root.value() | kEncrypted, id.vmid};
  }

 private:
  static constexpr Capabilities of_amd(Capabilities capabilities) {
    capabilities.upper_bit_8_reserved = true;
    return capabilities;
  }
};

using Npt = NptOf<0>;

}  // namespace nestwalk::addrspace
