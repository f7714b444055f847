// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/geometry.hpp"
#include "full_machine.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::geometry_test {
namespace {

constexpr u64 kLastByte = std::numeric_limits<u64>::max();

Capabilities machine(u8 physical_bits) {
  Capabilities found = full_machine();
  found.physical_bits = physical_bits;
  return found;
}

GvaRange virtual_range(u64 start, u64 size) { return GvaRange::make(Gva(start), size).value(); }

TEST(Architecture, has_a_name) {
  EXPECT_STREQ(to_string(Architecture::X86_64), "x86_64");
  EXPECT_STREQ(to_string(Architecture::AArch64), "aarch64");
  EXPECT_STREQ(to_string(Architecture::RiscV64), "riscv64");
}

// Intel SDM, "EPT Translation Mechanism": 9 bits a level above a 4 KiB page.
TEST(EptGeometry, has_four_levels_for_48_bits) {
  const Geometry shape = Ept::geometry(4).value();
  EXPECT_EQ(shape.levels, 4);
  EXPECT_EQ(shape.root_level(), 3u);
  EXPECT_EQ(shape.input_bits, 48);
  EXPECT_EQ(shape.output_bits, 52);
  EXPECT_EQ(shape.page_bytes(), 4 * kKiB);
  EXPECT_EQ(shape.leaf_bytes(0), 4 * kKiB);
  EXPECT_EQ(shape.leaf_bytes(1), 2 * kMiB);
  EXPECT_EQ(shape.leaf_bytes(2), kGiB);
  EXPECT_EQ(shape.leaf_bytes(3), 512 * kGiB);
  EXPECT_EQ(shape.rule, InputRule::Zero);
}

TEST(EptGeometry, has_five_levels_for_57_bits) {
  const Geometry shape = Ept::geometry(5).value();
  EXPECT_EQ(shape.levels, 5);
  EXPECT_EQ(shape.input_bits, 57);
  EXPECT_EQ(shape.leaf_bytes(4), 256 * kTiB);
}

TEST(EptGeometry, has_tables_of_one_frame_and_leaves_up_to_1_gib) {
  for (const unsigned levels : {4u, 5u}) {
    const Geometry shape = Ept::geometry(levels).value();
    for (unsigned level = 0; level < levels; ++level) {
      EXPECT_EQ(shape.entries(level), 512u);
      EXPECT_EQ(shape.may_be_leaf(level), level <= 2);
    }
    EXPECT_EQ(shape.root_bytes(), 4 * kKiB);
    EXPECT_EQ(shape.root_order(), 0u);
    EXPECT_EQ(shape.table_order(), 0u);
  }
}

TEST(EptGeometry, has_no_other_number_of_levels) {
  for (unsigned levels = 0; levels < 16; ++levels) {
    if (levels == 4 || levels == 5) continue;
    EXPECT_EQ(Ept::geometry(levels), Error::UnsupportedGeometry) << levels;
  }
}

// RISC-V privileged architecture, "Sv39x4, Sv48x4 and Sv57x4": two more bits, a 16 KiB root.
TEST(GStageGeometry, is_two_bits_wider_than_the_first_stage) {
  constexpr unsigned kInputBits[] = {41, 50, 59};
  for (unsigned levels = 3; levels <= 5; ++levels) {
    const Geometry shape = GStage::geometry(levels).value();
    EXPECT_EQ(shape.levels, levels);
    EXPECT_EQ(shape.input_bits, kInputBits[levels - 3]);
    EXPECT_EQ(shape.output_bits, 56);
    EXPECT_EQ(shape.rule, InputRule::Zero);
  }
}

TEST(GStageGeometry, has_a_root_of_16_kib_above_tables_of_4_kib) {
  for (unsigned levels = 3; levels <= 5; ++levels) {
    const Geometry shape = GStage::geometry(levels).value();
    EXPECT_EQ(shape.entries(levels - 1), 2048u);
    EXPECT_EQ(shape.root_bytes(), 16 * kKiB);
    EXPECT_EQ(shape.root_order(), 2u);
    EXPECT_EQ(shape.table_order(), 0u);
    for (unsigned level = 0; level + 1 < levels; ++level) EXPECT_EQ(shape.entries(level), 512u);
  }
}

TEST(GStageGeometry, has_leaves_at_every_level) {
  // Gigapages for Sv39x4, terapages for Sv48x4, petapages for Sv57x4.
  EXPECT_EQ(GStage::geometry(3)->leaf_levels, 0b00111);
  EXPECT_EQ(GStage::geometry(4)->leaf_levels, 0b01111);
  EXPECT_EQ(GStage::geometry(5)->leaf_levels, 0b11111);
  EXPECT_EQ(GStage::geometry(5)->leaf_bytes(3), 512 * kGiB);
  EXPECT_EQ(GStage::geometry(5)->leaf_bytes(4), 256 * kTiB);
}

TEST(GStageGeometry, has_no_other_number_of_levels) {
  for (const unsigned levels : {0u, 1u, 2u, 6u, 7u}) {
    EXPECT_EQ(GStage::geometry(levels), Error::UnsupportedGeometry);
    EXPECT_EQ(Sv::geometry(levels), Error::UnsupportedGeometry);
  }
}

// Arm ARM D8, "Concatenated translation tables": for stage 2, up to 16 tables of the initial
// lookup level may lie side by side. Here in Arm's levels, which count up to 3 for pages.
struct ArmLevel {
  unsigned level;
  unsigned entry_bits;  ///< an entry covers 2^entry_bits bytes
  unsigned table_bits;  ///< a table covers 2^table_bits bytes
};
constexpr ArmLevel kLevels4K[] = {{3, 12, 21}, {2, 21, 30}, {1, 30, 39}, {0, 39, 48}};
constexpr ArmLevel kLevels16K[] = {{3, 14, 25}, {2, 25, 36}, {1, 36, 47}, {0, 47, 58}};
constexpr ArmLevel kLevels64K[] = {{3, 16, 29}, {2, 29, 42}, {1, 42, 55}};

struct Start {
  unsigned level;
  u64 tables;
  u64 entries;
};

// The shortest walk: the highest-numbered level at which 16 tables cover the input.
template <unsigned N>
Start expected_start(const ArmLevel (&rows)[N], unsigned input_bits) {
  for (const ArmLevel& row : rows) {
    const u64 tables = input_bits <= row.table_bits ? 1 : u64{1} << (input_bits - row.table_bits);
    if (tables <= 16) return {row.level, tables, u64{1} << (input_bits - row.entry_bits)};
  }
  return {};
}

template <class Format, unsigned N>
void expect_start(const ArmLevel (&rows)[N], unsigned input_bits, u64 granule_bytes) {
  SCOPED_TRACE(input_bits);
  const Geometry shape = Format::geometry(input_bits).value();
  const Start start = expected_start(rows, input_bits);
  EXPECT_EQ(shape.levels, 4 - start.level);
  EXPECT_EQ(shape.entries(shape.root_level()), start.entries);
  EXPECT_EQ(shape.input_bits, input_bits);
  EXPECT_EQ(shape.rule, InputRule::Zero);
  EXPECT_EQ(shape.page_bytes(), granule_bytes);
  for (unsigned level = 0; level < shape.levels; ++level) {
    EXPECT_EQ(shape.leaf_bytes(level), u64{1} << rows[level].entry_bits);
    if (level != shape.root_level()) {
      EXPECT_EQ(shape.entries(level), granule_bytes / 8);
    }
  }

  // Concatenated tables fill their granules; a root of fewer entries may be smaller.
  EXPECT_EQ(shape.root_bytes(), start.entries * 8);
  if (start.tables > 1) {
    EXPECT_EQ(shape.root_bytes(), start.tables * granule_bytes);
  } else {
    EXPECT_LE(shape.root_bytes(), granule_bytes);
  }
  // Whole frames, aligned to the size of the root.
  const u64 frames = u64{1} << shape.root_order();
  EXPECT_GE(frames * kFrameBytes, shape.root_bytes());
  EXPECT_TRUE(frames == 1 || frames * kFrameBytes == shape.root_bytes());
}

TEST(Stage2Geometry, starts_where_at_most_16_tables_cover_the_input) {
  for (unsigned bits = 32; bits <= 48; ++bits) {
    expect_start<Stage2<Granule::k4K>>(kLevels4K, bits, 4 * kKiB);
    expect_start<Stage2<Granule::k16K>>(kLevels16K, bits, 16 * kKiB);
    expect_start<Stage2<Granule::k64K>>(kLevels64K, bits, 64 * kKiB);
  }
  for (unsigned bits = 32; bits <= 52; ++bits) {
    expect_start<Stage2<Granule::k4K, Width::k52>>(kLevels4K, bits, 4 * kKiB);
    expect_start<Stage2<Granule::k16K, Width::k52>>(kLevels16K, bits, 16 * kKiB);
    expect_start<Stage2<Granule::k64K, Width::k52>>(kLevels64K, bits, 64 * kKiB);
  }
}

// The same, counted by hand for the boundaries.
struct StartCase {
  unsigned input_bits;
  unsigned levels;
  u64 root_bytes;
  unsigned root_order;
};

template <class Format, unsigned N>
void expect_roots(const StartCase (&rows)[N]) {
  for (const StartCase& row : rows) {
    SCOPED_TRACE(row.input_bits);
    const Geometry shape = Format::geometry(row.input_bits).value();
    EXPECT_EQ(shape.levels, row.levels);
    EXPECT_EQ(shape.root_bytes(), row.root_bytes);
    EXPECT_EQ(shape.root_order(), row.root_order);
  }
}

TEST(Stage2Geometry, with_4k_pages_concatenates_below_the_level_boundaries) {
  constexpr StartCase kCases[] = {
      {32, 2, 16 * kKiB, 2},  // level 2: 4 tables of 1 GiB each
      {34, 2, 64 * kKiB, 4},  // level 2: 16 tables
      {35, 3, 256, 0},        // level 1: 32 entries of 1 GiB
      {39, 3, 4 * kKiB, 0},   // level 1: one full table
      {40, 3, 8 * kKiB, 1},   // level 1: 2 tables
      {42, 3, 32 * kKiB, 3},  // level 1: 8 tables
      {43, 3, 64 * kKiB, 4},  // level 1: 16 tables
      {44, 4, 256, 0},        // level 0: 32 entries of 512 GiB
      {48, 4, 4 * kKiB, 0},   // level 0: one full table
  };
  expect_roots<Stage2<Granule::k4K>>(kCases);
  constexpr StartCase kWide[] = {
      {49, 4, 8 * kKiB, 1},   // level 0: 2 tables
      {52, 4, 64 * kKiB, 4},  // level 0: 16 tables, so that level -1 is not needed
  };
  expect_roots<Stage2<Granule::k4K, Width::k52>>(kWide);
}

TEST(Stage2Geometry, with_16k_pages_concatenates_below_the_level_boundaries) {
  constexpr StartCase kCases[] = {
      {32, 2, kKiB, 0},        // level 2: 128 entries of 32 MiB
      {36, 2, 16 * kKiB, 2},   // level 2: one full table
      {37, 2, 32 * kKiB, 3},   // level 2: 2 tables
      {40, 2, 256 * kKiB, 6},  // level 2: 16 tables
      {41, 3, 256, 0},         // level 1: 32 entries of 64 GiB
      {47, 3, 16 * kKiB, 2},   // level 1: one full table
      {48, 3, 32 * kKiB, 3},   // level 1: 2 tables
  };
  expect_roots<Stage2<Granule::k16K>>(kCases);
  constexpr StartCase kWide[] = {
      {51, 3, 256 * kKiB, 6},  // level 1: 16 tables
      {52, 4, 256, 0},         // level 0: 32 entries of 128 TiB
  };
  expect_roots<Stage2<Granule::k16K, Width::k52>>(kWide);
}

TEST(Stage2Geometry, with_64k_pages_concatenates_below_the_level_boundaries) {
  constexpr StartCase kCases[] = {
      {32, 1, 512 * kKiB, 7},  // level 3: 8 tables of 512 MiB each
      {33, 1, kMiB, 8},        // level 3: 16 tables
      {34, 2, 256, 0},         // level 2: 32 entries of 512 MiB
      {42, 2, 64 * kKiB, 4},   // level 2: one full table
      {43, 2, 128 * kKiB, 5},  // level 2: 2 tables
      {46, 2, kMiB, 8},        // level 2: 16 tables
      {47, 3, 256, 0},         // level 1: 32 entries of 4 TiB
      {48, 3, 512, 0},         // level 1: 64 entries
  };
  expect_roots<Stage2<Granule::k64K>>(kCases);
  constexpr StartCase kWide[] = {{52, 3, 8 * kKiB, 1}};  // level 1: 1024 entries
  expect_roots<Stage2<Granule::k64K, Width::k52>>(kWide);
}

TEST(Stage2Geometry, needs_larger_frames_for_the_tables_of_larger_granules) {
  EXPECT_EQ((Stage2<Granule::k4K>::geometry(48)->table_order()), 0u);
  EXPECT_EQ((Stage2<Granule::k16K>::geometry(48)->table_order()), 2u);
  EXPECT_EQ((Stage2<Granule::k64K>::geometry(48)->table_order()), 4u);
}

// Arm ARM D8, "Block descriptor and Page descriptor formats": blocks of 2 MiB and 1 GiB; 32 MiB;
// 512 MiB. With 52-bit addresses also 512 GiB; 64 GiB; 4 TiB.
TEST(Stage2Geometry, has_leaves_where_the_granule_has_blocks) {
  EXPECT_EQ((Stage2<Granule::k4K>::geometry(34)->leaf_levels), 0b0011);
  EXPECT_EQ((Stage2<Granule::k4K>::geometry(40)->leaf_levels), 0b0111);
  EXPECT_EQ((Stage2<Granule::k4K>::geometry(48)->leaf_levels), 0b0111);
  EXPECT_EQ((Stage2<Granule::k4K, Width::k52>::geometry(40)->leaf_levels), 0b0111);
  EXPECT_EQ((Stage2<Granule::k4K, Width::k52>::geometry(52)->leaf_levels), 0b1111);
  EXPECT_EQ((Stage2<Granule::k16K>::geometry(40)->leaf_levels), 0b0011);
  EXPECT_EQ((Stage2<Granule::k16K>::geometry(48)->leaf_levels), 0b0011);
  EXPECT_EQ((Stage2<Granule::k16K, Width::k52>::geometry(48)->leaf_levels), 0b0111);
  EXPECT_EQ((Stage2<Granule::k16K, Width::k52>::geometry(52)->leaf_levels), 0b0111);
  EXPECT_EQ((Stage2<Granule::k64K>::geometry(32)->leaf_levels), 0b0001);
  EXPECT_EQ((Stage2<Granule::k64K>::geometry(42)->leaf_levels), 0b0011);
  EXPECT_EQ((Stage2<Granule::k64K>::geometry(48)->leaf_levels), 0b0011);
  EXPECT_EQ((Stage2<Granule::k64K, Width::k52>::geometry(52)->leaf_levels), 0b0111);
}

TEST(Stage2Geometry, offers_32_to_48_bits_and_52_where_entries_hold_them) {
  for (unsigned bits = 0; bits < 70; ++bits) {
    const bool narrow = bits >= 32 && bits <= 48;
    const bool wide = bits >= 32 && bits <= 52;
    EXPECT_EQ(Stage2<Granule::k4K>::geometry(bits).ok(), narrow) << bits;
    EXPECT_EQ(Stage2<Granule::k16K>::geometry(bits).ok(), narrow) << bits;
    EXPECT_EQ(Stage2<Granule::k64K>::geometry(bits).ok(), narrow) << bits;
    EXPECT_EQ((Stage2<Granule::k4K, Width::k52>::geometry(bits).ok()), wide) << bits;
    EXPECT_EQ((Stage2<Granule::k16K, Width::k52>::geometry(bits).ok()), wide) << bits;
    EXPECT_EQ((Stage2<Granule::k64K, Width::k52>::geometry(bits).ok()), wide) << bits;
  }
  EXPECT_EQ((Stage2<Granule::k4K>::geometry(49)), Error::UnsupportedGeometry);
}

TEST(Stage2Geometry, is_supported_up_to_the_physical_size) {
  for (const u8 physical : {u8{32}, u8{36}, u8{40}, u8{42}, u8{44}, u8{48}, u8{52}}) {
    const Stage2<Granule::k4K> format(machine(physical));
    for (unsigned bits = 32; bits <= 48; ++bits) {
      const Result<void> found = format.supports(Stage2<Granule::k4K>::geometry(bits).value());
      EXPECT_EQ(found.ok(), bits <= physical) << bits << " of " << physical;
      if (!found) {
        EXPECT_EQ(found, Error::UnsupportedGeometry);
      }
    }
  }
}

// AArch64.S2InvalidSL: some start levels need a minimal physical size, 44 bits for level 0 with 4K,
// 42 for level 1 with 16K, 44 for level 1 with 64K.
TEST(Stage2Geometry, starts_at_no_level_that_the_physical_size_rules_out) {
  for (const u8 physical : {u8{32}, u8{36}, u8{40}, u8{42}, u8{44}, u8{48}}) {
    for (unsigned bits = 32; bits <= physical; ++bits) {
      SCOPED_TRACE(bits);
      if (physical < 44) {
        EXPECT_LT(Stage2<Granule::k4K>::geometry(bits)->levels, 4);
        EXPECT_LT(Stage2<Granule::k64K>::geometry(bits)->levels, 3);
      }
      if (physical < 42) {
        EXPECT_LT(Stage2<Granule::k16K>::geometry(bits)->levels, 3);
      }
    }
  }
}

// Intel SDM, "4-Level Paging and 5-Level Paging".
TEST(LongModeGeometry, has_48_or_57_bits_and_canonical_addresses) {
  const Geometry four = LongMode::geometry(4).value();
  EXPECT_EQ(four.levels, 4);
  EXPECT_EQ(four.input_bits, 48);
  EXPECT_EQ(four.root_bytes(), 4 * kKiB);
  EXPECT_EQ(four.leaf_levels, 0b0111);
  EXPECT_EQ(four.rule, InputRule::Sign);
  const Geometry five = LongMode::geometry(5).value();
  EXPECT_EQ(five.levels, 5);
  EXPECT_EQ(five.input_bits, 57);
  EXPECT_EQ(five.leaf_levels, 0b0111);
  for (const unsigned levels : {0u, 1u, 2u, 3u, 6u}) {
    EXPECT_EQ(LongMode::geometry(levels), Error::UnsupportedGeometry);
  }
}

TEST(SvGeometry, has_39_48_or_57_bits_and_sign_extended_addresses) {
  constexpr unsigned kInputBits[] = {39, 48, 57};
  for (unsigned levels = 3; levels <= 5; ++levels) {
    const Geometry shape = Sv::geometry(levels).value();
    EXPECT_EQ(shape.input_bits, kInputBits[levels - 3]);
    EXPECT_EQ(shape.root_bytes(), 4 * kKiB);
    EXPECT_EQ(shape.output_bits, 56);
    EXPECT_EQ(shape.rule, InputRule::Sign);
    EXPECT_EQ(shape.leaf_levels, (1 << levels) - 1);
  }
}

// Arm ARM D8, "Translation tables and the translation process": the initial lookup level by the
// input size. Stage 1 has no concatenation: the root is a part of a table.
template <class Format, unsigned N>
void expect_stage1(const ArmLevel (&rows)[N], unsigned bits) {
  SCOPED_TRACE(bits);
  const Geometry shape = Format::geometry(bits).value();
  unsigned levels = 1;
  while (rows[levels - 1].table_bits < bits) ++levels;
  EXPECT_EQ(shape.levels, levels);
  EXPECT_EQ(shape.entries(shape.root_level()), u64{1} << (bits - rows[levels - 1].entry_bits));
  EXPECT_EQ(shape.rule, InputRule::Zero);
}

TEST(Stage1Geometry, starts_at_the_level_whose_single_table_covers_the_input) {
  constexpr ArmLevel kWide4K[] = {
      {3, 12, 21}, {2, 21, 30}, {1, 30, 39}, {0, 39, 48}, {~0u, 48, 57}};  // level -1 is last
  for (unsigned bits = 32; bits <= 48; ++bits) {
    expect_stage1<Stage1<Granule::k4K>>(kLevels4K, bits);
    expect_stage1<Stage1<Granule::k16K>>(kLevels16K, bits);
    expect_stage1<Stage1<Granule::k64K>>(kLevels64K, bits);
  }
  for (unsigned bits = 32; bits <= 52; ++bits) {
    expect_stage1<Stage1<Granule::k4K, Width::k52>>(kWide4K, bits);
    expect_stage1<Stage1<Granule::k16K, Width::k52>>(kLevels16K, bits);
    expect_stage1<Stage1<Granule::k64K, Width::k52>>(kLevels64K, bits);
  }
}

TEST(Stage1Geometry, has_the_usual_shapes_of_kernels) {
  EXPECT_EQ((Stage1<Granule::k4K>::geometry(39)->levels), 3);
  EXPECT_EQ((Stage1<Granule::k4K>::geometry(48)->levels), 4);
  EXPECT_EQ((Stage1<Granule::k4K, Width::k52>::geometry(52)->levels), 5);
  EXPECT_EQ((Stage1<Granule::k4K, Width::k52>::geometry(52)->root_bytes()), 128u);  // 2^4 entries
  EXPECT_EQ((Stage1<Granule::k16K>::geometry(47)->levels), 3);
  EXPECT_EQ((Stage1<Granule::k16K>::geometry(48)->levels), 4);
  EXPECT_EQ((Stage1<Granule::k16K>::geometry(48)->root_bytes()), 16u);  // two entries
  EXPECT_EQ((Stage1<Granule::k64K>::geometry(42)->levels), 2);
  EXPECT_EQ((Stage1<Granule::k64K, Width::k52>::geometry(52)->levels), 3);
}

TEST(Stage1Geometry, serves_ones_in_the_upper_half) {
  EXPECT_EQ((Stage1<Granule::k4K>::geometry(48)->rule), InputRule::Zero);
  EXPECT_EQ((Stage1<Granule::k4K>::geometry(48, VaHalf::Upper)->rule), InputRule::Ones);
  EXPECT_EQ((Stage1<Granule::k4K>::geometry(31)), Error::UnsupportedGeometry);
  EXPECT_EQ((Stage1<Granule::k4K>::geometry(52)), Error::UnsupportedGeometry);
}

TEST(InputRule, zero_accepts_what_the_tables_translate) {
  const Geometry x4 = GStage::geometry(3).value();  // 41 bits
  EXPECT_TRUE(x4.accepts(0));
  EXPECT_TRUE(x4.accepts((u64{1} << 41) - 1));
  EXPECT_FALSE(x4.accepts(u64{1} << 41));
  EXPECT_FALSE(x4.accepts(u64{1} << 63));
  EXPECT_FALSE(x4.accepts(kLastByte));
}

TEST(InputRule, sign_accepts_canonical_addresses_only) {
  const Geometry four = LongMode::geometry(4).value();
  EXPECT_TRUE(four.accepts(0));
  EXPECT_TRUE(four.accepts(0x0000'7fff'ffff'ffff));
  EXPECT_FALSE(four.accepts(0x0000'8000'0000'0000));
  EXPECT_FALSE(four.accepts(0xffff'7fff'ffff'ffff));
  EXPECT_TRUE(four.accepts(0xffff'8000'0000'0000));
  EXPECT_TRUE(four.accepts(kLastByte));
  EXPECT_FALSE(four.accepts(0x7fff'8000'0000'0000));  // one copy of the sign bit is missing
  EXPECT_FALSE(four.accepts(0xfffe'8000'0000'0000));

  const Geometry five = LongMode::geometry(5).value();
  EXPECT_TRUE(five.accepts(0x00ff'ffff'ffff'ffff));
  EXPECT_FALSE(five.accepts(0x0100'0000'0000'0000));
  EXPECT_TRUE(five.accepts(0xff00'0000'0000'0000));
  EXPECT_FALSE(five.accepts(0xfeff'ffff'ffff'ffff));

  const Geometry sv39 = Sv::geometry(3).value();
  EXPECT_TRUE(sv39.accepts(0x0000'003f'ffff'ffff));
  EXPECT_FALSE(sv39.accepts(0x0000'0040'0000'0000));
  EXPECT_TRUE(sv39.accepts(0xffff'ffc0'0000'0000));
  EXPECT_FALSE(sv39.accepts(0xffff'ffbf'ffff'ffff));
}

TEST(InputRule, ones_accepts_the_upper_half_only) {
  const Geometry upper = Stage1<Granule::k4K>::geometry(48, VaHalf::Upper).value();
  EXPECT_TRUE(upper.accepts(0xffff'0000'0000'0000));  // bit 47 is translated: no sign extension
  EXPECT_TRUE(upper.accepts(0xffff'8000'0000'0000));
  EXPECT_TRUE(upper.accepts(kLastByte));
  EXPECT_FALSE(upper.accepts(0xfffe'ffff'ffff'ffff));
  EXPECT_FALSE(upper.accepts(0));

  const Geometry lower = Stage1<Granule::k4K>::geometry(48).value();
  EXPECT_TRUE(lower.accepts(0x0000'ffff'ffff'ffff));
  EXPECT_FALSE(lower.accepts(0x0001'0000'0000'0000));
  EXPECT_FALSE(lower.accepts(kLastByte));
}

TEST(InputRule, accepts_everything_where_all_64_bits_are_translated) {
  Geometry all;
  all.input_bits = 64;
  for (const InputRule rule : {InputRule::Zero, InputRule::Sign, InputRule::Ones}) {
    all.rule = rule;
    EXPECT_TRUE(all.accepts(0));
    EXPECT_TRUE(all.accepts(u64{1} << 63));
    EXPECT_TRUE(all.accepts(kLastByte));
  }
}

TEST(Geometry, accepts_ranges_within_one_half) {
  const Geometry four = LongMode::geometry(4).value();
  EXPECT_TRUE(four.accepts(virtual_range(0, u64{1} << 47)));
  EXPECT_FALSE(four.accepts(virtual_range(0, (u64{1} << 47) + 1)));
  EXPECT_FALSE(four.accepts(virtual_range(0x0000'8000'0000'0000, 0x1000)));
  // From the last page of the lower half to the first page of the upper one.
  EXPECT_FALSE(
      four.accepts(GvaRange::between(Gva(0x0000'7fff'ffff'f000), Gva(0xffff'8000'0000'1000))));
}

TEST(Geometry, accepts_ranges_that_end_at_2_to_the_64) {
  const u64 page = 0xffff'ffff'ffff'f000;
  EXPECT_TRUE(LongMode::geometry(4)->accepts(virtual_range(page, 0x1000)));
  EXPECT_TRUE(LongMode::geometry(4)->accepts(virtual_range(u64{0xffff'8} << 44, u64{1} << 47)));
  EXPECT_TRUE(Sv::geometry(3)->accepts(virtual_range(page, 0x1000)));
  const Geometry upper = Stage1<Granule::k4K>::geometry(48, VaHalf::Upper).value();
  EXPECT_TRUE(upper.accepts(virtual_range(page, 0x1000)));
  EXPECT_TRUE(upper.accepts(virtual_range(u64{0xffff} << 48, u64{1} << 48)));
  EXPECT_FALSE(upper.accepts(virtual_range((u64{0xffff} << 48) - 1, 2)));
  EXPECT_FALSE(Ept::geometry(4)->accepts(GpaRange::make(Gpa(page), 0x1000).value()));
}

TEST(Geometry, accepts_guest_physical_ranges_up_to_the_width) {
  const Geometry shape = Ept::geometry(4).value();
  EXPECT_TRUE(shape.accepts(GpaRange::make(Gpa(0), u64{1} << 48).value()));
  EXPECT_FALSE(shape.accepts(GpaRange::make(Gpa(0), (u64{1} << 48) + 1).value()));
  EXPECT_TRUE(shape.accepts(GpaRange::make(Gpa((u64{1} << 48) - 1), 1).value()));
}

TEST(Geometry, translates_the_low_bits) {
  EXPECT_EQ(LongMode::geometry(4)->translated(0xffff'8000'1234'5678), 0x0000'8000'1234'5678u);
  EXPECT_EQ(Sv::geometry(3)->translated(kLastByte), 0x7f'ffff'ffffu);
  EXPECT_EQ(GStage::geometry(3)->translated(0x1ff'ffff'ffff), 0x1ff'ffff'ffffu);
}

}  // namespace
}  // namespace nestwalk::addrspace::geometry_test
