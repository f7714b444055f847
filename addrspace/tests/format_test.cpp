// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the engine relies on in every format. The bits themselves are checked against the manuals
// in the files of the single architectures.
#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <type_traits>
#include <vector>

#include "full_machine.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::format_test {
namespace {

template <class F>
Geometry widest() {
  if constexpr (requires { F::geometry(52).value(); } &&
                F::kArchitecture == Architecture::AArch64) {
    const Result<Geometry> wide = F::geometry(52);
    return wide ? *wide : F::geometry(48).value();
  } else {
    return F::geometry(5).value();
  }
}

template <class F>
Capabilities widest_machine() {
  Capabilities all = full_machine();
  all.physical_bits = widest<F>().output_bits;
  all.leaf_levels = 0b11111;
  all.execute_only = true;
  all.hardware_dirty = true;
  all.page_memory_types = true;
  all.vmid_bits = 16;
  return all;
}

std::vector<MappingFlags> all_flags() {
  std::vector<MappingFlags> found;
  for (u8 bits = 0; bits < 32; ++bits) {
    for (unsigned type = 0; type < kMemoryTypeCount; ++type) {
      found.push_back({Access(bits), static_cast<MemoryType>(type)});
    }
  }
  return found;
}

// What the engine does with an entry that the hardware must not see any more.
template <class F>
u64 parked(u64 entry) {
  return (entry & ~F::kValid) | F::kMarker;
}

template <class F>
class FormatTest : public ::testing::Test {
 protected:
  using Output = typename F::Output;

  static bool is_accessible(MappingFlags flags) { return flags.access.any_of(kRwx); }

  // Addresses that a leaf of `level` may have: 0, each single bit, and all bits.
  std::vector<Output> addresses(unsigned level) const {
    std::vector<Output> found = {Output(0)};
    u64 all = 0;
    for (unsigned bit = shape.shift(level); bit < shape.output_bits; ++bit) {
      found.push_back(Output(u64{1} << bit));
      all |= u64{1} << bit;
    }
    found.push_back(Output(all));
    return found;
  }

  template <class Visit>
  void for_each_leaf(Visit&& visit) const {
    for (unsigned level = 0; level < shape.levels; ++level) {
      if (!shape.may_be_leaf(level)) continue;
      for (const MappingFlags flags : all_flags()) {
        if (!format.check(flags)) continue;
        for (const Output address : addresses(level)) {
          visit(format.leaf(address, flags, level), address, flags, level);
          if (this->HasFailure()) {
            FAIL() << "level " << level << ", " << to_text(flags).c_str() << ", "
                   << to_text(address).c_str();
          }
        }
      }
    }
  }
  template <class Visit>
  void for_each_table(Visit&& visit) const {
    for (unsigned level = 1; level < shape.levels; ++level) {
      for (const Output address : addresses(0)) visit(F::table(address), address, level);
    }
  }

  const Geometry shape = widest<F>();
  const F format{widest_machine<F>()};
};

using AllFormats =
    ::testing::Types<Ept, Npt, NptOf<47>, GStage, Stage2<Granule::k4K>, Stage2<Granule::k16K>,
                     Stage2<Granule::k64K>, Stage2<Granule::k4K, Width::k52>,
                     Stage2<Granule::k16K, Width::k52>, Stage2<Granule::k64K, Width::k52>, LongMode,
                     Sv, Stage1<Granule::k4K>, Stage1<Granule::k16K>, Stage1<Granule::k64K>,
                     Stage1<Granule::k4K, Width::k52>, Stage1<Granule::k16K, Width::k52>,
                     Stage1<Granule::k64K, Width::k52>>;

struct FormatNames {
  template <class F>
  static std::string GetName(int) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    if constexpr (std::is_same_v<F, Ept>) return "Ept";
    if constexpr (std::is_same_v<F, Npt>) return "Npt";
    if constexpr (std::is_same_v<F, NptOf<47>>) return "NptEncrypted";
    if constexpr (std::is_same_v<F, LongMode>) return "LongMode";
    if constexpr (std::is_same_v<F, GStage>) return "GStage";
    if constexpr (std::is_same_v<F, Sv>) return "Sv";
    const std::string stage = NestedFormat<F> ? "Stage2_" : "Stage1_";
    const std::string granule = std::to_string(1u << (F::kPageShift - 10)) + "K_";
    return stage + granule + std::to_string(widest<F>().output_bits);
  }
};
TYPED_TEST_SUITE(FormatTest, AllFormats, FormatNames);

TYPED_TEST(FormatTest, makes_leaves_that_the_hardware_takes) {
  this->for_each_leaf([&](u64 entry, auto, MappingFlags flags, unsigned level) {
    if (!this->is_accessible(flags)) return;
    EXPECT_TRUE(TypeParam::is_valid(entry, level));
    EXPECT_FALSE(TypeParam::is_table(entry, level));
    EXPECT_FALSE(this->format.malformed(entry, level));
  });
}

TYPED_TEST(FormatTest, decodes_what_it_encodes) {
  this->for_each_leaf([&](u64 entry, auto address, MappingFlags flags, unsigned level) {
    EXPECT_EQ(TypeParam::address(entry, level), address);
    if (!this->is_accessible(flags)) return;
    // Nested tables serve all privilege levels; x86 has one kind of uncached memory, unless it is
    // encrypted.
    MappingFlags expected = flags;
    if (NestedFormat<TypeParam>) expected.access = expected.access & kRwx;
    if (TypeParam::kArchitecture == Architecture::X86_64 && flags.memory == MemoryType::Uncached &&
        !std::is_same_v<TypeParam, NptOf<47>>) {
      expected.memory = MemoryType::Device;
    }
    EXPECT_EQ(this->format.flags(entry, level), expected);
  });
}

TYPED_TEST(FormatTest, keeps_the_address_apart_from_the_rest_of_a_leaf) {
  this->for_each_leaf([&](u64 entry, auto address, MappingFlags flags, unsigned level) {
    const u64 rest = this->format.leaf(typename TypeParam::Output(0), flags, level);
    EXPECT_EQ(entry, rest | TypeParam::address_bits(address));
    EXPECT_EQ(rest & TypeParam::address_bits(address), 0u);
  });
}

TYPED_TEST(FormatTest, makes_tables_that_the_hardware_takes) {
  this->for_each_table([&](u64 entry, auto address, unsigned level) {
    EXPECT_TRUE(TypeParam::is_valid(entry, level));
    EXPECT_TRUE(TypeParam::is_table(entry, level));
    EXPECT_FALSE(this->format.malformed(entry, level));
    EXPECT_EQ(TypeParam::address(entry, level), address);
  });
}

TYPED_TEST(FormatTest, takes_zero_for_invalid) {
  for (unsigned level = 0; level < this->shape.levels; ++level) {
    EXPECT_FALSE(TypeParam::is_valid(0, level));
  }
}

TYPED_TEST(FormatTest, never_encodes_an_unknown_memory_type) {
  for (u8 bits = 0; bits < 32; ++bits) {
    EXPECT_EQ(this->format.check({Access(bits), MemoryType::Other}), Error::UnsupportedFlags);
  }
}

TYPED_TEST(FormatTest, accepts_ordinary_memory_without_any_access) {
  EXPECT_TRUE(this->format.check({kNoAccess, MemoryType::WriteBack}));
}

TYPED_TEST(FormatTest, encodes_global_mappings_in_guest_tables_only) {
  EXPECT_NE(this->format.check({kRead | kGlobal, MemoryType::WriteBack}).ok(),
            NestedFormat<TypeParam>);
  EXPECT_TRUE(this->format.check({kRead | kUser, MemoryType::WriteBack}));
}

TYPED_TEST(FormatTest, hides_parked_leaves_from_the_hardware_but_not_from_itself) {
  this->for_each_leaf([&](u64 leaf, auto address, MappingFlags, unsigned level) {
    const u64 entry = parked<TypeParam>(leaf);
    EXPECT_NE(entry, 0u);
    EXPECT_FALSE(TypeParam::is_valid(entry, level));
    EXPECT_FALSE(TypeParam::is_table(entry, level));
    EXPECT_EQ(TypeParam::address(entry, level), address);
  });
}

TYPED_TEST(FormatTest, hides_parked_tables_from_the_hardware_but_not_from_itself) {
  this->for_each_table([&](u64 table, auto address, unsigned level) {
    const u64 entry = parked<TypeParam>(table);
    EXPECT_NE(entry, 0u);
    EXPECT_FALSE(TypeParam::is_valid(entry, level));
    EXPECT_TRUE(TypeParam::is_table(entry, level));
    EXPECT_EQ(TypeParam::address(entry, level), address);
  });
}

TYPED_TEST(FormatTest, keeps_software_bits_through_parking) {
  this->for_each_leaf([&](u64 leaf, auto address, MappingFlags, unsigned level) {
    for (const u64 software : {TypeParam::kOwned, TypeParam::kSoftDirty}) {
      const u64 entry = parked<TypeParam>(leaf | software);
      EXPECT_EQ(entry & (TypeParam::kOwned | TypeParam::kSoftDirty), software);
      EXPECT_EQ(TypeParam::address(entry, level), address);
    }
  });
}

TYPED_TEST(FormatTest, has_three_single_software_bits) {
  EXPECT_EQ(std::popcount(TypeParam::kOwned), 1);
  EXPECT_EQ(std::popcount(TypeParam::kSoftDirty), 1);
  EXPECT_EQ(std::popcount(TypeParam::kMarker), 1);
  const u64 all = TypeParam::kOwned | TypeParam::kSoftDirty | TypeParam::kMarker;
  EXPECT_EQ(std::popcount(all), 3);
  EXPECT_EQ(all & TypeParam::kValid, 0u);
}

TYPED_TEST(FormatTest, has_software_bits_that_leaves_do_not_use) {
  const u64 software = TypeParam::kOwned | TypeParam::kSoftDirty;
  this->for_each_leaf([&](u64 leaf, auto address, MappingFlags flags, unsigned level) {
    EXPECT_EQ(leaf & software, 0u);
    if (!this->is_accessible(flags)) return;
    const u64 marked = leaf | software;
    EXPECT_TRUE(TypeParam::is_valid(marked, level));
    EXPECT_FALSE(TypeParam::is_table(marked, level));
    EXPECT_FALSE(this->format.malformed(marked, level));
    EXPECT_EQ(TypeParam::address(marked, level), address);
    EXPECT_EQ(this->format.flags(marked, level), this->format.flags(leaf, level));
  });
}

TYPED_TEST(FormatTest, has_software_bits_that_tables_do_not_use) {
  const u64 software = TypeParam::kOwned | TypeParam::kSoftDirty;
  this->for_each_table([&](u64 table, auto address, unsigned level) {
    EXPECT_EQ(table & software, 0u);
    EXPECT_TRUE(TypeParam::is_table(table | software, level));
    EXPECT_FALSE(this->format.malformed(table | software, level));
    EXPECT_EQ(TypeParam::address(table | software, level), address);
  });
}

TYPED_TEST(FormatTest, takes_the_write_permission_away_and_nothing_else) {
  this->for_each_leaf([&](u64 leaf, auto address, MappingFlags flags, unsigned level) {
    if (!this->is_accessible(flags)) return;
    EXPECT_EQ(TypeParam::is_writable(leaf), flags.access.has(kWrite));
    const u64 entry = TypeParam::without_write(leaf);
    EXPECT_FALSE(TypeParam::is_writable(entry));
    EXPECT_EQ(TypeParam::address(entry, level), address);
    MappingFlags expected = this->format.flags(leaf, level);
    expected.access = expected.access.without(kWrite);
    // Write-only pages (Arm's stage 2 has them) are left without any access.
    if (this->is_accessible(expected)) {
      EXPECT_EQ(this->format.flags(entry, level), expected);
    }
  });
}

TYPED_TEST(FormatTest, cleans_and_dirties_writable_leaves) {
  this->for_each_leaf([&](u64 leaf, auto address, MappingFlags flags, unsigned level) {
    if (!flags.access.has(kWrite)) return;
    const u64 clean = TypeParam::cleaned(leaf);
    EXPECT_FALSE(TypeParam::is_dirty(clean));
    EXPECT_TRUE(TypeParam::is_writable(clean));
    EXPECT_TRUE(TypeParam::is_valid(clean, level));
    EXPECT_FALSE(TypeParam::is_table(clean, level));
    EXPECT_FALSE(this->format.malformed(clean, level));
    EXPECT_EQ(TypeParam::address(clean, level), address);
    EXPECT_EQ(this->format.flags(clean, level), this->format.flags(leaf, level));

    const u64 dirty = TypeParam::dirtied(clean);
    EXPECT_TRUE(TypeParam::is_dirty(dirty));
    EXPECT_TRUE(TypeParam::is_writable(dirty));
    EXPECT_EQ(this->format.flags(dirty, level), this->format.flags(leaf, level));
    EXPECT_FALSE(TypeParam::is_writable(TypeParam::without_write(clean)));
  });
}

TYPED_TEST(FormatTest, cleaning_never_gives_a_read_only_leaf_the_write_permission) {
  this->for_each_leaf([&](u64 leaf, auto, MappingFlags flags, unsigned level) {
    if (!this->is_accessible(flags) || flags.access.has(kWrite)) return;
    const u64 clean = TypeParam::cleaned(leaf);
    EXPECT_FALSE(TypeParam::is_writable(clean));
    EXPECT_FALSE(TypeParam::is_dirty(clean));
    EXPECT_EQ(this->format.flags(clean, level), this->format.flags(leaf, level));
  });
}

TEST(MappingFlags, prints_its_permissions_and_its_memory_type) {
  EXPECT_STREQ(to_text({kNoAccess, MemoryType::WriteBack}).c_str(), "0x0");
  EXPECT_STREQ(to_text({kRead | kWrite, MemoryType::WriteBack}).c_str(), "READ | WRITE");
  EXPECT_STREQ(to_text({kRwx | kUser, MemoryType::WriteBack}).c_str(),
               "READ | WRITE | EXECUTE | USER");
  EXPECT_STREQ(to_text({kRead, MemoryType::Device}).c_str(), "READ | DEVICE");
  EXPECT_STREQ(to_text({kRead | kWrite, MemoryType::Uncached}).c_str(), "READ | WRITE | UNCACHED");
  EXPECT_STREQ(to_text({kNoAccess, MemoryType::Device}).c_str(), "DEVICE");
  // The longest.
  EXPECT_STREQ(to_text({kRwx | kUser | kGlobal, MemoryType::WriteProtected}).c_str(),
               "READ | WRITE | EXECUTE | USER | GLOBAL | WRITE_PROTECTED");
}

TEST(Access, is_a_set) {
  const Access both = kRead | kWrite;
  EXPECT_TRUE(both.has(kRead));
  EXPECT_TRUE(both.has(both));
  EXPECT_TRUE(both.has(kNoAccess));
  EXPECT_FALSE(both.has(kRead | kExecute));
  EXPECT_TRUE(both.any_of(kRead | kExecute));
  EXPECT_FALSE(both.any_of(kExecute));
  EXPECT_EQ(both.without(kWrite), kRead);
  EXPECT_EQ(both.without(kExecute), both);
  EXPECT_EQ(both & (kWrite | kExecute), kWrite);
  EXPECT_TRUE(kNoAccess.empty());
  EXPECT_FALSE(both.empty());
}

}  // namespace
}  // namespace nestwalk::addrspace::format_test
