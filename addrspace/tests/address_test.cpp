// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/address.hpp"

#include <gtest/gtest.h>

#include <concepts>
#include <limits>
#include <type_traits>
#include <vector>

#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::addrspace::address_test {
namespace {

constexpr u64 kLastByte = std::numeric_limits<u64>::max();  // 2^64 - 1
constexpr u64 kTopPage = kLastByte - 0xfff;                 // 2^64 - 4096

GpaRange range(u64 start, u64 size) { return GpaRange::make(Gpa(start), size).value(); }

TEST(Arithmetic, knows_the_powers_of_two) {
  EXPECT_FALSE(is_power_of_two(0));
  for (unsigned n = 0; n < 64; ++n) {
    EXPECT_TRUE(is_power_of_two(u64{1} << n)) << n;
    if (n > 1) {
      EXPECT_FALSE(is_power_of_two((u64{1} << n) - 1)) << n;
      EXPECT_FALSE(is_power_of_two((u64{1} << n) + 1)) << n;
    }
  }
}

TEST(Arithmetic, masks_of_64_bits_and_more_are_all_ones) {
  EXPECT_EQ(low_mask(0), 0u);
  EXPECT_EQ(low_mask(1), 1u);
  EXPECT_EQ(low_mask(12), 0xfffu);
  EXPECT_EQ(low_mask(63), 0x7fff'ffff'ffff'ffffu);
  EXPECT_EQ(low_mask(64), kLastByte);
  EXPECT_EQ(low_mask(200), kLastByte);
}

TEST(Arithmetic, aligns_down_to_powers_of_two) {
  EXPECT_EQ(align_down(0x1fff, 0x1000), 0x1000u);
  EXPECT_EQ(align_down(0x2000, 0x1000), 0x2000u);
  EXPECT_EQ(align_down(kLastByte, 0x1000), kTopPage);
  EXPECT_TRUE(is_aligned(0, kGiB));
  EXPECT_TRUE(is_aligned(3 * kGiB, kGiB));
  EXPECT_FALSE(is_aligned(kGiB + 1, kGiB));
}

TEST(Address, starts_at_zero) {
  EXPECT_EQ(Gpa().value(), 0u);
  EXPECT_EQ(Gpa(), Gpa(0));
}

TEST(Address, is_totally_ordered_over_all_64_bits) {
  EXPECT_LT(Gpa(0), Gpa(1));
  EXPECT_LE(Gpa(1), Gpa(1));
  EXPECT_GT(Gpa(kLastByte), Gpa(0x7fff'ffff'ffff'ffff));  // unsigned, not two's complement
  EXPECT_NE(Gpa(1), Gpa(u64{1} << 32 | 1));
}

TEST(Address, adds_and_subtracts_bytes) {
  EXPECT_EQ(Gpa(0x1000) + 0x234, Gpa(0x1234));
  EXPECT_EQ(Gpa(0x1234) - 0x234, Gpa(0x1000));
  EXPECT_EQ(Gpa(0x3000) - Gpa(0x1000), 0x2000u);
  Gpa moving(0x1000);
  moving += 0x1000;
  EXPECT_EQ(moving, Gpa(0x2000));
  moving -= 0x2000;
  EXPECT_EQ(moving, Gpa(0));
}

TEST(Address, wraps_as_an_adder_does) {
  EXPECT_EQ(Gpa(kTopPage) + 0x1000, Gpa(0));
  EXPECT_EQ(Gpa(0) - 1, Gpa(kLastByte));
  EXPECT_EQ(Gpa(0) - Gpa(kTopPage), 0x1000u);
}

TEST(Address, knows_its_alignment) {
  EXPECT_EQ(Gpa(0x1234'5678).aligned_down(0x1000), Gpa(0x1234'5000));
  EXPECT_EQ(Gpa(0x1234'5678).offset_in(0x1000), 0x678u);
  EXPECT_EQ(Gpa(0x1234'5678).aligned_down(1), Gpa(0x1234'5678));
  EXPECT_TRUE(Gpa(0x20'0000).is_aligned(2 * kMiB));
  EXPECT_FALSE(Gpa(0x20'1000).is_aligned(2 * kMiB));
  EXPECT_TRUE(Gpa(0).is_aligned(u64{1} << 63));
}

// An address of one space where another belongs does not compile.
static_assert(!std::same_as<Gpa, Hpa> && !std::same_as<Gva, Hva> && !std::same_as<Gva, Gpa>);
static_assert(!std::convertible_to<u64, Gpa> && !std::convertible_to<Gpa, u64>);
static_assert(!std::constructible_from<Gpa, Hpa> && !std::assignable_from<Gpa&, Hva>);
static_assert(!std::equality_comparable_with<Gpa, Hpa>);
static_assert(sizeof(Gpa) == sizeof(u64) && std::is_trivially_copyable_v<Gpa>);

TEST(Range, is_empty_at_zero_by_default) {
  EXPECT_EQ(GpaRange(), range(0, 0));
  EXPECT_TRUE(GpaRange().empty());
}

TEST(Range, has_a_start_a_size_an_end_and_a_last_byte) {
  const GpaRange middle = range(0x1000, 0x2000);
  EXPECT_EQ(middle.start(), Gpa(0x1000));
  EXPECT_EQ(middle.size(), 0x2000u);
  EXPECT_EQ(middle.end(), Gpa(0x3000));
  EXPECT_EQ(middle.last(), Gpa(0x2fff));
  EXPECT_FALSE(middle.empty());
  EXPECT_EQ(GpaRange::between(Gpa(0x1000), Gpa(0x3000)), middle);
}

TEST(Range, may_end_at_2_to_the_64_but_not_beyond) {
  EXPECT_TRUE(GpaRange::make(Gpa(kTopPage), 0x1000));
  EXPECT_EQ(GpaRange::make(Gpa(kTopPage), 0x1001), Error::AddressOverflow);
  EXPECT_TRUE(GpaRange::make(Gpa(0), kLastByte));
  EXPECT_TRUE(GpaRange::make(Gpa(1), kLastByte));
  EXPECT_EQ(GpaRange::make(Gpa(2), kLastByte), Error::AddressOverflow);
  EXPECT_TRUE(GpaRange::make(Gpa(kLastByte), 1));
  EXPECT_EQ(GpaRange::make(Gpa(kLastByte), 2), Error::AddressOverflow);
  EXPECT_EQ(GpaRange::make(Gpa(kLastByte), kLastByte), Error::AddressOverflow);
}

TEST(Range, may_be_empty_at_any_address) {
  EXPECT_TRUE(GpaRange::make(Gpa(0), 0));
  EXPECT_TRUE(GpaRange::make(Gpa(kLastByte), 0));
}

TEST(Range, that_ends_at_2_to_the_64_contains_its_last_byte) {
  const GpaRange top = range(kTopPage, 0x1000);
  EXPECT_EQ(top.end(), Gpa(0));
  EXPECT_EQ(top.last(), Gpa(kLastByte));
  EXPECT_EQ(GpaRange::between(Gpa(kTopPage), Gpa(0)), top);
  EXPECT_TRUE(top.contains(Gpa(kTopPage)));
  EXPECT_TRUE(top.contains(Gpa(kLastByte)));
  EXPECT_FALSE(top.contains(Gpa(kTopPage - 1)));
  EXPECT_FALSE(top.contains(Gpa(0)));
}

TEST(Range, contains_its_bytes_and_no_others) {
  const GpaRange three = range(5, 3);
  for (u64 byte = 0; byte < 16; ++byte) {
    EXPECT_EQ(three.contains(Gpa(byte)), byte == 5 || byte == 6 || byte == 7) << byte;
  }
  EXPECT_FALSE(three.contains(Gpa(kLastByte)));
}

TEST(Range, that_is_empty_contains_no_address) {
  EXPECT_FALSE(range(5, 0).contains(Gpa(5)));
  EXPECT_FALSE(range(5, 0).contains(Gpa(4)));
  EXPECT_FALSE(range(0, 0).contains(Gpa(0)));
}

// The slow definition, byte by byte, for ranges within [0, 12).
bool contains_each_byte(GpaRange outer, GpaRange inner) {
  for (u64 byte = 0; byte < 12; ++byte) {
    if (inner.contains(Gpa(byte)) && !outer.contains(Gpa(byte))) return false;
  }
  return true;
}
bool share_a_byte(GpaRange a, GpaRange b) {
  for (u64 byte = 0; byte < 12; ++byte) {
    if (a.contains(Gpa(byte)) && b.contains(Gpa(byte))) return true;
  }
  return false;
}
std::vector<GpaRange> small_ranges() {
  std::vector<GpaRange> ranges;
  for (u64 start = 0; start < 6; ++start) {
    for (u64 size = 0; size < 6; ++size) ranges.push_back(range(start, size));
  }
  return ranges;
}

TEST(Range, contains_and_overlaps_as_sets_of_bytes_do) {
  for (const GpaRange a : small_ranges()) {
    for (const GpaRange b : small_ranges()) {
      EXPECT_EQ(a.overlaps(b), share_a_byte(a, b)) << to_text(a).c_str() << to_text(b).c_str();
      if (b.empty()) continue;  // below: where an empty range is contained is a convention
      EXPECT_EQ(a.contains(b), contains_each_byte(a, b))
          << to_text(a).c_str() << to_text(b).c_str();
    }
  }
}

TEST(Range, contains_an_empty_range_from_its_start_to_its_end) {
  const GpaRange outer = range(0x1000, 0x1000);
  EXPECT_FALSE(outer.contains(range(0xfff, 0)));
  EXPECT_TRUE(outer.contains(range(0x1000, 0)));
  EXPECT_TRUE(outer.contains(range(0x1800, 0)));
  EXPECT_TRUE(outer.contains(range(0x2000, 0)));
  EXPECT_FALSE(outer.contains(range(0x2001, 0)));
  EXPECT_TRUE(range(5, 0).contains(range(5, 0)));
  EXPECT_FALSE(range(5, 0).contains(range(6, 0)));
  EXPECT_FALSE(range(5, 0).contains(range(5, 1)));
}

TEST(Range, that_is_empty_overlaps_nothing) {
  EXPECT_FALSE(range(0x1000, 0x1000).overlaps(range(0x1800, 0)));
  EXPECT_FALSE(range(0x1800, 0).overlaps(range(0x1000, 0x1000)));
  EXPECT_FALSE(range(5, 0).overlaps(range(5, 0)));
}

TEST(Range, overlaps_and_contains_at_2_to_the_64) {
  const GpaRange top = range(kTopPage, 0x1000);
  EXPECT_TRUE(top.overlaps(range(kLastByte, 1)));
  EXPECT_TRUE(range(0, kLastByte).overlaps(top));
  EXPECT_FALSE(top.overlaps(range(0, 0x1000)));  // it ends where that starts, modulo 2^64
  EXPECT_FALSE(range(0, 0x1000).overlaps(top));
  EXPECT_FALSE(top.overlaps(range(0, kTopPage)));
  EXPECT_TRUE(top.contains(range(kLastByte, 1)));
  EXPECT_TRUE(top.contains(top));
  EXPECT_FALSE(top.contains(range(kTopPage - 1, 2)));
  EXPECT_FALSE(top.contains(range(0, 1)));
  EXPECT_FALSE(range(1, kLastByte).contains(range(0, 1)));
}

TEST(Range, intersects_in_the_bytes_that_both_have) {
  for (const GpaRange a : small_ranges()) {
    for (const GpaRange b : small_ranges()) {
      const GpaRange both = a.intersection(b);
      for (u64 byte = 0; byte < 12; ++byte) {
        EXPECT_EQ(both.contains(Gpa(byte)), a.contains(Gpa(byte)) && b.contains(Gpa(byte)));
      }
      EXPECT_EQ(both.size(), b.intersection(a).size());
    }
  }
  EXPECT_EQ(range(1, kLastByte).intersection(range(kTopPage, 0x1000)), range(kTopPage, 0x1000));
}

TEST(Range, is_aligned_when_start_and_size_are) {
  EXPECT_TRUE(range(0x2000, 0x3000).is_aligned(0x1000));
  EXPECT_FALSE(range(0x2001, 0x3000).is_aligned(0x1000));
  EXPECT_FALSE(range(0x2000, 0x3001).is_aligned(0x1000));
  EXPECT_FALSE(range(0x1000, 0x1000).is_aligned(0x2000));
  EXPECT_TRUE(range(kTopPage, 0x1000).is_aligned(0x1000));
  EXPECT_TRUE(range(0x1000, 0).is_aligned(0x1000));
}

std::vector<u64> addresses(const Pages<Gpa>& pages) {
  std::vector<u64> found;
  for (const Gpa page : pages) found.push_back(page.value());
  return found;
}

TEST(Pages, visits_each_page_once_and_in_order) {
  const Pages<Gpa> pages = Pages<Gpa>::of(range(0x3000, 0x3000), 0x1000).value();
  EXPECT_EQ(pages.count(), 3u);
  EXPECT_EQ(addresses(pages), (std::vector<u64>{0x3000, 0x4000, 0x5000}));
}

TEST(Pages, come_in_every_size) {
  EXPECT_EQ(addresses(Pages<Gpa>::of(range(0, 4), 1).value()), (std::vector<u64>{0, 1, 2, 3}));
  EXPECT_EQ(addresses(Pages<Gpa>::of(range(2 * kMiB, 4 * kMiB), 2 * kMiB).value()),
            (std::vector<u64>{2 * kMiB, 4 * kMiB}));
  EXPECT_EQ(addresses(Pages<Gpa>::of(range(kGiB, kGiB), kGiB).value()), (std::vector<u64>{kGiB}));
}

TEST(Pages, of_an_empty_range_are_none) {
  const Pages<Gpa> none = Pages<Gpa>::of(range(0x1000, 0), 0x1000).value();
  EXPECT_EQ(none.count(), 0u);
  EXPECT_TRUE(addresses(none).empty());
}

TEST(Pages, reach_2_to_the_64) {
  const GpaRange top = range(kTopPage - 0x1000, 0x2000);
  EXPECT_EQ(addresses(Pages<Gpa>::of(top, 0x1000).value()),
            (std::vector<u64>{kTopPage - 0x1000, kTopPage}));
}

TEST(Pages, need_a_power_of_two_that_divides_start_and_size) {
  EXPECT_EQ(Pages<Gpa>::of(range(0, 0x3000), 0x3000).error(), Error::Unaligned);
  EXPECT_EQ(Pages<Gpa>::of(range(0, 0x800), 0x1800).error(), Error::Unaligned);
  EXPECT_EQ(Pages<Gpa>::of(range(0, 0x1000), 0).error(), Error::Unaligned);
  EXPECT_EQ(Pages<Gpa>::of(range(0, 0), 0).error(), Error::Unaligned);
  EXPECT_EQ(Pages<Gpa>::of(range(0x800, 0x1000), 0x1000).error(), Error::Unaligned);
  EXPECT_EQ(Pages<Gpa>::of(range(0x1000, 0x1800), 0x1000).error(), Error::Unaligned);
}

TEST(AddressText, names_the_space_and_prints_hexadecimal) {
  EXPECT_STREQ(to_text(Gpa(0x1abc)).c_str(), "GPA:0x1abc");
  EXPECT_STREQ(to_text(Gva(0x1abc)).c_str(), "GVA:0x1abc");
  EXPECT_STREQ(to_text(Hpa(0x1abc)).c_str(), "PA:0x1abc");
  EXPECT_STREQ(to_text(Hva(0x1abc)).c_str(), "VA:0x1abc");
  EXPECT_STREQ(to_upper_text(Gpa(0x1abc)).c_str(), "GPA:0x1ABC");
  EXPECT_STREQ(to_upper_text(Hpa(0xdef0)).c_str(), "PA:0xDEF0");
}

TEST(AddressText, has_no_padding_and_no_limit) {
  EXPECT_STREQ(to_text(Gpa(0)).c_str(), "GPA:0x0");
  EXPECT_STREQ(to_text(Gpa(kLastByte)).c_str(), "GPA:0xffffffffffffffff");
  EXPECT_STREQ(to_upper_text(Gva(kLastByte)).c_str(), "GVA:0xFFFFFFFFFFFFFFFF");
}

TEST(AddressText, prints_a_range_by_its_ends) {
  EXPECT_STREQ(to_text(range(0x1000, 0x1000)).c_str(), "GPA:0x1000..GPA:0x2000");
  EXPECT_STREQ(to_text(HpaRange::make(Hpa(0xa000), 0x6000).value()).c_str(),
               "PA:0xa000..PA:0x10000");
  // The longest: 2 x (4 + 18) characters and the dots.
  EXPECT_STREQ(to_text(range(kLastByte - 1, 1)).c_str(),
               "GPA:0xfffffffffffffffe..GPA:0xffffffffffffffff");
}

TEST(Text, is_cut_off_where_its_buffer_ends) {
  Text<8> text;
  text.add("GPA:").add_hex(0x123456);
  EXPECT_STREQ(text.c_str(), "GPA:0x1");
  EXPECT_EQ(text.size(), 7u);
  EXPECT_TRUE(text == "GPA:0x1");
  EXPECT_FALSE(text == "GPA:0x12");
  EXPECT_FALSE(text == "GPA:0x");
}

TEST(Text, prints_numbers_of_all_lengths) {
  EXPECT_STREQ(Text<32>().add_decimal(0).c_str(), "0");
  EXPECT_STREQ(Text<32>().add_decimal(1000).c_str(), "1000");
  EXPECT_STREQ(Text<32>().add_decimal(kLastByte).c_str(), "18446744073709551615");
  EXPECT_STREQ(Text<32>().add_hex(0).c_str(), "0x0");
  EXPECT_STREQ(Text<32>().add_hex(u64{1} << 63).c_str(), "0x8000000000000000");
}

}  // namespace
}  // namespace nestwalk::addrspace::address_test
