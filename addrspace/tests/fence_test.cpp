// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Do the fences suffice, for the worst processor that the architecture permits?

#include <gmock/gmock.h>

#include <optional>

#include "fence_coverage.hpp"
#include "nestwalk/addrspace/vmrun.hpp"

namespace nestwalk::addrspace::fence_test {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

#ifdef NESTWALK_SANITIZED
constexpr unsigned kOperations = 300;
#else
constexpr unsigned kOperations = 3000;
#endif

Capabilities tracking_machine() {
  Capabilities machine = full_machine();
  machine.hardware_dirty = true;
  return machine;
}

template <class Shape>
class FenceCoverage : public ::testing::Test {};
TYPED_TEST_SUITE(FenceCoverage, NestedFormats);

TYPED_TEST(FenceCoverage, precise_fences_leave_nothing_stale) {
  for (u64 seed = 1; seed <= 2; ++seed) {
    Workload<TypeParam> work(FencePolicy::Precise, full_machine(), seed);
    work.run(kOperations);
    EXPECT_THAT(work.adversary.findings, IsEmpty()) << "seed " << seed;
  }
}

TYPED_TEST(FenceCoverage, precise_fences_suffice_when_the_hardware_tracks_dirty_pages) {
  Workload<TypeParam> work(FencePolicy::Precise, tracking_machine(), 3);
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, IsEmpty());
}

TYPED_TEST(FenceCoverage, precise_fences_suffice_where_invalid_entries_are_not_cached) {
  Capabilities machine = full_machine();
  machine.caches_no_invalid = true;
  Workload<TypeParam> work(FencePolicy::Precise, machine, 4);
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, IsEmpty());
}

TYPED_TEST(FenceCoverage, whole_vm_fences_leave_nothing_stale) {
  Workload<TypeParam> work(FencePolicy::Context, full_machine(), 5);
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, IsEmpty());
}

// Groups of pages: RISC-V's NAPOT pages, Arm's contiguous bit.
using FormatsWithGroups = ::testing::Types<Stage2Of40Bits, Stage2Of48Bits, Sv39x4, Sv48x4>;
template <class Shape>
class GroupCoverage : public ::testing::Test {};
TYPED_TEST_SUITE(GroupCoverage, FormatsWithGroups);

TYPED_TEST(GroupCoverage, fences_leave_nothing_stale_and_no_group_in_part) {
  u64 seed = 0;
  for (const bool tracks : {false, true}) {
    for (const FencePolicy policy : {FencePolicy::Precise, FencePolicy::Context}) {
      Workload<TypeParam> work(policy, tracks ? tracking_machine() : full_machine(), ++seed);
      work.form_groups();
      work.run(kOperations);
      EXPECT_THAT(work.adversary.findings, IsEmpty()) << "seed " << seed;
      EXPECT_GT(work.adversary.groups_seen, 0u);
    }
  }
}
// Each fence is as necessary as without groups.
TYPED_TEST(GroupCoverage, without_fences_something_is_stale) {
  constexpr bool kRiscV = TypeParam::Format::kArchitecture == Architecture::RiscV64;
  const std::initializer_list<FenceOp> arm = {stage2::kIpas2le1.is, stage2::kVmalle1.is,
                                              stage2::kVmalls12e1.is};
  const std::initializer_list<FenceOp> riscv = {hext::kGvmaAddressVmid.at_once,
                                                hext::kGvmaVmid.at_once};
  for (const FenceOp op : kRiscV ? riscv : arm) {
    Workload<TypeParam> work(FencePolicy::Precise, full_machine(), 1,
                             [op](Fence& fence) { return fence.op != op; });
    work.form_groups();
    work.run(kOperations);
    EXPECT_THAT(work.adversary.findings, Not(IsEmpty())) << to_text(Fence{op}).c_str();
  }
}

// The fences of axaddrspace 0.3.0 are of the wrong kind everywhere: A1, A3, A6.
TYPED_TEST(FenceCoverage, the_fences_of_the_original_leave_stale_translations) {
  Workload<TypeParam> work(FencePolicy::Original030, full_machine(), 6);
  work.run(kOperations, true);
  EXPECT_GT(work.adversary.stale_hits, 0u);
  EXPECT_GT(work.adversary.uses_after_free, 0u);
}

// Precise means that each instruction is needed: without it, or with a narrower one, something
// stale is left in the same operations.
template <class Shape>
std::vector<std::string> findings_with(typename Workload<Shape>::Tamper tamper) {
  Workload<Shape> work(FencePolicy::Precise, full_machine(), 1, std::move(tamper));
  work.run(kOperations);
  return work.adversary.findings;
}
auto without(FenceOp op) {
  return [op](Fence& fence) { return fence.op != op; };
}
auto with(FenceOp from, FenceOp to) {
  return [=](Fence& fence) {
    if (fence.op == from) fence.op = to;
    return true;
  };
}

TEST(FenceNecessity, invept_is_needed_for_the_right_eptp) {
  EXPECT_THAT(findings_with<EptFourLevels>(without(vmx::kInveptSingle)), Not(IsEmpty()));
  const auto other_eptp = [](Fence& fence) {
    fence.operand ^= u64{1} << 20;
    return true;
  };
  EXPECT_THAT(findings_with<EptFourLevels>(other_eptp), Not(IsEmpty()));
}

TEST(FenceNecessity, a_flush_is_needed_for_the_right_asid_and_of_all_that_it_tags) {
  const auto other_asid = [](Fence& fence) {
    fence.operand ^= 1;
    return true;
  };
  EXPECT_THAT(findings_with<NptFourLevels>(without(svm::kVmrunAsid)), Not(IsEmpty()));
  EXPECT_THAT(findings_with<NptFourLevels>(other_asid), Not(IsEmpty()));
  for (const FenceOp op : std::initializer_list<FenceOp>{
           svm::kVmrunAsidKeepGlobals, svm::kInvlpga, svm::kInvlpgb, svm::kInvlpg, svm::kMovCr3}) {
    EXPECT_THAT(findings_with<NptFourLevels>(with(svm::kVmrunAsid, op)), Not(IsEmpty()))
        << to_text(Fence{op}).c_str();
  }
}
TEST(FenceNecessity, invlpgb_is_complete_at_tlbsync) {
  Capabilities machine = full_machine();
  machine.fences = &svm::kInvlpgbTlbsync;
  for (const FenceOp op : std::initializer_list<FenceOp>{svm::kInvlpgbNested, svm::kTlbsync}) {
    Workload<NptFourLevels> work(FencePolicy::Precise, machine, 1, without(op));
    work.run(kOperations);
    EXPECT_THAT(work.adversary.findings, Not(IsEmpty())) << to_text(Fence{op}).c_str();
  }
  Workload<NptFourLevels> work(FencePolicy::Precise, machine, 1);
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, IsEmpty());
}

TEST(FenceNecessity, each_instruction_of_the_aarch64_sequence_is_needed) {
  for (const FenceOp op : std::initializer_list<FenceOp>{
           stage2::kDsbIshst, stage2::kDsbIsh, stage2::kIsb, stage2::kIpas2e1.is,
           stage2::kIpas2le1.is, stage2::kVmalle1.is, stage2::kVmalls12e1.is}) {
    EXPECT_THAT(findings_with<Stage2Of40Bits>(without(op)), Not(IsEmpty()))
        << to_text(Fence{op}).c_str();
  }
}
TEST(FenceNecessity, a_last_level_invalidation_does_not_reach_a_freed_table) {
  EXPECT_THAT(findings_with<Stage2Of40Bits>(with(stage2::kIpas2e1.is, stage2::kIpas2le1.is)),
              Not(IsEmpty()));
}
TEST(FenceNecessity, an_aarch64_operand_is_a_page_number) {
  const auto unshifted = [](Fence& fence) {
    fence.operand <<= 12;
    return true;
  };
  EXPECT_THAT(findings_with<Stage2Of40Bits>(unshifted), Not(IsEmpty()));
}

TEST(FenceNecessity, each_riscv_fence_is_needed_for_the_right_vmid) {
  for (const FenceOp op :
       std::initializer_list<FenceOp>{hext::kGvmaAddressVmid.at_once, hext::kGvmaVmid.at_once}) {
    EXPECT_THAT(findings_with<Sv39x4>(without(op)), Not(IsEmpty())) << to_text(Fence{op}).c_str();
    const auto other_vmid = [op](Fence& fence) {
      if (fence.op == op) ++fence.vmid;
      return true;
    };
    EXPECT_THAT(findings_with<Sv39x4>(other_vmid), Not(IsEmpty()));
  }
}
TEST(FenceNecessity, a_riscv_operand_is_the_address_shifted_by_two) {
  const auto unshifted = [](Fence& fence) {
    fence.operand <<= 2;
    return true;
  };
  EXPECT_THAT(findings_with<Sv39x4>(unshifted), Not(IsEmpty()));
}
TEST(FenceNecessity, a_riscv_fence_for_an_address_does_not_reach_a_freed_table) {
  EXPECT_THAT(findings_with<Sv39x4>(with(hext::kGvmaVmid.at_once, hext::kGvmaAddressVmid.at_once)),
              Not(IsEmpty()));
}

// Cases that a random walk may miss ---------------------------------------------------------------

template <class Shape>
class FenceCases : public ::testing::Test {
 protected:
  FenceCases() : work(FencePolicy::Precise, full_machine(), 0), space(work.guest.space) {}
  std::vector<std::string> after(const Result<void>& done) {
    EXPECT_TRUE(done.ok());
    work.adversary.settle();
    return work.adversary.findings;
  }

  Workload<Shape> work;
  typename Guest<Shape>::Space& space;
};
TYPED_TEST_SUITE(FenceCases, NestedFormats);

TYPED_TEST(FenceCases, tables_below_a_table_that_goes_as_a_whole_are_reached) {
  // One page in each of two tables, and an area that covers all that their common parent does.
  ASSERT_TRUE(this->space.map_alloc(Gpa(kGiB), kGiB, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->space.handle_fault(Gpa(kGiB), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(this->space.handle_fault(Gpa(kGiB + 512 * kMiB), kRead), FaultOutcome::Mapped);
  EXPECT_THAT(this->after(this->space.unmap(Gpa(kGiB), kGiB)), IsEmpty());
}

// The group is broken: all of its pages go, are fenced, and 16 come back; then page 3 goes. With
// the fences for page 3 alone, what was cached of the group is there when the first page comes
// back.
TEST(GroupCases, a_change_of_a_part_breaks_the_group_before_it_makes_pages) {
  for (const bool tampers : {false, true}) {
    Workload<Stage2Of40Bits> work(FencePolicy::Precise, full_machine(), 0, [&](Fence& fence) {
      const bool by_page = fence.op == stage2::kIpas2le1.is;
      return !tampers || !by_page || fence.operand == (kGiB >> 12) + 3;
    });
    work.form_groups();
    auto& space = work.guest.space;
    ASSERT_TRUE(space.map_linear(Gpa(kGiB), Hpa(9 * kGiB), 16 * kPage, kMemory).ok());
    work.adversary.settle();
    EXPECT_EQ(work.adversary.groups_seen, 16u);
    ASSERT_TRUE(space.unmap(Gpa(kGiB + 3 * kPage), kPage).ok());
    work.adversary.settle();
    EXPECT_EQ(work.adversary.groups_seen, 16u);
    EXPECT_EQ(work.adversary.findings.empty(), !tampers);
  }
}

TYPED_TEST(FenceCases, a_larger_leaf_after_a_split_smaller_one_is_reached) {
  // 2 MiB before 1 GiB, one area; the unmapped part begins in the middle of the smaller leaf.
  ASSERT_TRUE(
      this->space
          .map_linear(Gpa(kGiB - 2 * kMiB), Hpa(9 * kGiB - 2 * kMiB), kGiB + 2 * kMiB, kMemory)
          .ok());
  EXPECT_THAT(this->after(this->space.unmap(Gpa(kGiB - kMiB), kGiB + kMiB)), IsEmpty());
}

TYPED_TEST(FenceCases, a_failed_map_is_taken_back_with_fences) {
  ASSERT_TRUE(this->space.map_alloc(Gpa(kGiB), kPage, kMemory, Backend::eager()).ok());
  this->work.adversary.settle();
  this->work.guest.hal.allocations_left = 3;
  EXPECT_EQ(this->space.map_alloc(Gpa(kGiB + kPage), 8 * kPage, kMemory, Backend::eager()),
            Result<void>(Error::NoMemory));
  this->work.adversary.settle();
  EXPECT_THAT(this->work.adversary.findings, IsEmpty());
}

TYPED_TEST(FenceCases, many_separate_pages_are_all_reached) {
  // More runs than an Invalidation holds: the last one is widened over the gaps.
  ASSERT_TRUE(this->space.map_alloc(Gpa(kGiB), 4 * kMiB, kMemory, Backend::lazy()).ok());
  for (u64 n = 0; n < 2 * Invalidation<Gpa>::kMaxRuns; ++n) {
    EXPECT_EQ(this->space.handle_fault(Gpa(kGiB + (4 * n + 1) * kPage), kRead),
              FaultOutcome::Mapped);
  }
  EXPECT_EQ(this->space.handle_fault(Gpa(kGiB + 4 * kMiB - kPage), kRead), FaultOutcome::Mapped);
  this->work.adversary.settle();
  EXPECT_THAT(this->after(this->space.unmap(Gpa(kGiB), 3 * kMiB)), IsEmpty());
}

// More runs than an Invalidation holds, and the last of them needs more than the others.
TYPED_TEST(FenceCases, a_table_without_visible_pages_is_reached_among_many_runs) {
  ASSERT_TRUE(this->space.map_alloc(Gpa(kGiB), 2 * kMiB, kMemory, Backend::lazy()).ok());
  for (u64 n = 0; n < 2 * Invalidation<Gpa>::kMaxRuns; ++n) {
    EXPECT_EQ(this->space.handle_fault(Gpa(kGiB + 4 * n * kPage), kRead), FaultOutcome::Mapped);
  }
  const Gpa second(kGiB + 2 * kMiB);
  ASSERT_TRUE(this->space.map_alloc(second, kPage, kHidden, Backend::eager()).ok());
  this->work.adversary.settle();
  // The first page stays, and so does the first table.
  EXPECT_THAT(this->after(this->space.unmap(Gpa(kGiB + kPage), 4 * kMiB - kPage)), IsEmpty());
}
TYPED_TEST(FenceCases, a_page_that_loses_permission_is_reached_among_many_that_gain) {
  for (u64 n = 0; n < 2 * Invalidation<Gpa>::kMaxRuns; ++n) {
    const MappingFlags flags = n < Invalidation<Gpa>::kMaxRuns + 4 ? kHidden : kMemory;
    const Gpa at(kGiB + 4 * n * kPage);
    ASSERT_TRUE(this->space.map_alloc(at, kPage, flags, Backend::eager()).ok());
  }
  this->work.adversary.settle();
  EXPECT_THAT(this->after(this->space.protect(Gpa(kGiB), 2 * kMiB, kReadOnlyMemory)), IsEmpty());
}

TYPED_TEST(FenceCases, pages_are_reached_among_many_runs_that_include_a_large_page) {
  constexpr u64 kRuns = Invalidation<Gpa>::kMaxRuns;
  const auto map = [&](Gpa at, u64 size) {
    ASSERT_TRUE(this->space.map_linear(at, Hpa(8 * kGiB + at.value()), size, kMemory).ok());
  };
  // The large page is the last run that fits; separate pages follow it.
  for (u64 n = 0; n < kRuns - 1; ++n) map(Gpa(kGiB + 4 * n * kPage), kPage);
  map(Gpa(kGiB + 2 * kMiB), 2 * kMiB);
  for (u64 n = 1; n < 8; ++n) map(Gpa(kGiB + 4 * kMiB + 4 * n * kPage), kPage);
  this->work.adversary.settle();
  EXPECT_THAT(this->after(this->space.protect(Gpa(kGiB), 6 * kMiB, kReadOnlyMemory)), IsEmpty());
}

TYPED_TEST(FenceCases, a_moved_page_is_not_found_where_it_was) {
  using Format = typename TypeParam::Format;
  ObservingHal hal;
  auto table = *PageTable<Format, ObservingHal>::create(hal, TypeParam::geometry());
  TlbAdversary<Format> adversary(hal, table.geometry(), table.root(), table.tag());
  hal.observer = [&](const Event& event) {
    if (event.kind == Event::Kind::Store) adversary.on_store(event.at, event.before, event.after);
    if (event.kind != Event::Kind::Invalidate) return;
    for (const Fence& fence : fences_of<typename Format::Extension>(
             FencePolicy::Precise, full_machine(), *event.invalidation)) {
      adversary.on_fence(fence);
    }
  };
  const GpaRange range = *GpaRange::make(Gpa(kGiB), 4 * kMiB);
  ASSERT_TRUE(table.map_region(range, Hpa(8 * kGiB), kMemory).ok());
  adversary.settle();
  const GpaRange part = *GpaRange::make(Gpa(kGiB + kMiB), 2 * kMiB);
  ASSERT_TRUE(table.remap_region(part, Hpa(9 * kGiB), kReadOnlyMemory).ok());
  adversary.settle();
  EXPECT_THAT(adversary.findings, IsEmpty());
  EXPECT_EQ(*table.translate(Gpa(kGiB + kMiB + 5)), Hpa(9 * kGiB + 5));
  hal.observer = nullptr;
}

TYPED_TEST(FenceCases, destroying_a_space_invalidates_before_it_frees) {
  using Space = typename Guest<TypeParam>::Space;
  ASSERT_TRUE(this->space.map_alloc(Gpa(kGiB), 8 * kPage, kMemory, Backend::eager()).ok());
  this->work.adversary.settle();
  { const Space dying(std::move(this->space)); }
  EXPECT_EQ(this->work.adversary.uses_after_free, 0u);
  EXPECT_EQ(this->work.guest.frames_in_use(), 0u);
}

// Intel SDM vol. 3D, "VPID and EPT Capabilities": bit 20 INVEPT, 25 of a single context, 26 of all.
TEST(FencePrecise, takes_all_contexts_where_invept_of_one_does_not_exist) {
  Invalidation<Gpa> change(Cause::Unmap, VmTag{0x501e, 0, 3}, Gpa(0));
  change.note(Gpa(0), kPage, 12, change::kUnmapped);
  const auto fences = [&](u64 bits) {
    return fences_of<vmx::Extension>(FencePolicy::Precise, capabilities_from_ept_vpid_cap(bits, 46),
                                     change);
  };
  constexpr u64 kInvept = 1 << 20, kSingle = 1 << 25, kAll = 1 << 26;
  EXPECT_EQ(fences(kInvept | kSingle | kAll),
            (std::vector<Fence>{{vmx::kInveptSingle, 0, 0x501e}}));
  EXPECT_EQ(fences(kInvept | kAll), (std::vector<Fence>{{vmx::kInveptAll}}));
}

// CPUID 8000000AH EDX bit 6: TLB_CONTROL 3 exists.
TEST(FencePrecise, takes_all_asids_where_no_single_one_can_be_flushed) {
  Invalidation<Gpa> change(Cause::Unmap, VmTag{0x5000, 3, 3}, Gpa(0));
  change.note(Gpa(0), kPage, 12, change::kUnmapped);
  Capabilities machine;
  EXPECT_EQ(fences_of<svm::Extension>(FencePolicy::Precise, machine, change),
            (std::vector<Fence>{{svm::kVmrunAll}}));
  machine.flush_by_asid = true;
  EXPECT_EQ(fences_of<svm::Extension>(FencePolicy::Precise, machine, change),
            (std::vector<Fence>{{svm::kVmrunAsid, 0, 3}}));
  machine.fences = &svm::kInvlpgbTlbsync;
  EXPECT_EQ(fences_of<svm::Extension>(FencePolicy::Precise, machine, change),
            (std::vector<Fence>{{svm::kInvlpgbNested, 0, 3}, {svm::kTlbsync}}));
}

// VMRUN reads one value: of several requests, the widest.
TEST(TlbControl, SaysTheWidestOfWhatVmrunHasToFlush) {
  svm::TlbControl control;
  const auto taken_after = [&](std::initializer_list<FenceOp> requests) {
    for (const FenceOp op : requests) EXPECT_TRUE(control.request({op, 0, 5}));
    return unsigned{control.take()};
  };
  EXPECT_EQ(taken_after({}), 0u);
  EXPECT_EQ(taken_after({svm::kVmrunAsidKeepGlobals}), 7u);
  EXPECT_EQ(taken_after({svm::kVmrunAsidKeepGlobals, svm::kVmrunAsid}), 3u);
  EXPECT_EQ(taken_after({svm::kVmrunAsid, svm::kVmrunAsidKeepGlobals}), 3u);
  EXPECT_EQ(taken_after({svm::kVmrunAll, svm::kVmrunAsid}), 1u);
  for (const FenceOp op : std::initializer_list<FenceOp>{svm::kInvlpga, svm::kInvlpgb,
                                                         svm::kInvlpgbNested, svm::kTlbsync}) {
    EXPECT_FALSE(control.request({op})) << to_text(Fence{op}).c_str();
  }
  EXPECT_EQ(control.take(), 0);
}

// Another processor's request meets a guest that runs already: that VMRUN has read its VMCB.
TEST(TlbControl, KeepsWhatIsRequestedWhileTheGuestRunsForTheNextVmrun) {
  svm::TlbControl control;
  EXPECT_TRUE(control.request({svm::kVmrunAll}));
  EXPECT_EQ(control.take(), 1);  // and now it runs
  EXPECT_TRUE(control.request({svm::kVmrunAsid, 0, 5}));
  EXPECT_EQ(control.take(), 3);
  EXPECT_EQ(control.take(), 0);
}

// A VMID in use again: what the guest's own tables left behind goes as well (Intel SDM vol. 3C,
// "Guidelines for Use of the INVVPID Instruction"; Arm ARM "TLBI VMALLS12E1"; RISC-V HFENCE.VVMA).
TEST(Retirement, removes_both_stages_of_the_vm) {
  const VmTag tag{0x501e, 0, 3};
  const auto fences = []<class E>(E, const VmTag& vm, const Capabilities& machine) {
    std::vector<Fence> found;
    emit_retirement<E>(machine, vm, [&](const Fence& fence) { found.push_back(fence); });
    return found;
  };
  const Capabilities full = full_machine();
  EXPECT_EQ(fences(vmx::Extension(), tag, full),
            (std::vector<Fence>{{vmx::kInveptSingle, 0, 0x501e}, {vmx::kInvvpidSingle, 0, 3}}));
  // VPID 0 is the host's: such a guest ran without, and every entry and exit flushed its own.
  EXPECT_EQ(fences(vmx::Extension(), {0x501e, 0, 0}, full),
            (std::vector<Fence>{{vmx::kInveptSingle, 0, 0x501e}}));
  EXPECT_EQ(fences(stage2::Extension(), tag, full),
            (std::vector<Fence>{
                {stage2::kDsbIshst}, {stage2::kVmalls12e1.is}, {stage2::kDsbIsh}, {stage2::kIsb}}));
  EXPECT_EQ(fences(hext::Extension(), tag, full),
            (std::vector<Fence>{{hext::kVvmaAll.at_once, 3}, {hext::kGvmaVmid.at_once, 3}}));
  // AMD APM vol. 2, "TLB Control": whatever is cached for a guest goes with its ASID.
  EXPECT_EQ(fences(svm::Extension(), tag, full), (std::vector<Fence>{{svm::kVmrunAsid, 0, 3}}));
  // A processor without INVVPID (EPT_VPID_CAP bit 32) would take an undefined-opcode exception.
  EXPECT_EQ(fences(vmx::Extension(), tag, capabilities_from_ept_vpid_cap(0, 46)),
            (std::vector<Fence>{{vmx::kInveptAll}}));
}

// All VMIDs at once. Intel SDM vol. 3C, "Operations that Invalidate Cached Mappings": INVVPID of
// all contexts removes linear and combined mappings of every VPID but 0, and no guest-physical
// ones, which are known by a root that nobody else gets. Arm ARM, "TLBI ALLE1IS": both stages of
// all VMIDs. RISC-V, "HFENCE.GVMA": with rs1 = rs2 = x0, of all virtual machines; HFENCE.VVMA acts
// on hgatp.VMID alone. AMD APM vol. 2, "TLB Flush": TLB_CONTROL 1 is for all ASIDs.
TEST(Rollover, removes_the_translations_of_all_vms) {
  const auto fences = []<class E>(E, const Capabilities& machine) {
    std::vector<Fence> found;
    emit_rollover<E>(machine, [&](const Fence& fence) { found.push_back(fence); });
    return found;
  };
  EXPECT_EQ(fences(vmx::Extension(), full_machine()), (std::vector<Fence>{{vmx::kInvvpidAll}}));
  EXPECT_EQ(fences(vmx::Extension(), capabilities_from_ept_vpid_cap(0, 46)),
            (std::vector<Fence>{}));
  EXPECT_EQ(fences(stage2::Extension(), full_machine()),
            (std::vector<Fence>{
                {stage2::kDsbIshst}, {stage2::kAlle1.is}, {stage2::kDsbIsh}, {stage2::kIsb}}));
  EXPECT_EQ(fences(hext::Extension(), full_machine()),
            (std::vector<Fence>{{hext::kGvmaAll.at_once}}));
  EXPECT_EQ(fences(svm::Extension(), full_machine()), (std::vector<Fence>{{svm::kVmrunAll}}));
}

// ASIDs and PCIDs are each virtual processor's own. Intel SDM vol. 3C, "INVVPID": a single context
// loses its linear and combined mappings, and VPID 0 keeps none beyond VM exits. Arm ARM, "TLBI
// VMALLE1": stage 1 of the current VMID, on this PE, complete after a DSB. RISC-V, "HFENCE.VVMA":
// with rs1 = rs2 = x0, all of hgatp's VMID.
TEST(VcpuSwitch, removes_what_the_guests_own_tables_translated) {
  const auto fences = []<class E>(E, u16 vmid) {
    std::vector<Fence> found;
    emit_vcpu_switch<E>(full_machine(), {0x501e, 0, vmid},
                        [&](const Fence& fence) { found.push_back(fence); });
    return found;
  };
  EXPECT_EQ(fences(vmx::Extension(), 3), (std::vector<Fence>{{vmx::kInvvpidSingle, 0, 3}}));
  EXPECT_EQ(fences(svm::Extension(), 3), (std::vector<Fence>{{svm::kVmrunAsid, 0, 3}}));
  EXPECT_EQ(fences(vmx::Extension(), 0), (std::vector<Fence>{}));
  EXPECT_EQ(fences(stage2::Extension(), 3),
            (std::vector<Fence>{{stage2::kVmalle1.local}, {stage2::kDsbIsh}, {stage2::kIsb}}));
  EXPECT_EQ(fences(hext::Extension(), 3), (std::vector<Fence>{{hext::kVvmaAll.at_once, 3}}));
}

TEST(Rollover, leaves_what_only_the_vmid_in_use_can_remove_to_its_first_entry) {
  const VmTag tag{0x501e, 0, 3};
  std::vector<Fence> found;
  const auto add = [&]<class... Extensions>(Extensions...) {
    (emit_first_entry<Extensions>(tag, [&](const Fence& fence) { found.push_back(fence); }), ...);
  };
  add(vmx::Extension(), svm::Extension(), stage2::Extension(), hext::Extension());
  EXPECT_EQ(found, (std::vector<Fence>{{hext::kVvmaAll.at_once, 3}}));
}

}  // namespace
}  // namespace nestwalk::addrspace::fence_test
