// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects A of axaddrspace: invalidations of the wrong kind, with the wrong operand, missing, or in
// the wrong order. Which instructions each change needs: Intel SDM vol. 3C, "Guidelines for Use of
// the INVEPT Instruction"; Arm ARM D8, "TLB maintenance"; RISC-V privileged spec, "Hypervisor
// Memory-Management Fence Instructions".

#include <gmock/gmock.h>

#include <algorithm>
#include <optional>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_fences_test {
namespace {

using ::testing::IsEmpty;

using Fences = std::vector<Fence>;
constexpr u16 kVmid = Guest<EptFourLevels>::kVmid;

/// One area of pages at 0x4001'0000, and a neighbour in the same table that keeps it alive.
template <class Shape>
class Pages16 : public Guest<Shape> {
 public:
  static constexpr Gpa kBase{0x40010000};

  explicit Pages16(const Capabilities& machine = full_machine()) : Guest<Shape>(machine) {
    EXPECT_TRUE(map(16 * kPage, kBase).ok());
    EXPECT_TRUE(map(kPage, Gpa(0x40000000)).ok());
    this->hal.invalidations.clear();
  }
  Result<void> map(u64 size, Gpa at) {
    return this->space.map_alloc(at, size, kMemory, Backend::eager());
  }
  Result<void> unmap(u64 size, Gpa at = kBase) { return this->space.unmap(at, size); }
  Result<void> protect(u64 size, MappingFlags flags) {
    return this->space.protect(kBase, size, flags);
  }
  Fences after(const Result<void>& done) {
    EXPECT_TRUE(done.ok());
    return this->fences();
  }
};

// x86-64: A6 --------------------------------------------------------------------------------------

class EptFences : public ::testing::Test {
 protected:
  // EPTP: the root, write-back (6), a walk of 4 levels (3 in bits 5:3); no A/D without capability.
  Fences invept() {
    return {{vmx::kInveptSingle, 0, guest.space.config().root.value() | 6 | 3 << 3}};
  }
  Pages16<EptFourLevels> guest;
};

TEST_F(EptFences, whatever_takes_something_away_is_one_invept_of_this_eptp) {  // A6
  EXPECT_EQ(guest.space.config().registers.root_register, invept()[0].operand);
  EXPECT_EQ(guest.after(guest.protect(kPage, kReadOnlyMemory)), invept());
  EXPECT_EQ(guest.after(guest.unmap(kPage)), invept());
  EXPECT_EQ(guest.after(guest.unmap(3 * kPage)), invept());
  EXPECT_EQ(guest.after(guest.unmap(2 * kMiB, Gpa(0x40000000))), invept());  // the table goes
}
TEST_F(EptFences, new_entries_and_more_permission_need_nothing) {  // A14
  EXPECT_THAT(guest.after(guest.map(kPage, Gpa(0x40100000))), IsEmpty());
  EXPECT_EQ(guest.after(guest.protect(kPage, kReadOnlyMemory)), invept());
  EXPECT_THAT(guest.after(guest.protect(kPage, kMemory)), IsEmpty());
  EXPECT_EQ(guest.space.handle_fault(Pages16<EptFourLevels>::kBase, kRead),
            FaultOutcome::AlreadyMapped);
  EXPECT_THAT(guest.fences(), IsEmpty());  // the EPT violation removed the stale entry
}
TEST_F(EptFences, more_than_512_pages_are_one_invept) {
  EXPECT_THAT(guest.after(guest.map(600 * kPage, Gpa(0x50000000))), IsEmpty());
  EXPECT_EQ(guest.after(guest.unmap(600 * kPage, Gpa(0x50000000))), invept());
}
TEST_F(EptFences, a_split_is_one_invept) {
  ASSERT_TRUE(guest.space.map_linear(Gpa(0x60000000), Hpa(0x60000000), 2 * kMiB, kMemory).ok());
  guest.fences();
  EXPECT_EQ(guest.after(guest.space.protect(Gpa(0x60001000), kPage, kCode)), invept());
}

// AArch64: A3, A4, A5 -----------------------------------------------------------------------------

Fence arm(FenceOp op, u64 operand = 0) { return {op, 0, operand}; }
/// The stores visible; the entries by IPA; all of that done; what was merged with stage 1; done.
Fences arm_sequence(FenceOp by_ipa, const std::vector<u64>& pages) {
  Fences all{arm(stage2::kDsbIshst)};
  for (const u64 page : pages) all.push_back(arm(by_ipa, page));
  for (const FenceOp op : std::initializer_list<FenceOp>{stage2::kDsbIsh, stage2::kVmalle1.is,
                                                         stage2::kDsbIsh, stage2::kIsb}) {
    all.push_back(arm(op));
  }
  return all;
}
Fences arm_publish() { return {arm(stage2::kDsbIshst), arm(stage2::kIsb)}; }
Fences arm_whole_vm() {
  return {arm(stage2::kDsbIshst), arm(stage2::kVmalls12e1.is), arm(stage2::kDsbIsh),
          arm(stage2::kIsb)};
}

template <class Shape>
class Stage2Fences : public ::testing::Test {
 protected:
  Pages16<Shape> guest;
};
using Stage2Shapes = ::testing::Types<Stage2Of40Bits, Stage2Of48Bits>;
TYPED_TEST_SUITE(Stage2Fences, Stage2Shapes);

TYPED_TEST(Stage2Fences, an_unmapped_page_is_taken_by_its_page_number) {  // A3, A4, A5
  EXPECT_EQ(this->guest.after(this->guest.unmap(kPage)),
            arm_sequence(stage2::kIpas2le1.is, {0x40010}));
}
TYPED_TEST(Stage2Fences, unmapped_pages_share_the_barriers) {
  EXPECT_EQ(this->guest.after(this->guest.unmap(3 * kPage)),
            arm_sequence(stage2::kIpas2le1.is, {0x40010, 0x40011, 0x40012}));
}
TYPED_TEST(Stage2Fences, a_table_that_goes_is_not_last_level_only) {
  ASSERT_TRUE(this->guest.map(kPage, Gpa(0x80010000)).ok());
  this->guest.fences();
  EXPECT_EQ(this->guest.after(this->guest.unmap(kPage, Gpa(0x80010000))),
            arm_sequence(stage2::kIpas2e1.is, {0x80010}));
}
TYPED_TEST(Stage2Fences, more_than_512_pages_take_the_whole_vm) {
  EXPECT_EQ(this->guest.after(this->guest.map(600 * kPage, Gpa(0x50000000))), arm_publish());
  EXPECT_EQ(this->guest.after(this->guest.unmap(600 * kPage, Gpa(0x50000000))), arm_whole_vm());
}
TYPED_TEST(Stage2Fences, exactly_512_pages_go_one_by_one) {
  EXPECT_EQ(this->guest.after(this->guest.map(512 * kPage, Gpa(0x50000000))), arm_publish());
  // 512 by page number, DSB ISHST before and four instructions after them.
  const Fences fences = this->guest.after(this->guest.unmap(512 * kPage, Gpa(0x50000000)));
  EXPECT_EQ(fences.size(), 512u + 5);
  EXPECT_EQ(fences[512], arm(stage2::kIpas2e1.is, 0x50000 + 511));
}
TYPED_TEST(Stage2Fences, new_entries_only_become_visible) {  // A14
  EXPECT_EQ(this->guest.after(this->guest.map(kPage, Gpa(0x40100000))), arm_publish());
}
TYPED_TEST(Stage2Fences, permissions_are_invalidated_in_both_directions) {
  const Fences expected = arm_sequence(stage2::kIpas2le1.is, {0x40010, 0x40011});
  EXPECT_EQ(this->guest.after(this->guest.protect(2 * kPage, kReadOnlyMemory)), expected);
  EXPECT_EQ(this->guest.after(this->guest.protect(2 * kPage, kMemory)), expected);
}
TYPED_TEST(Stage2Fences, a_spurious_fault_invalidates_its_page) {
  ASSERT_TRUE(this->guest.space.map_alloc(Gpa(0x70000000), kPage, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->guest.space.handle_fault(Gpa(0x70000008), kWrite), FaultOutcome::Mapped);
  this->guest.fences();
  EXPECT_EQ(this->guest.space.handle_fault(Gpa(0x70000008), kWrite), FaultOutcome::AlreadyMapped);
  EXPECT_EQ(this->guest.fences(), arm_sequence(stage2::kIpas2le1.is, {0x70000}));
}
TYPED_TEST(Stage2Fences, a_split_block_is_broken_once_and_its_parts_published) {
  ASSERT_TRUE(
      this->guest.space.map_linear(Gpa(0x60000000), Hpa(0x60000000), 2 * kMiB, kMemory).ok());
  this->guest.fences();
  Fences expected = arm_sequence(stage2::kIpas2le1.is, {0x60000});
  for (const Fence& fence : arm_publish()) expected.push_back(fence);
  EXPECT_EQ(this->guest.after(this->guest.space.protect(Gpa(0x60001000), kPage, kReadOnlyMemory)),
            expected);
}
TYPED_TEST(Stage2Fences, another_memory_type_is_broken_once_and_published) {
  const MappingFlags device{kRead | kWrite, MemoryType::Device};
  Fences expected = arm_sequence(stage2::kIpas2le1.is, {0x40010});
  for (const Fence& fence : arm_publish()) expected.push_back(fence);
  EXPECT_EQ(this->guest.after(this->guest.protect(kPage, device)), expected);
}
TYPED_TEST(Stage2Fences, a_block_needs_one_invalidation) {  // A14
  ASSERT_TRUE(this->guest.space.map_linear(Gpa(0x80000000), Hpa(0x80000000), kGiB, kMemory).ok());
  this->guest.fences();
  EXPECT_EQ(this->guest.after(this->guest.space.protect(Gpa(0x80000000), kGiB, kReadOnlyMemory)),
            arm_sequence(stage2::kIpas2le1.is, {0x80000}));
}

// RISC-V: A1 --------------------------------------------------------------------------------------

Fences by_address(const std::vector<u64>& addresses) {
  Fences all;
  for (const u64 at : addresses) all.push_back({hext::kGvmaAddressVmid.at_once, kVmid, at >> 2});
  return all;
}
Fences riscv_whole_vm() { return {{hext::kGvmaVmid.at_once, kVmid, 0}}; }

template <class Shape>
class GStageFences : public ::testing::Test {
 protected:
  Pages16<Shape> guest;
};
using GStageShapes = ::testing::Types<Sv39x4, Sv48x4>;
TYPED_TEST_SUITE(GStageFences, GStageShapes);

TYPED_TEST(GStageFences, unmapped_pages_are_fenced_by_address_and_vmid) {  // A1
  EXPECT_EQ(this->guest.after(this->guest.unmap(kPage)), by_address({0x40010000}));
  EXPECT_EQ(this->guest.after(this->guest.unmap(3 * kPage, Gpa(0x40011000))),
            by_address({0x40011000, 0x40012000, 0x40013000}));
}
TYPED_TEST(GStageFences, a_table_that_goes_takes_the_whole_vm) {
  EXPECT_EQ(this->guest.after(this->guest.unmap(2 * kMiB, Gpa(0x40000000))), riscv_whole_vm());
}
TYPED_TEST(GStageFences, more_than_512_pages_take_the_whole_vm) {
  // New entries in new tables: an address each while it is worth it, as invalid may be cached.
  EXPECT_EQ(this->guest.after(this->guest.map(600 * kPage, Gpa(0x50000000))), riscv_whole_vm());
  EXPECT_EQ(this->guest.after(this->guest.unmap(600 * kPage, Gpa(0x50000000))), riscv_whole_vm());
}
TYPED_TEST(GStageFences, permissions_are_fenced_in_both_directions) {
  EXPECT_EQ(this->guest.after(this->guest.protect(kPage, kReadOnlyMemory)),
            by_address({0x40010000}));
  EXPECT_EQ(this->guest.after(this->guest.protect(kPage, kMemory)), by_address({0x40010000}));
}
TYPED_TEST(GStageFences, new_entries_are_fenced_unless_invalid_ones_are_not_cached) {
  EXPECT_EQ(this->guest.after(this->guest.map(kPage, Gpa(0x40100000))), by_address({0x40100000}));
  Capabilities svvptc = addrspace::full_machine();
  svvptc.caches_no_invalid = true;
  Pages16<TypeParam> other(svvptc);
  EXPECT_THAT(other.after(other.map(kPage, Gpa(0x40100000))), IsEmpty());
}
TYPED_TEST(GStageFences, a_split_is_fenced_at_the_page_that_was_split) {
  ASSERT_TRUE(
      this->guest.space.map_linear(Gpa(0x60000000), Hpa(0x60000000), 2 * kMiB, kMemory).ok());
  this->guest.fences();
  EXPECT_EQ(this->guest.after(this->guest.space.protect(Gpa(0x60001000), kPage, kReadOnlyMemory)),
            by_address({0x60000000}));
}
// Without Svvptc the invalid entry that faulted may be cached at any level, and an
// address-selective fence orders leaves only; with it, only the leaf's permissions can be stale.
TYPED_TEST(GStageFences, a_spurious_fault_fences_every_level) {
  ASSERT_TRUE(this->guest.space.map_alloc(Gpa(0x70000000), kPage, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->guest.space.handle_fault(Gpa(0x70000008), kWrite), FaultOutcome::Mapped);
  this->guest.fences();
  EXPECT_EQ(this->guest.space.handle_fault(Gpa(0x70000008), kWrite), FaultOutcome::AlreadyMapped);
  EXPECT_EQ(this->guest.fences(), riscv_whole_vm());

  Capabilities svvptc = addrspace::full_machine();
  svvptc.caches_no_invalid = true;
  Pages16<TypeParam> other(svvptc);
  other.fences();
  EXPECT_EQ(other.space.handle_fault(other.kBase, kRead), FaultOutcome::AlreadyMapped);
  EXPECT_EQ(other.fences(), by_address({0x40010000}));
}

// The other policies ------------------------------------------------------------------------------

TEST(ContextPolicy, anything_takes_the_whole_vm) {
  Pages16<Stage2Of40Bits> arm;
  ASSERT_TRUE(arm.unmap(kPage).ok());
  EXPECT_EQ(arm.fences(FencePolicy::Context), arm_whole_vm());
  Pages16<Sv39x4> riscv;
  ASSERT_TRUE(riscv.unmap(kPage).ok());
  EXPECT_EQ(riscv.fences(FencePolicy::Context), riscv_whole_vm());
}
TEST(ContextPolicy, new_entries_still_cost_no_more_than_they_must) {
  Pages16<EptFourLevels> x86;
  ASSERT_TRUE(x86.map(kPage, Gpa(0x40100000)).ok());
  EXPECT_THAT(x86.fences(FencePolicy::Context), IsEmpty());
  Pages16<Stage2Of40Bits> arm;
  ASSERT_TRUE(arm.map(kPage, Gpa(0x40100000)).ok());
  EXPECT_EQ(arm.fences(FencePolicy::Context), arm_publish());
}

/// What a version of axaddrspace issues for one address or for all.
template <class Shape>
class OriginalPolicy : public ::testing::Test {
 protected:
  static constexpr Architecture kArchitecture = Shape::Format::kArchitecture;

  explicit OriginalPolicy(const FencePolicy& policy = FencePolicy::Original030,
                          FenceOp riscv = hext::kVvmaAll.at_once)
      : policy_(policy), riscv_(riscv) {}

  Fences original(FenceOp x86, FenceOp arm_op, u64 operand) const {
    switch (kArchitecture) {
      case Architecture::X86_64:
        return {{x86, 0, operand}};
      case Architecture::AArch64:  // the operand is not shifted
        return {{arm_op, 0, operand}, arm(stage2::kDsbSy), arm(stage2::kIsb)};
      case Architecture::RiscV64:
        return {{riscv_, 0, 0}};
    }
    return {};
  }
  Fences one(u64 at) const { return original(vmx::kInvlpg, stage2::kVae2.is, at); }
  Fences all() const { return original(vmx::kMovCr3, stage2::kAlle2.is, 0); }
  Fences each(u64 first, u64 pages) const {
    Fences fences;
    for (u64 n = 0; n < pages; ++n) {
      for (const Fence& fence : one(first + n * kPage)) fences.push_back(fence);
    }
    return fences;
  }
  Fences after(const Result<void>& done) {
    EXPECT_TRUE(done.ok());
    return guest.fences(policy_);
  }
  Result<void> linear(u64 pages) {
    return guest.space.map_linear(Gpa(0x10000), Hpa(0x10000), pages * kPage, kMemory);
  }

  Guest<Shape> guest;

 private:
  const FencePolicy& policy_;
  const FenceOp riscv_;
};
TYPED_TEST_SUITE(OriginalPolicy, NestedFormats);

TYPED_TEST(OriginalPolicy, linear_pages_go_one_by_one_up_to_32_and_then_all_at_once) {
  EXPECT_EQ(this->after(this->linear(32)), this->each(0x10000, 32));
  EXPECT_EQ(this->after(this->guest.space.unmap(Gpa(0x10000), 32 * kPage)),
            this->each(0x10000, 32));
  EXPECT_EQ(this->after(this->linear(33)), this->all());
  EXPECT_EQ(this->after(this->guest.space.unmap(Gpa(0x10000), 33 * kPage)), this->all());
}
TYPED_TEST(OriginalPolicy, allocated_pages_always_go_one_by_one) {
  EXPECT_EQ(
      this->after(this->guest.space.map_alloc(Gpa(0x10000), 40 * kPage, kMemory, Backend::eager())),
      this->each(0x10000, 40));
  EXPECT_EQ(this->after(this->guest.space.unmap(Gpa(0x10000), 40 * kPage)),
            this->each(0x10000, 40));
}
TYPED_TEST(OriginalPolicy, a_lazy_promise_is_flushed_too) {
  EXPECT_EQ(
      this->after(this->guest.space.map_alloc(Gpa(0x10000), 3 * kPage, kMemory, Backend::lazy())),
      this->each(0x10000, 3));
  EXPECT_EQ(
      this->after(this->guest.space.map_alloc(Gpa(0x80000), 33 * kPage, kMemory, Backend::lazy())),
      this->all());
}
TYPED_TEST(OriginalPolicy, a_fault_flushes_the_address_as_it_came) {
  ASSERT_TRUE(this->guest.space.map_alloc(Gpa(0x10000), kPage, kMemory, Backend::lazy()).ok());
  this->guest.hal.invalidations.clear();
  EXPECT_EQ(this->guest.space.handle_fault(Gpa(0x10008), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(this->guest.fences(FencePolicy::Original030), this->one(0x10008));
}

// page_table_generic flushes after each leaf that it stores or clears; so does axvm's fault, at the
// page's address. What it flushes with: HFENCE.GVMA with rs1 = rs2 = x0; else as ever.
template <class Shape>
class LaterOriginalPolicy : public OriginalPolicy<Shape> {
 protected:
  LaterOriginalPolicy()
      : OriginalPolicy<Shape>(FencePolicy::Original0517, hext::kGvmaAll.at_once) {}
};
TYPED_TEST_SUITE(LaterOriginalPolicy, NestedFormats);

TYPED_TEST(LaterOriginalPolicy, leaves_go_one_by_one_however_many) {
  EXPECT_EQ(this->after(this->linear(33)), this->each(0x10000, 33));
  EXPECT_EQ(this->after(this->guest.space.unmap(Gpa(0x10000), 33 * kPage)),
            this->each(0x10000, 33));
  EXPECT_EQ(
      this->after(this->guest.space.map_alloc(Gpa(0x10000), 40 * kPage, kMemory, Backend::eager())),
      this->each(0x10000, 40));
  EXPECT_EQ(this->after(this->guest.space.protect(Gpa(0x12000), kPage, kReadOnlyMemory)),
            this->each(0x12000, 1));
}
TYPED_TEST(LaterOriginalPolicy, a_lazy_promise_flushes_nothing_and_its_fault_the_page) {
  EXPECT_THAT(
      this->after(this->guest.space.map_alloc(Gpa(0x10000), 3 * kPage, kMemory, Backend::lazy())),
      IsEmpty());
  EXPECT_EQ(this->guest.space.handle_fault(Gpa(0x11008), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(this->guest.fences(FencePolicy::Original0517), this->one(0x11000));
}
// The table's own entry is cleared after its leaves are flushed, and no flush follows.
TYPED_TEST(LaterOriginalPolicy, a_table_that_goes_has_no_flush_of_its_own) {
  ASSERT_TRUE(this->linear(2).ok());
  this->guest.fences();
  EXPECT_EQ(this->after(this->guest.space.unmap(Gpa(0), 2 * kMiB)), this->each(0x10000, 2));
}

// A7: what does not reach the other processors says so, and the Hal knows the VM to reach them for.
TEST(FenceReach, only_the_inner_shareable_instructions_broadcast) {  // A7
  for (const FenceOp op : std::initializer_list<FenceOp>{
           vmx::kInveptSingle, vmx::kInveptAll, svm::kVmrunAll, svm::kVmrunAsid,
           hext::kGvmaAddressVmid.at_once, hext::kGvmaVmid.at_once, hext::kGvmaAll.at_once,
           stage2::kIsb}) {
    EXPECT_FALSE(op.is_broadcast()) << to_text(Fence{op}).c_str();
  }
  for (const FenceOp op : std::initializer_list<FenceOp>{
           svm::kInvlpgb, svm::kInvlpgbNested, stage2::kIpas2e1.is, stage2::kIpas2le1.is,
           stage2::kVmalle1.is, stage2::kVmalls12e1.is}) {
    EXPECT_TRUE(op.is_broadcast()) << to_text(Fence{op}).c_str();
  }
}
template <class Shape>
class FenceTag : public ::testing::Test {};
TYPED_TEST_SUITE(FenceTag, NestedFormats);
TYPED_TEST(FenceTag, every_invalidation_names_its_vm) {  // A7
  Pages16<TypeParam> guest;
  ASSERT_TRUE(guest.unmap(kPage).ok());
  for (const auto& change : guest.hal.invalidations) {
    EXPECT_EQ(change.tag().vmid, kVmid);
    EXPECT_EQ(change.tag().root_register, guest.space.config().registers.root_register);
  }
}

// A9, A10: clear, invalidate, free ----------------------------------------------------------------

/// No frame is freed before an invalidation that came after the last store which cleared a valid
/// entry.
template <class F>
std::string order_of(const std::vector<Event>& events) {
  bool cleared = false;  // and not invalidated
  bool freed = false;
  for (const Event& event : events) {
    switch (event.kind) {
      case Event::Kind::Store:
        if (freed && (event.before & F::kValid) != 0) return "cleared after a free";
        cleared = cleared || ((event.before & F::kValid) != 0 && event.after != event.before);
        break;
      case Event::Kind::Invalidate:
        cleared = false;
        break;
      case Event::Kind::Free:
        freed = true;
        if (cleared) return "freed before the invalidation";
        break;
      case Event::Kind::Alloc:
        break;
    }
  }
  return freed ? "clear, invalidate, free" : "nothing freed";
}
constexpr const char* kSafe = "clear, invalidate, free";

template <class Shape>
class FreeOrder : public ::testing::Test {
 protected:
  using F = typename Shape::Format;
  static constexpr Gpa kBase{kGiB};

  FreeOrder() { guest.emplace(); }
  void map(u64 pages, Backend backend = Backend::eager()) {
    ASSERT_TRUE(guest->space.map_alloc(kBase, pages * kPage, kMemory, backend).ok());
    guest->hal.record();
  }
  std::string order() { return order_of<F>(guest->hal.events); }

  std::optional<Guest<Shape>> guest;
};
TYPED_TEST_SUITE(FreeOrder, NestedFormats);

TYPED_TEST(FreeOrder, unmapping_pages_frees_them_after_the_invalidation) {  // A10
  this->map(8);
  ASSERT_TRUE(this->guest->space.unmap(this->kBase + kPage, 3 * kPage).ok());
  EXPECT_EQ(this->order(), kSafe);
}
TYPED_TEST(FreeOrder, unmapping_frees_tables_after_the_invalidation) {  // A10
  this->map(8);
  ASSERT_TRUE(this->guest->space.unmap(this->kBase, 8 * kPage).ok());
  EXPECT_EQ(this->order(), kSafe);
}
TYPED_TEST(FreeOrder, unmapping_a_part_of_a_large_page_frees_after_the_invalidation) {
  this->map(512, Backend::eager(1));
  ASSERT_TRUE(this->guest->space.unmap(this->kBase + kPage, 3 * kPage).ok());
  EXPECT_EQ(this->order(), kSafe);
}
TYPED_TEST(FreeOrder, clearing_frees_after_the_invalidation) {
  this->map(8);
  this->guest->space.clear();
  EXPECT_EQ(this->order(), kSafe);
}
TYPED_TEST(FreeOrder, a_failed_map_frees_what_was_visible_after_the_invalidation) {
  this->map(1);
  this->guest->hal.allocations_left = 4;  // one frame for the area's node at most
  EXPECT_EQ(this->guest->space.map_alloc(this->kBase + kPage, 8 * kPage, kMemory, Backend::eager()),
            Result<void>(Error::NoMemory));
  EXPECT_EQ(this->order(), kSafe);
}
TYPED_TEST(FreeOrder, destruction_frees_after_the_invalidation) {
  this->map(8);
  { const typename Guest<TypeParam>::Space dying(std::move(this->guest->space)); }
  EXPECT_EQ(this->order(), kSafe);
  EXPECT_EQ(this->guest->frames_in_use(), 0u);
}

template <class Shape>
class EveryChange : public FreeOrder<Shape> {};
TYPED_TEST_SUITE(EveryChange, NestedFormats);

TYPED_TEST(EveryChange, is_told_once_however_many_pages_it_has) {  // A9, A14
  this->map(40);
  auto& told = this->guest->hal.invalidations;
  told.clear();
  ASSERT_TRUE(this->guest->space.protect(this->kBase, 40 * kPage, kReadOnlyMemory).ok());
  EXPECT_EQ(told.size(), 1u);
  ASSERT_TRUE(this->guest->space.unmap(this->kBase, 40 * kPage).ok());
  EXPECT_EQ(told.size(), 2u);
  EXPECT_EQ(told[1].leaves(), 40u);
}

// A13 ---------------------------------------------------------------------------------------------

TYPED_TEST(EveryChange, keeps_what_the_hardware_recorded) {  // A13
  using Format = typename TypeParam::Format;
  Capabilities machine = addrspace::full_machine();
  machine.hardware_dirty = true;
  Guest<TypeParam> tracked(machine);
  ASSERT_TRUE(tracked.space.map_alloc(this->kBase, kPage, kMemory, Backend::eager()).ok());
  const auto leaf = tracked.space.page_table().entry(this->kBase).value();
  tracked.hal.poke(leaf.slot, Format::dirtied(leaf.entry) | Format::kAccessed);
  ASSERT_TRUE(tracked.space.protect(this->kBase, kPage, kCode).ok());
  const u64 now = tracked.space.page_table().entry(this->kBase)->entry;
  EXPECT_TRUE(Format::is_dirty(now));
  EXPECT_NE(now & Format::kAccessed, 0u);
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_fences_test
