// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine, recorded, read back and checked.

#include <gmock/gmock.h>

#include "engine_log.hpp"
#include "log_world.hpp"

namespace nestwalk::checker::recorder_test {
namespace {

template <class Shape>
class Recorder : public testing::Test {
 protected:
  /// A page mapped, made read-only and taken away, and a large leaf split.
  static std::string life(const FencePolicy& policy) {
    std::string text;
    {
      EngineLog<Shape> engine(policy, [&](const char* part) { text += part; });
      const addrspace::MappingFlags flags{addrspace::kRead | addrspace::kWrite};
      engine.operation("map", [&](auto& space) {
        ASSERT_TRUE(space.map_alloc(Gpa(0x5000), 0x4000, flags, addrspace::Backend::eager(0)));
        ASSERT_TRUE(space.map_linear(Gpa(0x200000), Hpa(u64{8} << 30), 0x200000, flags));
      });
      engine.operation("protect", [&](auto& space) {
        ASSERT_TRUE(space.protect(Gpa(0x6000), 0x1000, {addrspace::kRead}));
      });
      engine.operation("split", [&](auto& space) {
        ASSERT_TRUE(space.protect(Gpa(0x210000), 0x1000, {addrspace::kRead}));
      });
      engine.operation("unmap",
                       [&](auto& space) { ASSERT_TRUE(space.unmap(Gpa(0x5000), 0x1000)); });
      engine.operation("clear", [&](auto& space) {
        ASSERT_TRUE(space.unmap(Gpa(0x6000), 0x3000));
        ASSERT_TRUE(space.unmap(Gpa(0x200000), 0x200000));
      });
      text += "9 0 end\n";
    }
    // What the destructors did is no part of it.
    return text.substr(0, text.find("9 0 end\n"));
  }
};
using Shapes = OnEach<testing::Types>;
TYPED_TEST_SUITE(Recorder, Shapes);

TYPED_TEST(Recorder, ThePrecisePolicyIsSilent) {
  const auto checked = check_text(this->life(FencePolicy::Precise));
  EXPECT_EQ(checked->names(), "");
  for (const Finding& finding : checked->checker.findings()) ADD_FAILURE() << describe(finding);
}

TYPED_TEST(Recorder, TheWholeContextIsOverBroadForOnePage) {
  const std::string found = check_text(this->life(FencePolicy::Context))->names();
  // INVEPT and the flush of an ASID have no narrower form.
  EXPECT_EQ(found, TypeParam::Format::kArchitecture == Architecture::X86_64 ? "" : "over-broad");
}

TYPED_TEST(Recorder, TheOriginalsFencesAreOfTheWrongKind) {
  const auto checked = check_text(this->life(FencePolicy::Original030));
  EXPECT_THAT(checked->names(), testing::HasSubstr("wrong kind"));
  EXPECT_THAT(checked->names(), testing::HasSubstr("use after free"));
  for (const Finding& finding : checked->checker.findings()) {
    if (finding.failure == Failure::UseAfterFree) {
      EXPECT_EQ(finding.because, Failure::WrongKind);
    }
    EXPECT_NE(finding.failure, Failure::Missing) << describe(finding);
  }
}

// axaddrspace 0.5.17 maps four pages and unmaps one; processor 1 is in the guest meanwhile.
template <class Shape>
std::string unmapped_by_the_later_original() {
  std::string text;
  std::size_t end = 0;
  {
    EngineLog<Shape> engine(FencePolicy::Original0517, [&](const char* part) { text += part; });
    const addrspace::MappingFlags flags{addrspace::kRead | addrspace::kWrite};
    engine.operation("map", [&](auto& space) {
      ASSERT_TRUE(space.map_alloc(Gpa(0x5000), 0x4000, flags, addrspace::Backend::eager(0)));
    });
    engine.operation("unmap", [&](auto& space) { ASSERT_TRUE(space.unmap(Gpa(0x5000), 0x1000)); });
    end = text.size();
  }
  return text.substr(0, end) + "9 0 enter 1\n";
}
// Where the other processor does not exist.
std::string without_processor_1(const std::string& text) {
  std::istringstream in(text);
  std::string left;
  for (std::string line; std::getline(in, line);) {
    if (line.find(" 1 ") != line.find(' ')) left += line + "\n";
  }
  return left;
}

// x86: INVLPG of the host reaches nothing of the guest, so each is excess, and the frame goes
// before any INVEPT, or VMRUN that flushes. AArch64: TLBI VAE2IS is of EL2's own regime; its
// operand, not shifted, and the missing DSB ISHST would come next. RISC-V: HFENCE.GVMA with rs1 =
// rs2 = x0 is right, but hart 1 has none. The first of them is for all new pages at once, so the
// next three are excess, and each is of all VMs, though one page changed.
TYPED_TEST(Recorder, TheLaterOriginalIsRightOnRiscVAloneAndNotOnItsOtherHarts) {
  const bool riscv = TypeParam::Format::kArchitecture == Architecture::RiscV64;
  const auto checked = check_text(unmapped_by_the_later_original<TypeParam>());
  EXPECT_EQ(checked->names(), riscv ? "excess, over-broad, use after free, wrong processors"
                                    : "excess, use after free, wrong kind");
  for (const Finding& finding : checked->checker.findings()) {
    if (finding.failure != Failure::UseAfterFree) continue;
    EXPECT_EQ(finding.because, riscv ? Failure::WrongProcessors : Failure::WrongKind);
  }
}

// The processor itself is outside while it edits, and owes its fence until it enters.
TYPED_TEST(Recorder, TheLaterOriginalIsRightOnOneHart) {
  const bool riscv = TypeParam::Format::kArchitecture == Architecture::RiscV64;
  const auto checked = check_text(without_processor_1(unmapped_by_the_later_original<TypeParam>()));
  EXPECT_EQ(checked->names(), riscv ? "excess, over-broad" : "excess, use after free, wrong kind");
}

}  // namespace
}  // namespace nestwalk::checker::recorder_test
