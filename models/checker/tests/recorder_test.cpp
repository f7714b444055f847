// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine, recorded, read back and checked.

#include <gmock/gmock.h>

#include "engine_log.hpp"
#include "log_world.hpp"

namespace nestwalk::checker {
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

}  // namespace
}  // namespace nestwalk::checker
