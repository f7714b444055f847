// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The policies beside precise: thresholds, range instructions, Svinval, deferral, rules. What each
// issues for a change, derived from the manuals; and that it suffices.

#include <gmock/gmock.h>

#include <random>
#include <span>

#include "fence_coverage.hpp"
#include "nestwalk/addrspace/deferred.hpp"

namespace nestwalk::addrspace::fence_policy_test {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

using Fences = std::vector<Fence>;

#ifdef NESTWALK_SANITIZED
constexpr unsigned kOperations = 300;
#else
constexpr unsigned kOperations = 3000;
#endif

Capabilities machine_with(const FenceFeature& feature) {
  Capabilities machine = full_machine();
  machine.fences = &feature;
  return machine;
}

// VTCR_EL2 with nothing set: 4K granules (TG0 = 0).
constexpr VmTag kTag{0x501e, 0, 5};

Invalidation<Gpa> pages(u64 start, u64 count, unsigned leaf_shift = 12, VmTag tag = kTag) {
  Invalidation<Gpa> change(Cause::Unmap, tag, Gpa(start));
  change.note(Gpa(start), count << leaf_shift, leaf_shift, change::kUnmapped);
  return change;
}
Fences arm(const FencePolicy& policy, const Invalidation<Gpa>& change,
           const Capabilities& machine = machine_with(stage2::kTlbiRange)) {
  return fences_of<stage2::Extension>(policy, machine, change);
}
Fences riscv(const FencePolicy& policy, const Invalidation<Gpa>& change,
             const Capabilities& machine = machine_with(hext::kSvinval)) {
  return fences_of<hext::Extension>(policy, machine, change);
}
Fences arm_around(const Fences& by_address) {
  Fences all = {{stage2::kDsbIshst}};
  all.insert(all.end(), by_address.begin(), by_address.end());
  for (const FenceOp op : std::initializer_list<FenceOp>{stage2::kDsbIsh, stage2::kVmalle1.is,
                                                         stage2::kDsbIsh, stage2::kIsb}) {
    all.push_back({op});
  }
  return all;
}
Fences arm_whole() {
  return {{stage2::kDsbIshst}, {stage2::kVmalls12e1.is}, {stage2::kDsbIsh}, {stage2::kIsb}};
}

// Thresholds --------------------------------------------------------------------------------------

TEST(BatchedPolicy, takes_pages_one_by_one_up_to_its_threshold_and_then_the_vm) {
  FencePolicy two = FencePolicy::Batched;
  two.most_selective = 2;
  EXPECT_EQ(arm(two, pages(0x40000000, 2)),
            arm_around({{stage2::kIpas2le1.is, 0, 0x40000}, {stage2::kIpas2le1.is, 0, 0x40001}}));
  EXPECT_EQ(arm(two, pages(0x40000000, 3)), arm_whole());
  EXPECT_EQ(riscv(two, pages(0x40000000, 2)),
            (Fences{{hext::kGvmaAddressVmid.at_once, 5, 0x10000000},
                    {hext::kGvmaAddressVmid.at_once, 5, 0x10000400}}));
  EXPECT_EQ(riscv(two, pages(0x40000000, 3)), (Fences{{hext::kGvmaVmid.at_once, 5}}));
}

// Range instructions ------------------------------------------------------------------------------

// Arm ARM C5.5, TLBI RIPAS2LE1IS: TG [47:46] = 1, SCALE [45:44], NUM [43:39], BaseADDR [36:0].
TEST(RangePolicy, says_two_megabytes_of_pages_with_one_instruction) {
  // 512 pages = (7 + 1) * 2^(5 * 1 + 1): SCALE 1, NUM 7; IPA 0x40000000 is granule 0x40000.
  // 1 << 46 | 1 << 44 | 7 << 39 | 0x40000 = 0x4000'0000'0000 + 0x1000'0000'0000 + 0x380'0000'0000.
  EXPECT_EQ(arm(FencePolicy::Range, pages(0x40000000, 512)),
            arm_around({{stage2::kRipas2le1.is, 0, 0x5380'0004'0000}}));
}
TEST(RangePolicy, takes_an_odd_page_by_itself) {
  // 3 = (0 + 1) * 2^(5 * 0 + 1) + 1.
  EXPECT_EQ(arm(FencePolicy::Range, pages(0x40000000, 3)),
            arm_around({{stage2::kRipas2le1.is, 0, 0x4000'0004'0000},
                        {stage2::kIpas2le1.is, 0, 0x40002}}));
  EXPECT_EQ(arm(FencePolicy::Range, pages(0x40000000, 1)),
            arm_around({{stage2::kIpas2le1.is, 0, 0x40000}}));
}
TEST(RangePolicy, splits_what_one_scale_cannot_say) {
  // 2112 pages = 1 * 2^11 (SCALE 2, NUM 0) + 1 * 2^6 (SCALE 1, NUM 0).
  EXPECT_EQ(arm(FencePolicy::Range, pages(0, 2112)),
            arm_around({{stage2::kRipas2le1.is, 0, 0x6000'0000'0000},
                        {stage2::kRipas2le1.is, 0, 0x5000'0000'0800}}));
  // 16 GiB in leaves of 1 GiB are 2^22 pages = 2 * 32 * 2^16: SCALE 3, NUM 31, twice.
  EXPECT_EQ(arm(FencePolicy::Range, pages(0, 16, 30)),
            arm_around({{stage2::kRipas2le1.is, 0, 0x7f80'0000'0000},
                        {stage2::kRipas2le1.is, 0, 0x7f80'0020'0000}}));
}
TEST(RangePolicy, reaches_tables_with_the_form_for_all_levels) {
  Invalidation<Gpa> change = pages(0x200000, 512);
  change.note_table(Gpa(0x200000), 0x200000, 12);
  EXPECT_EQ(arm(FencePolicy::Range, change),
            arm_around({{stage2::kRipas2e1.is, 0, 0x5380'0000'0200}}));
}
TEST(RangePolicy, counts_granules_as_the_vm_has_them) {
  // VTCR_EL2.TG0 [15:14]: 1 is 64K, 2 is 16K; TG [47:46] of the operand: 3 and 2.
  EXPECT_EQ(arm(FencePolicy::Range, pages(0x40000000, 2, 16, {0, u64{1} << 14, 5})),
            arm_around({{stage2::kRipas2le1.is, 0, 0xc000'0000'4000}}));
  EXPECT_EQ(arm(FencePolicy::Range, pages(0x40000000, 2, 14, {0, u64{2} << 14, 5})),
            arm_around({{stage2::kRipas2le1.is, 0, 0x8000'0001'0000}}));
}
// With 52-bit descriptors of small granules BaseADDR counts 64 KiB: what begins elsewhere goes page
// by page up to there.
TEST(RangePolicy, begins_ranges_where_they_can_be_said) {
  const VmTag wide{0, u64{1} << 32, 5};  // VTCR_EL2.DS
  EXPECT_EQ(arm(FencePolicy::Range, pages(0x4000e000, 4, 12, wide)),
            arm_around({{stage2::kIpas2le1.is, 0, 0x4000e},
                        {stage2::kIpas2le1.is, 0, 0x4000f},
                        {stage2::kRipas2le1.is, 0, 0x4000'0000'4001}}));
}
TEST(RangePolicy, is_precise_where_the_machine_has_no_ranges) {
  const auto change = pages(0x40000000, 3);
  EXPECT_EQ(arm(FencePolicy::Range, change, full_machine()),
            arm(FencePolicy::Precise, change, full_machine()));
}

TEST(RangePolicy, covers_what_changed_and_nothing_else) {
  std::mt19937_64 random(1);
  for (const RangeEncoding encoding :
       {RangeEncoding{12, 12}, {14, 14}, {16, 16}, {12, 16}, {14, 16}}) {
    for (int n = 0; n < 2000; ++n) {
      const u64 granule = u64{1} << encoding.granule_shift;
      const u64 start = random() % (u64{1} << 30) * granule;
      u64 granules = 1 + random() % (u64{1} << (1 + random() % 24));
      u64 at = start;
      for_each_range(
          encoding, start, granules * granule,
          [&](u64 address) {
            EXPECT_EQ(address, at);
            at += granule;
          },
          [&](u64 operand) {
            EXPECT_EQ(operand >> 46, encoding.granule_shift / 2 - 5);
            EXPECT_EQ((operand & 0x1f'ffff'ffff) << encoding.base_shift, at);
            const u64 scale = operand >> 44 & 3, num = operand >> 39 & 31;
            at += ((num + 1) << (5 * scale + 1)) * granule;
          });
      ASSERT_EQ(at, start + granules * granule);
    }
  }
}

// Svinval -----------------------------------------------------------------------------------------

// RISC-V privileged spec, Svinval: SFENCE.W.INVAL; HINVAL.GVMA ...; SFENCE.INVAL.IR.
TEST(SvinvalPolicy, orders_and_waits_once_for_all_pages) {
  EXPECT_EQ(riscv(FencePolicy::Svinval, pages(0x40000000, 2)),
            (Fences{{hext::kSfenceWInval},
                    {hext::kGvmaAddressVmid.posted, 5, 0x10000000},
                    {hext::kGvmaAddressVmid.posted, 5, 0x10000400},
                    {hext::kSfenceInvalIr}}));
}
TEST(SvinvalPolicy, takes_the_vm_when_a_table_went) {
  Invalidation<Gpa> change = pages(0x200000, 1);
  change.note_table(Gpa(0x200000), 0x200000, 12);
  EXPECT_EQ(riscv(FencePolicy::Svinval, change),
            (Fences{{hext::kSfenceWInval}, {hext::kGvmaVmid.posted, 5}, {hext::kSfenceInvalIr}}));
}
TEST(SvinvalPolicy, issues_nothing_where_nothing_is_needed) {
  Capabilities machine = machine_with(hext::kSvinval);
  machine.caches_no_invalid = true;
  Invalidation<Gpa> change(Cause::MapLinear, kTag, Gpa(0));
  change.note(Gpa(0), kPage, 12, change::kMadeValid);
  EXPECT_THAT(riscv(FencePolicy::Svinval, change, machine), IsEmpty());
}
TEST(SvinvalPolicy, is_precise_where_the_machine_lacks_it) {
  const auto change = pages(0x40000000, 3);
  EXPECT_EQ(riscv(FencePolicy::Svinval, change, full_machine()),
            riscv(FencePolicy::Precise, change, full_machine()));
}

// Rules -------------------------------------------------------------------------------------------

class OwnRules : public ::testing::Test {
 protected:
  static FencePolicy policy(std::span<const FenceRule> rules) {
    FencePolicy own;
    own.source = FencePolicy::Source::Rules;
    own.rules = rules.data();
    own.rule_count = static_cast<u32>(rules.size());
    return own;
  }
};

TEST_F(OwnRules, name_instructions_for_each_leaf_or_once) {
  const FenceRule rules[] = {
      {.changes = change::kUnmapped,
       .issue = {{stage2::kDsbIshst, stage2::kIpas2e1.is, stage2::kDsbIsh}, 3}}};
  EXPECT_EQ(arm(policy(rules), pages(0x5000, 2)), (Fences{{stage2::kDsbIshst},
                                                          {stage2::kIpas2e1.is, 0, 5},
                                                          {stage2::kIpas2e1.is, 0, 6},
                                                          {stage2::kDsbIsh}}));
}
TEST_F(OwnRules, of_which_the_first_that_fits_counts) {
  const FenceRule rules[] = {
      {.changes = change::kUnmapped, .issue = {{hext::kGvmaAddressVmid.at_once}, 1}},
      {.changes = change::kUnmapped | change::kMadeValid, .issue = {{hext::kGvmaAll.at_once}, 1}}};
  EXPECT_EQ(riscv(policy(rules), pages(0x4000, 1)),
            (Fences{{hext::kGvmaAddressVmid.at_once, 5, 0x1000}}));
  Invalidation<Gpa> change = pages(0x4000, 1);
  change.note(Gpa(0x8000), kPage, 12, change::kMadeValid);
  change.note(Gpa(0xa000), kPage, 12, change::kMorePermission);
  EXPECT_EQ(riscv(policy(rules), change),
            (Fences{{hext::kGvmaAddressVmid.at_once, 5, 0x1000}, {hext::kGvmaAll.at_once}}));
}
TEST_F(OwnRules, issue_something_else_beyond_a_number_of_leaves) {
  const FenceRule rules[] = {{.changes = change::kUnmapped,
                              .issue = {{hext::kGvmaAddressVmid.at_once}, 1},
                              .most = 1,
                              .beyond = {{hext::kGvmaVmid.at_once}, 1}}};
  EXPECT_EQ(riscv(policy(rules), pages(0x4000, 1)),
            (Fences{{hext::kGvmaAddressVmid.at_once, 5, 0x1000}}));
  EXPECT_EQ(riscv(policy(rules), pages(0x4000, 2)), (Fences{{hext::kGvmaVmid.at_once, 5}}));
}
TEST_F(OwnRules, know_tables_and_the_operands_of_x86) {
  const FenceRule rules[] = {
      {.tables = true, .issue = {{vmx::kInveptSingle, vmx::kInvvpidSingle}, 2}}};
  Invalidation<Gpa> change(Cause::Unmap, kTag, Gpa(0));
  change.note_table(Gpa(0), 0x200000, 12);
  EXPECT_EQ(fences_of<vmx::Extension>(policy(rules), full_machine(), change),
            (Fences{{vmx::kInveptSingle, 0, 0x501e}, {vmx::kInvvpidSingle, 0, 5}}));
}

// Do they suffice? --------------------------------------------------------------------------------

template <class Shape>
class PolicyCoverage : public ::testing::Test {};
TYPED_TEST_SUITE(PolicyCoverage, NestedFormats);

TYPED_TEST(PolicyCoverage, batches_ranges_and_svinval_leave_nothing_stale) {
  u64 seed = 10;
  for (const FencePolicy* const policy :
       {&FencePolicy::Batched, &FencePolicy::Range, &FencePolicy::Svinval}) {
    Capabilities machine = full_machine();
    machine.fences = policy->feature;
    Workload<TypeParam> work(*policy, machine, ++seed);
    work.run(kOperations);
    EXPECT_THAT(work.adversary.findings, IsEmpty()) << policy->name;
  }
}

TEST(PolicyCoverageOfInvlpgb, leaves_nothing_stale) {
  Workload<NptFourLevels> work(FencePolicy::Precise, machine_with(svm::kInvlpgbTlbsync), 14);
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, IsEmpty());
}

TEST(PolicyNecessity, each_part_of_svinval_is_needed) {
  for (const FenceOp op :
       std::initializer_list<FenceOp>{hext::kSfenceWInval, hext::kGvmaAddressVmid.posted,
                                      hext::kGvmaVmid.posted, hext::kSfenceInvalIr}) {
    Workload<Sv39x4> work(FencePolicy::Svinval, machine_with(hext::kSvinval), 1,
                          [op](Fence& fence) { return fence.op != op; });
    work.run(kOperations);
    EXPECT_THAT(work.adversary.findings, Not(IsEmpty())) << to_text(Fence{op}).c_str();
  }
}
TEST(PolicyNecessity, a_shorter_range_leaves_something) {
  Workload<Stage2Of40Bits> work(FencePolicy::Range, machine_with(stage2::kTlbiRange), 1,
                                [](Fence& fence) {
                                  if (fence.op->operand == FenceOperand::IpaRange)
                                    fence.operand &= ~(u64{31} << 39);
                                  return true;
                                });
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, Not(IsEmpty()));
}

// Deferral ----------------------------------------------------------------------------------------

/// Random operations on a space whose fences wait, some of them at a time.
template <class Shape>
class DeferredWork {
 public:
  using F = typename Shape::Format;
  using Hal = DeferredHal<ObservingHal>;
  using Space = AddressSpace<F, Hal>;

  DeferredWork()
      : deferred(hal, F::kBreakBeforeMake),
        space(*Space::create(deferred, Shape::geometry(), Guest<Shape>::whole(), 5)),
        adversary(hal, space.page_table().geometry(), space.config().root,
                  space.page_table().tag()) {
    hal.observer = [this](const Event& event) {
      if (event.kind == Event::Kind::Store) adversary.on_store(event.at, event.before, event.after);
      if (event.kind == Event::Kind::Free) adversary.on_free(event.at, kFrameBytes << event.order);
      if (event.kind != Event::Kind::Invalidate) return;
      ++invalidations;
      for (const Fence& fence : fences_of<typename F::Extension>(
               FencePolicy::Deferred, hal.capabilities(), *event.invalidation)) {
        adversary.on_fence(fence);
      }
    };
  }
  ~DeferredWork() { hal.observer = nullptr; }

  void run(unsigned operations) {
    for (unsigned n = 0; n < operations && adversary.findings.empty(); ++n) {
      step();
      if (n % 7 != 0) continue;
      deferred.flush();
      adversary.settle();
    }
    space.clear();
    deferred.flush();
    adversary.settle();
  }

 private:
  void step() {
    const Gpa at(kGiB + random_() % 2048 * kPage);
    const u64 size = (1 + random_() % 40) * kPage;
    switch (random_() % 6) {
      case 0:
        return (void)space.map_alloc(at, size, kMemory, Backend::eager());
      case 1:
        return (void)space.map_alloc(Gpa(align_down(at.value(), 2 * kMiB)), 2 * kMiB, kMemory,
                                     Backend::eager(1));
      case 2:
      case 3:
        return (void)space.unmap(at, size);
      case 4:
        return (void)space.protect(at, size, random_() % 2 == 0 ? kReadOnlyMemory : kMemory);
      default:
        return (void)space.map_linear(at, Hpa(8 * kGiB + at.value()), size, kMemory);
    }
  }

  std::mt19937_64 random_{3};

 public:
  ObservingHal hal;
  Hal deferred;
  Space space;
  TlbAdversary<F> adversary;
  unsigned invalidations = 0;
};

template <class Shape>
class Deferral : public ::testing::Test {};
TYPED_TEST_SUITE(Deferral, NestedFormats);

TYPED_TEST(Deferral, leaves_nothing_stale_once_it_is_over_and_frees_nothing_before) {
  DeferredWork<TypeParam> work;
  work.run(kOperations);
  EXPECT_THAT(work.adversary.findings, IsEmpty());
  EXPECT_EQ(work.adversary.uses_after_free, 0u);
}

TYPED_TEST(Deferral, carries_out_several_operations_at_once) {
  DeferredWork<TypeParam> work;
  ASSERT_TRUE(work.space.map_alloc(Gpa(kGiB), 8 * kPage, kMemory, Backend::eager()).ok());
  work.deferred.flush();
  work.invalidations = 0;
  ASSERT_TRUE(work.space.unmap(Gpa(kGiB), kPage).ok());
  ASSERT_TRUE(work.space.unmap(Gpa(kGiB + 4 * kPage), kPage).ok());
  EXPECT_EQ(work.invalidations, 0u);
  const u64 frames = work.hal.arena().frames_in_use();
  work.deferred.flush();
  EXPECT_EQ(work.invalidations, 1u);
  EXPECT_EQ(work.hal.arena().frames_in_use(), frames - 2);
}

TYPED_TEST(Deferral, does_not_wait_when_more_frames_come_back_than_can_be_listed) {
  using Hal = typename DeferredWork<TypeParam>::Hal;
  DeferredWork<TypeParam> work;
  const u64 bytes = (Hal::kMostWaiting + 1) * kPage;
  ASSERT_TRUE(work.space.map_alloc(Gpa(kGiB), bytes, kMemory, Backend::eager()).ok());
  work.deferred.flush();
  work.invalidations = 0;
  ASSERT_TRUE(work.space.unmap(Gpa(kGiB), bytes).ok());
  EXPECT_EQ(work.invalidations, 1u);
  EXPECT_FALSE(work.deferred.pending());
}

// Arm ARM D8, "Using break-before-make".
TEST(DeferralOfBreaks, a_page_is_not_made_anew_before_the_old_one_is_gone) {
  DeferredWork<Stage2Of40Bits> work;
  ASSERT_TRUE(work.space.map_alloc(Gpa(kGiB), 2 * kPage, kMemory, Backend::eager()).ok());
  work.deferred.flush();
  work.invalidations = 0;
  ASSERT_TRUE(work.space.unmap(Gpa(kGiB), kPage).ok());
  EXPECT_EQ(work.invalidations, 0u);
  ASSERT_TRUE(work.space.map_linear(Gpa(kGiB), Hpa(8 * kGiB), kPage, kMemory).ok());
  EXPECT_EQ(work.invalidations, 1u);
  work.deferred.flush();
  work.adversary.settle();
  EXPECT_THAT(work.adversary.findings, IsEmpty());
}

TEST(Gathering, adds_each_run_once_and_counts_the_leaves) {
  Invalidation<Gpa> all = pages(0x4000, 2);
  all.gather(pages(0x1000, 1));
  all.gather(pages(0x4000, 2));
  EXPECT_EQ(all.leaves(), 3u);
  EXPECT_EQ(riscv(FencePolicy::Precise, all).size(), 3u);
}
TEST(Gathering, of_more_runs_than_can_be_listed_takes_the_vm) {
  Invalidation<Gpa> all = pages(0, 1);
  for (u64 n = 1; n <= Invalidation<Gpa>::kMaxRuns; ++n) all.gather(pages(n * 0x10000, 1));
  EXPECT_TRUE(all.whole());
  EXPECT_EQ(riscv(FencePolicy::Precise, all), (Fences{{hext::kGvmaVmid.at_once, 5}}));
  EXPECT_EQ(arm(FencePolicy::Range, all), arm_whole());
}

// Every other page, and one more than can be listed: the list reaches over a page that did not
// change.
TEST(PrecisePolicy, names_no_page_that_did_not_change) {
  constexpr u64 kListed = Invalidation<Gpa>::kMaxRuns;
  Invalidation<Gpa> change(Cause::Unmap, kTag, Gpa(0));
  const auto note = [&](u64 n) {
    change.note(Gpa(2 * n * kFrameBytes), kFrameBytes, 12, change::kUnmapped);
  };
  for (u64 n = 0; n < kListed; ++n) note(n);
  EXPECT_EQ(riscv(FencePolicy::Precise, change).size(), kListed);
  EXPECT_EQ(arm(FencePolicy::Precise, change).size(), arm_around({}).size() + kListed);
  note(kListed);
  EXPECT_EQ(riscv(FencePolicy::Precise, change), (Fences{{hext::kGvmaVmid.at_once, 5}}));
  EXPECT_EQ(arm(FencePolicy::Precise, change), arm_whole());
  // A range instruction may reach over the gap. The last run is of three pages, one more than a
  // range of two: two instructions.
  EXPECT_EQ(arm(FencePolicy::Range, change).size(), arm_around({}).size() + kListed - 1 + 2);
}

}  // namespace
}  // namespace nestwalk::addrspace::fence_policy_test
