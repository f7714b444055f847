// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What fences remove, a second time: written from the manuals as prose, one sentence per operation,
// sharing no code with the fence unit. The random test holds one against the other.
//
// Sources: Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"; vol.
// 3C, "Operations that Invalidate Cached Mappings"; Arm ARM D8, "TLB maintenance"; RISC-V
// privileged spec, "SFENCE.VMA", "Hypervisor Memory-Management Fence Instructions", "Svinval".
#pragma once

#include "nestwalk/models/fence_unit.hpp"

namespace nestwalk::models::prose {

enum class Kept : u8 { Leaf, GuestTable, NestedTable, NestedLeaf };

/// A cached translation with everything that the manuals know it by.
struct Entry {
  Kept kept = Kept::Leaf;
  Tag tag;
  u64 virtual_first = 0, virtual_bytes = 0;    ///< the first stage's own page, or what a table maps
  u64 physical_first = 0, physical_bytes = 0;  ///< likewise of the second stage; of a guest's
                                               ///< table, the page that it lies in
};

class Fence {
 public:
  explicit Fence(const FenceRequest& request) : f_(request) {}

  bool removes(const Entry& e) const {
    const bool second = e.kept == Kept::NestedTable || e.kept == Kept::NestedLeaf;
    const bool table = e.kept == Kept::NestedTable || e.kept == Kept::GuestTable;
    const bool vm = e.tag.vmid == f_.vmid;
    const bool space = e.tag.asid == f_.asid;  // a global entry is of no address space
    const bool global = e.tag.global;
    switch (f_.kind) {
      // "Guest-physical mappings and combined mappings associated with EPTP[51:12]."
      case FenceKind::InveptSingle:
        return e.tag.root != 0 && e.tag.root == (f_.root & 0x000f'ffff'ffff'f000);
      case FenceKind::InveptAll:
        return e.tag.root != 0;
      // "Linear and combined mappings of the VPID that would be used to translate the address, for
      // all PCIDs", global or not.
      case FenceKind::InvvpidAddress:
        return !second && vm && of_virtual(e);
      case FenceKind::InvvpidSingle:
        return !second && vm;
      // "All VPIDs except VPID 0000H."
      case FenceKind::InvvpidAll:
        return !second && e.tag.vmid != 0;
      case FenceKind::InvvpidSingleKeepGlobals:
        return !second && vm && !global;
      // "TLB entries for the page that are global or of the current PCID"; "all paging-structure
      // entries of the current PCID, regardless of the address".
      case FenceKind::InvlpgGuest:
        return !second && vm && (table ? space && !global : (space || global) && of_virtual(e));
      case FenceKind::InvlpgHost:
        return !second && e.tag.vmid == 0 &&
               (table ? space && !global : (space || global) && of_virtual(e));
      case FenceKind::MovCr3Guest:
        return !second && vm && space && !global;
      case FenceKind::MovCr3Host:
        return !second && e.tag.vmid == 0 && space && !global;
      case FenceKind::VmEntryWithoutVpid:
        return !second && e.tag.vmid == 0;
      case FenceKind::InvpcidAddress:
        return !second && vm && space && !global && of_virtual(e);
      case FenceKind::InvpcidSingle:
        return !second && vm && space && !global;
      case FenceKind::InvpcidAll:
        return !second && vm;
      case FenceKind::InvpcidAllKeepGlobals:
        return !second && vm && !global;

      // "Stage 2 only entries of the IPA, of any level" and "of the last level".
      case FenceKind::TlbiIpas2e1:
      case FenceKind::TlbiIpas2e1is:
      case FenceKind::TlbiIpas2e1os:
      case FenceKind::TlbiRipas2e1:
      case FenceKind::TlbiRipas2e1is:
      case FenceKind::TlbiRipas2e1os:
        return second && vm && of_physical(e);
      case FenceKind::TlbiIpas2le1:
      case FenceKind::TlbiIpas2le1is:
      case FenceKind::TlbiIpas2le1os:
      case FenceKind::TlbiRipas2le1:
      case FenceKind::TlbiRipas2le1is:
      case FenceKind::TlbiRipas2le1os:
        return second && !table && vm && of_physical(e);
      case FenceKind::TlbiVmalle1:
      case FenceKind::TlbiVmalle1is:
      case FenceKind::TlbiVmalle1os:
        return !second && vm;
      case FenceKind::TlbiVmalls12e1:
      case FenceKind::TlbiVmalls12e1is:
      case FenceKind::TlbiVmalls12e1os:
        return vm;
      case FenceKind::TlbiAlle1:
      case FenceKind::TlbiAlle1is:
      case FenceKind::TlbiAlle1os:
        return true;
      case FenceKind::TlbiVae1:
      case FenceKind::TlbiVae1is:
      case FenceKind::TlbiVae1os:
      case FenceKind::TlbiRvae1:
      case FenceKind::TlbiRvae1is:
      case FenceKind::TlbiRvae1os:
        return !second && vm && (space || global) && of_virtual(e);
      case FenceKind::TlbiVaae1:
      case FenceKind::TlbiVaae1is:
      case FenceKind::TlbiVaae1os:
      case FenceKind::TlbiRvaae1:
      case FenceKind::TlbiRvaae1is:
      case FenceKind::TlbiRvaae1os:
        return !second && vm && of_virtual(e);
      case FenceKind::TlbiVale1:
      case FenceKind::TlbiVale1is:
      case FenceKind::TlbiVale1os:
      case FenceKind::TlbiRvale1:
      case FenceKind::TlbiRvale1is:
      case FenceKind::TlbiRvale1os:
        return !second && !table && vm && (space || global) && of_virtual(e);
      case FenceKind::TlbiVaale1:
      case FenceKind::TlbiVaale1is:
      case FenceKind::TlbiVaale1os:
      case FenceKind::TlbiRvaale1:
      case FenceKind::TlbiRvaale1is:
      case FenceKind::TlbiRvaale1os:
        return !second && !table && vm && of_virtual(e);
      case FenceKind::TlbiAside1:
      case FenceKind::TlbiAside1is:
      case FenceKind::TlbiAside1os:
        return !second && vm && space && !global;
      // Another regime.
      case FenceKind::TlbiVae2:
      case FenceKind::TlbiVae2is:
      case FenceKind::TlbiVae2os:
      case FenceKind::TlbiAlle2:
      case FenceKind::TlbiAlle2is:
      case FenceKind::TlbiAlle2os:
        return false;

      // rs1: "leaf entries of the address"; rs2: "of the ASID, except global mappings".
      case FenceKind::VvmaAll:
      case FenceKind::HinvalVvmaAll:
        return !second && vm;
      case FenceKind::VvmaAddress:
      case FenceKind::HinvalVvmaAddress:
        return !second && !table && vm && of_virtual(e);
      case FenceKind::VvmaAsid:
      case FenceKind::HinvalVvmaAsid:
        return !second && vm && space && !global;
      case FenceKind::VvmaAddressAsid:
      case FenceKind::HinvalVvmaAddressAsid:
        return !second && !table && vm && space && !global && of_virtual(e);
      // Everything that the G-stage had a part in; rs1: "leaf entries". What is kept of a guest's
      // table holds the leaf that maps the table.
      case FenceKind::GvmaAll:
      case FenceKind::HinvalGvmaAll:
        return true;
      case FenceKind::GvmaVmid:
      case FenceKind::HinvalGvmaVmid:
        return vm;
      case FenceKind::GvmaAddress:
      case FenceKind::HinvalGvmaAddress:
        return e.kept != Kept::NestedTable && of_physical(e);
      case FenceKind::GvmaAddressVmid:
      case FenceKind::HinvalGvmaAddressVmid:
        return e.kept != Kept::NestedTable && vm && of_physical(e);

      case FenceKind::SfenceWInval:
      case FenceKind::SfenceInvalIr:
      case FenceKind::Dsb:
      case FenceKind::None:
        return false;
    }
    return false;
  }

 private:
  // Addresses here have no more than 59 bits and their sign is cut off.
  bool meets(u64 first, u64 bytes) const {
    const u64 address = f_.address & 0x07ff'ffff'ffff'ffff;
    return address < first + bytes && first < address + f_.bytes;
  }
  bool of_virtual(const Entry& e) const { return meets(e.virtual_first, e.virtual_bytes); }
  bool of_physical(const Entry& e) const { return meets(e.physical_first, e.physical_bytes); }

  const FenceRequest& f_;
};

}  // namespace nestwalk::models::prose
