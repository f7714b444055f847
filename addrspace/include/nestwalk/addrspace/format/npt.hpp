// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AMD-V's nested page tables: the host's long-mode tables (AMD APM vol. 2, 15.25 "Nested Paging").
// With memory encryption, the host's addresses have the C-bit where the Hal's have it; then
// `physical_bits` says how many there are with it.
#pragma once

#include "nestwalk/addrspace/format/long_mode.hpp"

namespace nestwalk::addrspace {

namespace svm {
struct Extension;
}

class Npt : public LongModeEntry<Hpa> {
 public:
  using Input = Gpa;
  using Extension = svm::Extension;

  /// As many levels as the host's own tables have: VMRUN keeps the host's paging mode.
  static constexpr Result<Geometry> geometry(unsigned levels) {
    return shape(levels, InputRule::Zero);
  }

  constexpr explicit Npt(const Capabilities& capabilities)
      : LongModeEntry(capabilities, capabilities.host_pat) {}

  constexpr Result<void> supports(const Geometry& shape) const {
    return detail::is_within(shape, geometry(shape.levels));
  }
  constexpr Result<void> check(MappingFlags flags) const {
    if (flags.access.has(addrspace::kGlobal)) return Error::UnsupportedFlags;
    return check_common(flags);
  }
  /// Every guest access counts as a user access, so every entry carries U.
  constexpr u64 leaf(Hpa address, MappingFlags flags, unsigned level) const {
    return leaf_entry(address, flags, kUser, level);
  }
  constexpr MappingFlags flags(u64 entry, unsigned level) const {
    MappingFlags found = common_flags(entry, level);
    if ((entry & kUser) == 0) found.access = kNoAccess;  // it faults every access
    return found;
  }

  /// And bit 8, where leaves have G, is reserved in PML4 entries (5.3.3 "4-Kbyte Page
  /// Translation"), and in those above.
  constexpr bool malformed(u64 entry, unsigned level) const {
    return LongModeEntry::malformed(entry, level) || (level >= 3 && (entry & kGlobal) != 0);
  }

  constexpr unsigned id_bits() const { return capabilities_.vmid_bits; }

  /// nCR3; and the VMCB's quadword at 058h: the guest's ASID, and TLB_CONTROL (bits 39:32), which
  /// stays 0 unless a fence asks for more (svm::TlbControl).
  static constexpr RootConfig root_config(Hpa root, const Geometry&, VmId id) {
    return {root.value(), id.vmid};
  }
};

}  // namespace nestwalk::addrspace
