// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What fences remove, a second time: written from the manuals as prose, one sentence per operation,
// sharing no code with the fence unit. The random test holds one against the other.
//
// Sources: AMD APM vol. 2, "TLB Control", and vol. 3, INVLPGA, INVLPGB; Intel SDM vol. 3A,
// "Operations that Invalidate TLBs and Paging-Structure Caches"; vol. 3C, "Operations that
// Invalidate Cached Mappings"; Arm ARM D8, "TLB maintenance"; RISC-V privileged spec, "SFENCE.VMA",
// "Hypervisor Memory-Management Fence Instructions", "Svinval".
#pragma once

#include "fence_names.hpp"

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
    const FenceOp op = f_.op;
    // "Guest-physical mappings and combined mappings associated with EPTP[51:12]."
    if (op == vmx::kInveptSingle) {
      return e.tag.root != 0 && e.tag.root == (f_.root & 0x000f'ffff'ffff'f000);
    }
    if (op == vmx::kInveptAll) {
      return e.tag.root != 0;
    }
    // "Linear and combined mappings of the VPID that would be used to translate the address, for
    // all PCIDs", global or not.
    if (op == vmx::kInvvpidAddress) {
      return !second && vm && of_virtual(e);
    }
    if (op == vmx::kInvvpidSingle) {
      return !second && vm;
    }
    // "All VPIDs except VPID 0000H."
    if (op == vmx::kInvvpidAll) {
      return !second && e.tag.vmid != 0;
    }
    if (op == vmx::kInvvpidSingleKeepGlobals) {
      return !second && vm && !global;
    }
    // "TLB entries for the page that are global or of the current PCID"; "all paging-structure
    // entries of the current PCID, regardless of the address".
    if (op == x86_64::kInvlpg) {
      return !second && vm && (table ? space && !global : (space || global) && of_virtual(e));
    }
    if (op == vmx::kInvlpg) {
      return !second && e.tag.vmid == 0 &&
             (table ? space && !global : (space || global) && of_virtual(e));
    }
    if (op == x86_64::kMovCr3) {
      return !second && vm && space && !global;
    }
    if (op == vmx::kMovCr3) {
      return !second && e.tag.vmid == 0 && space && !global;
    }
    if (op == vmx::kEntryWithoutVpid) {
      return !second && e.tag.vmid == 0;
    }
    if (op == x86_64::kInvpcidAddress) {
      return !second && vm && space && !global && of_virtual(e);
    }
    if (op == x86_64::kInvpcidSingle) {
      return !second && vm && space && !global;
    }
    if (op == x86_64::kInvpcidAll) {
      return !second && vm;
    }
    if (op == x86_64::kInvpcidAllKeepGlobals) {
      return !second && vm && !global;
    }

    // "Flushes the TLB for all ASIDs, for both global and non-global pages"; "this guest's TLB
    // entries"; "this guest's non-global TLB entries".
    if (op == svm::kVmrunAll) {
      return true;
    }
    if (op == svm::kVmrunAsid) {
      return vm;
    }
    if (op == svm::kVmrunAsidKeepGlobals) {
      return vm && !global;
    }
    // "The TLB mapping for a given virtual page and a given ASID".
    if (op == svm::kInvlpga) {
      return !second && vm && of_virtual(e);
    }
    // By ASID, globals included; bit 5: "nested translations", too.
    if (op == svm::kInvlpgb) {
      return !second && vm;
    }
    if (op == svm::kInvlpgbNested) {
      return vm;
    }

    // "Stage 2 only entries of the IPA, of any level" and "of the last level".
    if (is_one_of(op, {stage2::kIpas2e1.local, stage2::kIpas2e1.is, stage2::kIpas2e1.os,
                       stage2::kRipas2e1.local, stage2::kRipas2e1.is, stage2::kRipas2e1.os})) {
      return second && vm && of_physical(e);
    }
    if (is_one_of(op, {stage2::kIpas2le1.local, stage2::kIpas2le1.is, stage2::kIpas2le1.os,
                       stage2::kRipas2le1.local, stage2::kRipas2le1.is, stage2::kRipas2le1.os})) {
      return second && !table && vm && of_physical(e);
    }
    if (is_one_of(op, {stage2::kVmalle1.local, stage2::kVmalle1.is, stage2::kVmalle1.os})) {
      return !second && vm;
    }
    if (is_one_of(op,
                  {stage2::kVmalls12e1.local, stage2::kVmalls12e1.is, stage2::kVmalls12e1.os})) {
      return vm;
    }
    if (is_one_of(op, {stage2::kAlle1.local, stage2::kAlle1.is, stage2::kAlle1.os})) {
      return true;
    }
    if (is_one_of(op, {stage2::kVae1.local, stage2::kVae1.is, stage2::kVae1.os,
                       stage2::kRvae1.local, stage2::kRvae1.is, stage2::kRvae1.os})) {
      return !second && vm && (space || global) && of_virtual(e);
    }
    if (is_one_of(op, {stage2::kVaae1.local, stage2::kVaae1.is, stage2::kVaae1.os,
                       stage2::kRvaae1.local, stage2::kRvaae1.is, stage2::kRvaae1.os})) {
      return !second && vm && of_virtual(e);
    }
    if (is_one_of(op, {stage2::kVale1.local, stage2::kVale1.is, stage2::kVale1.os,
                       stage2::kRvale1.local, stage2::kRvale1.is, stage2::kRvale1.os})) {
      return !second && !table && vm && (space || global) && of_virtual(e);
    }
    if (is_one_of(op, {stage2::kVaale1.local, stage2::kVaale1.is, stage2::kVaale1.os,
                       stage2::kRvaale1.local, stage2::kRvaale1.is, stage2::kRvaale1.os})) {
      return !second && !table && vm && of_virtual(e);
    }
    if (is_one_of(op, {stage2::kAside1.local, stage2::kAside1.is, stage2::kAside1.os})) {
      return !second && vm && space && !global;
    }

    // rs1: "leaf entries of the address"; rs2: "of the ASID, except global mappings".
    if (is_one_of(op, {hext::kVvmaAll.at_once, hext::kVvmaAll.posted})) {
      return !second && vm;
    }
    if (is_one_of(op, {hext::kVvmaAddress.at_once, hext::kVvmaAddress.posted})) {
      return !second && !table && vm && of_virtual(e);
    }
    if (is_one_of(op, {hext::kVvmaAsid.at_once, hext::kVvmaAsid.posted})) {
      return !second && vm && space && !global;
    }
    if (is_one_of(op, {hext::kVvmaAddressAsid.at_once, hext::kVvmaAddressAsid.posted})) {
      return !second && !table && vm && space && !global && of_virtual(e);
    }
    // Everything that the G-stage had a part in; rs1: "leaf entries". What is kept of a guest's
    // table holds the leaf that maps the table.
    if (is_one_of(op, {hext::kGvmaAll.at_once, hext::kGvmaAll.posted})) {
      return true;
    }
    if (is_one_of(op, {hext::kGvmaVmid.at_once, hext::kGvmaVmid.posted})) {
      return vm;
    }
    if (is_one_of(op, {hext::kGvmaAddress.at_once, hext::kGvmaAddress.posted})) {
      return e.kept != Kept::NestedTable && of_physical(e);
    }
    if (is_one_of(op, {hext::kGvmaAddressVmid.at_once, hext::kGvmaAddressVmid.posted})) {
      return e.kept != Kept::NestedTable && vm && of_physical(e);
    }
    return false;  // of another regime, or a barrier
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
