// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects B of axaddrspace: roots of the wrong size, addresses that alias, widths that nobody
// checks.

#include <gmock/gmock.h>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_geometry_test {
namespace {

constexpr Hpa kTarget(8 * kGiB);

template <class Shape>
class Geometries : public ::testing::Test {
 protected:
  using F = typename Shape::Format;
  using Space = typename Guest<Shape>::Space;
  static constexpr u64 kBits() { return Shape::geometry().input_bits; }
  static Gpa highest_page() { return Gpa((u64{1} << kBits()) - kPage); }
};
TYPED_TEST_SUITE(Geometries, NestedFormats);

TYPED_TEST(Geometries, the_root_is_aligned_to_its_size) {  // B1
  ObservingHal hal;
  ASSERT_TRUE(hal.alloc_frame().ok());  // the next free frame is an odd one
  const auto space =
      TestFixture::Space::create(hal, TypeParam::geometry(), *GpaRange::make(Gpa(0), kGiB));
  const SpaceConfig config = space->config();
  EXPECT_EQ(config.root_bytes, std::max<u64>(kPage, 8u << TypeParam::geometry().root_index_bits));
  EXPECT_TRUE(config.root.is_aligned(config.root_bytes));
  for (u64 at = 0; at < config.root_bytes; at += kPage) {
    EXPECT_TRUE(hal.arena().is_allocated((config.root + at).value()));
  }
}

TYPED_TEST(Geometries, the_highest_page_is_reached_through_the_engine_s_own_root) {  // B1, B3, B7
  Guest<TypeParam> guest;
  const Gpa highest = this->highest_page();
  ASSERT_TRUE(guest.space.map_linear(highest, kTarget, kPage, kMemory).ok());
  const u64 index =
      highest.value() >> TypeParam::geometry().shift(TypeParam::geometry().root_level());
  EXPECT_LT(index * sizeof(u64), guest.space.config().root_bytes);
  const auto walk = guest.walk(highest + 5);
  EXPECT_TRUE(walk.translates);
  EXPECT_EQ(walk.to, kTarget + 5);
  EXPECT_EQ(*guest.space.translate(highest + 5), kTarget + 5);
}

TYPED_TEST(Geometries, the_quarters_of_the_root_do_not_alias) {  // B1, B2, B3
  Guest<TypeParam> guest;
  const u64 quarter = u64{1} << (this->kBits() - 2);
  for (u64 n = 0; n < 4; ++n) {
    const Gpa at(n * quarter + 0x10000);
    ASSERT_TRUE(guest.space.map_linear(at, kTarget + n * kPage, kPage, kMemory).ok());
  }
  for (u64 n = 0; n < 4; ++n) {
    EXPECT_EQ(guest.walk(Gpa(n * quarter + 0x10000)).to, kTarget + n * kPage);
  }
}

TYPED_TEST(Geometries, an_address_beyond_the_width_does_not_alias_a_lower_one) {  // B2
  Guest<TypeParam> guest;
  ASSERT_TRUE(guest.space.map_linear(Gpa(0x10000), kTarget, kPage, kMemory).ok());
  const Gpa alias((u64{1} << this->kBits()) + 0x10000);
  EXPECT_EQ(guest.space.translate(alias), Result<Hpa>(Error::OutOfRange));
  EXPECT_EQ(guest.space.query(alias).error(), Error::OutOfRange);
  EXPECT_EQ(guest.space.handle_fault(alias, kRead), FaultOutcome::NoArea);
  EXPECT_EQ(guest.space.map_linear(alias, kTarget, kPage, kMemory),
            Result<void>(Error::OutOfRange));
  EXPECT_EQ(guest.space.unmap(alias, kPage), Result<void>(Error::OutOfRange));
  EXPECT_EQ(*guest.space.translate(Gpa(0x10000)), kTarget);
}

TYPED_TEST(Geometries, a_space_wider_than_its_tables_is_refused) {  // B2, B4
  ObservingHal hal;
  const u64 bytes = u64{1} << this->kBits();
  const auto create = [&](Gpa start, u64 size) {
    return TestFixture::Space::create(hal, TypeParam::geometry(), *GpaRange::make(start, size));
  };
  EXPECT_TRUE(create(Gpa(0), bytes).ok());
  EXPECT_EQ(create(Gpa(0), bytes + kPage).error(), Error::OutOfRange);
  EXPECT_EQ(create(Gpa(bytes), kPage).error(), Error::OutOfRange);
  EXPECT_EQ(create(Gpa(0), 2 * bytes).error(), Error::OutOfRange);
  EXPECT_EQ(hal.arena().frames_in_use(), 0u);
}

TYPED_TEST(Geometries, a_host_address_beyond_the_width_is_refused) {  // B6
  Guest<TypeParam> guest;
  const Result<void> out_of_range(Error::OutOfRange);
  // The machine reports 48 bits. Masking would have mapped page 0x3000.
  for (const unsigned bits : {48u, 50u, 56u}) {
    const Hpa beyond((u64{1} << bits) + 0x3000);
    EXPECT_EQ(guest.space.map_linear(Gpa(0x10000), beyond, kPage, kMemory), out_of_range);
  }
  const Hpa last((u64{1} << 48) - kPage);
  EXPECT_EQ(guest.space.map_linear(Gpa(0x10000), last, 2 * kPage, kMemory), out_of_range);
  EXPECT_FALSE(guest.space.query(Gpa(0x10000)).ok());
  ASSERT_TRUE(guest.space.map_linear(Gpa(0x10000), last, kPage, kMemory).ok());
  EXPECT_EQ(guest.walk(Gpa(0x10000)).to, last);
}

TYPED_TEST(Geometries, leaves_are_only_as_large_as_the_machine_has_them) {  // B8
  struct Row {
    u8 leaf_levels;
    u64 largest;
  };
  for (const Row row : {Row{0b001, kPage}, Row{0b011, 2 * kMiB}, Row{0b111, kGiB}}) {
    Capabilities machine = full_machine();
    machine.leaf_levels = row.leaf_levels;
    Guest<TypeParam> guest(machine);
    ASSERT_TRUE(guest.space.map_linear(Gpa(kGiB), kTarget, kGiB, kMemory).ok());
    EXPECT_EQ(guest.space.query(Gpa(kGiB))->size, row.largest);
  }
}

// B5: what the hardware must be told comes with the tables
// -----------------------------------------

TEST(RootConfiguration, hgatp_has_the_mode_that_fits_the_levels) {  // B5
  // MODE 8 is Sv39x4 (41 bits), 9 is Sv48x4 (50 bits): "Hypervisor Guest Address Translation and
  // Protection Register".
  Guest<Sv39x4> three;
  EXPECT_EQ(three.space.config().registers.root_register >> 60, 8u);
  EXPECT_EQ(three.space.config().levels, 3u);
  EXPECT_EQ(three.space.config().gpa_bits, 41u);
  Guest<Sv48x4> four;
  EXPECT_EQ(four.space.config().registers.root_register >> 60, 9u);
  EXPECT_EQ(four.space.config().gpa_bits, 50u);
}

TEST(RootConfiguration, vtcr_names_the_width_and_the_level_that_the_walk_starts_at) {  // B3, B5
  Guest<Stage2Of40Bits> guest;
  const SpaceConfig config = guest.space.config();
  EXPECT_EQ(config.registers.control_register & 0x3f, 64u - 40);  // T0SZ
  EXPECT_EQ(config.registers.control_register >> 6 & 3, 1u);      // SL0: level 1, three levels
  EXPECT_EQ(config.root_bytes, 2 * kPage);                        // two tables, concatenated
  EXPECT_EQ(config.registers.root_register & low_mask(48), config.root.value());
}

TEST(RootConfiguration, eptp_names_the_length_of_the_walk) {  // B5
  Guest<EptFourLevels> guest;
  EXPECT_EQ(guest.space.config().registers.root_register >> 3 & 7, 3u);
  EXPECT_EQ(Ept::geometry(3), Result<Geometry>(Error::UnsupportedGeometry));
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_geometry_test
