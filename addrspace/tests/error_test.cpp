// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/error.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

namespace nestwalk::addrspace::error_test {
namespace {

struct ErrorCase {
  Error error;
  ErrorClass error_class;
};

// The caller's numbers, flags or hopes were wrong: invalid input. Something is there already. The
// tables are not as the operation needs them. The frames ran out.
constexpr ErrorCase kErrors[] = {
    {Error::OutOfRange, ErrorClass::InvalidInput},
    {Error::Unaligned, ErrorClass::InvalidInput},
    {Error::AddressOverflow, ErrorClass::InvalidInput},
    {Error::EmptyRange, ErrorClass::InvalidInput},
    {Error::UnsupportedFlags, ErrorClass::InvalidInput},
    {Error::UnsupportedGeometry, ErrorClass::InvalidInput},
    {Error::UnsupportedFeature, ErrorClass::InvalidInput},
    {Error::AlreadyMapped, ErrorClass::AlreadyExists},
    {Error::MappedDifferently, ErrorClass::BadState},
    {Error::NotMapped, ErrorClass::BadState},
    {Error::InsufficientAccess, ErrorClass::InvalidInput},  // as a guest access at a bad address
    {Error::WrongState, ErrorClass::BadState},
    {Error::NoMemory, ErrorClass::NoMemory},
    {Error::UnusableFrame, ErrorClass::NoMemory},
};
static_assert(std::size(kErrors) == kErrorCount);

TEST(Error, belongs_to_one_of_the_original_four_classes) {
  for (const ErrorCase& row : kErrors) {
    EXPECT_EQ(class_of(row.error), row.error_class) << to_string(row.error);
  }
}

TEST(Error, has_a_text_of_its_own) {
  std::set<std::string> texts;
  for (const ErrorCase& row : kErrors) texts.insert(to_string(row.error));
  EXPECT_EQ(texts.size(), kErrorCount);
  EXPECT_FALSE(texts.contains(""));
}

TEST(Error, has_a_text_that_fits_what_went_wrong) {
  EXPECT_STREQ(to_string(Error::Unaligned), "not aligned to the page size");
  EXPECT_STREQ(to_string(Error::AlreadyMapped), "already mapped");
  EXPECT_STREQ(to_string(Error::NotMapped), "not mapped");
  EXPECT_STREQ(to_string(Error::NoMemory), "out of memory");
}

TEST(ErrorClass, has_the_original_name) {
  EXPECT_STREQ(to_string(ErrorClass::InvalidInput), "InvalidInput");
  EXPECT_STREQ(to_string(ErrorClass::AlreadyExists), "AlreadyExists");
  EXPECT_STREQ(to_string(ErrorClass::BadState), "BadState");
  EXPECT_STREQ(to_string(ErrorClass::NoMemory), "NoMemory");
}

TEST(Result, holds_a_value_or_an_error) {
  const Result<int> value = 7;
  EXPECT_TRUE(value.ok());
  EXPECT_TRUE(value);
  EXPECT_EQ(value.value(), 7);
  EXPECT_EQ(*value, 7);

  const Result<int> error = Error::NotMapped;
  EXPECT_FALSE(error.ok());
  EXPECT_FALSE(error);
  EXPECT_EQ(error.error(), Error::NotMapped);
}

// Two registers without padding, the value and the state: nothing is stored narrower than it is
// loaded again. (forwarding/ looks at the code.)
static_assert(sizeof(Result<std::uint64_t>) == 2 * sizeof(std::uint64_t));
static_assert(std::has_unique_object_representations_v<Result<std::uint64_t>>);
static_assert(sizeof(Result<void>) == sizeof(std::uint64_t));

TEST(Result, holds_each_error) {
  for (const ErrorCase& row : kErrors) {
    EXPECT_EQ(Result<int>(row.error).error(), row.error);
    EXPECT_EQ(Result<void>(row.error).error(), row.error);
    EXPECT_EQ(Result<std::string>(row.error).error(), row.error);
  }
}

TEST(Result, offers_its_value_to_be_changed) {
  Result<int> result = 7;
  *result += 1;
  result.value() += 1;
  EXPECT_EQ(*result, 9);

  struct Pair {
    int first;
    int second;
  };
  Result<Pair> pair = Pair{1, 2};
  pair->second = 3;
  EXPECT_EQ(std::as_const(pair)->second, 3);
}

TEST(Result, falls_back_when_there_is_no_value) {
  EXPECT_EQ(Result<int>(7).value_or(9), 7);
  EXPECT_EQ(Result<int>(Error::NoMemory).value_or(9), 9);
}

TEST(Result, equals_a_result_with_the_same_value_or_the_same_error) {
  EXPECT_EQ(Result<int>(7), Result<int>(7));
  EXPECT_NE(Result<int>(7), Result<int>(8));
  EXPECT_EQ(Result<int>(Error::NoMemory), Result<int>(Error::NoMemory));
  EXPECT_NE(Result<int>(Error::NoMemory), Result<int>(Error::NotMapped));
  EXPECT_NE(Result<int>(0), Result<int>(Error::OutOfRange));  // whose code is 0, too
  EXPECT_NE(Result<int>(Error::OutOfRange), Result<int>(0));
}

TEST(Result, of_nothing_is_success_or_an_error) {
  EXPECT_TRUE(Result<void>().ok());
  EXPECT_TRUE(Result<void>());
  EXPECT_FALSE(Result<void>(Error::Unaligned));
  EXPECT_EQ(Result<void>(Error::Unaligned).error(), Error::Unaligned);
  EXPECT_EQ(Result<void>(), Result<void>());
  EXPECT_NE(Result<void>(), Result<void>(Error::OutOfRange));
}

TEST(ResultDeathTest, traps_when_the_wrong_half_is_read) {
  const Result<int> value = 7;
  const Result<int> error = Error::NotMapped;
  const Result<std::string> text = Error::NotMapped;
  EXPECT_DEATH(static_cast<void>(error.value()), "");
  EXPECT_DEATH(static_cast<void>(*error), "");
  EXPECT_DEATH(static_cast<void>(text->size()), "");
  EXPECT_DEATH(static_cast<void>(value.error()), "");
  EXPECT_DEATH(static_cast<void>(Result<void>().error()), "");
}

// Trivial payloads travel in registers.
static_assert(std::is_trivially_copyable_v<Result<int>>);
static_assert(std::is_trivially_destructible_v<Result<unsigned long>>);
static_assert(std::is_trivially_copyable_v<Result<void>>);
static_assert(!std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(std::is_nothrow_move_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(!std::is_convertible_v<Result<int>, bool>);

Result<std::unique_ptr<int>> boxed(int value) {
  if (value < 0) return Error::OutOfRange;
  return std::make_unique<int>(value);
}

TEST(Result, carries_a_value_that_only_moves) {
  Result<std::unique_ptr<int>> box = boxed(7);
  ASSERT_TRUE(box);
  EXPECT_EQ(**box, 7);
  const std::unique_ptr<int> taken = *std::move(box);
  EXPECT_EQ(*taken, 7);
  EXPECT_EQ(boxed(-1).error(), Error::OutOfRange);
  EXPECT_EQ(*boxed(8).value(), 8);
}

TEST(Result, moves_with_its_error) {
  Result<std::unique_ptr<int>> error = boxed(-1);
  const Result<std::unique_ptr<int>> moved = std::move(error);
  EXPECT_EQ(moved.error(), Error::OutOfRange);
}

// Counts its constructions and destructions, so that a lost or doubled one shows.
struct Counted {
  explicit Counted(int number) : value(number) { ++constructed; }
  Counted(Counted&& other) noexcept : value(std::exchange(other.value, 0)) { ++constructed; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  Counted& operator=(Counted&&) = delete;
  ~Counted() { ++destroyed; }

  int value;
  static inline int constructed = 0;
  static inline int destroyed = 0;
};

class ResultLifetime : public ::testing::Test {
 protected:
  void SetUp() override { Counted::constructed = Counted::destroyed = 0; }
};

TEST_F(ResultLifetime, destroys_its_value_exactly_once) {
  {
    Result<Counted> result = Counted(7);
    EXPECT_EQ(result->value, 7);
    EXPECT_EQ(Counted::constructed - Counted::destroyed, 1);
  }
  EXPECT_EQ(Counted::constructed, Counted::destroyed);
}

TEST_F(ResultLifetime, destroys_nothing_where_there_is_an_error) {
  {
    Result<Counted> error = Error::NoMemory;
    Result<Counted> moved = std::move(error);
    EXPECT_EQ(moved.error(), Error::NoMemory);
  }
  EXPECT_EQ(Counted::constructed, 0);
  EXPECT_EQ(Counted::destroyed, 0);
}

TEST_F(ResultLifetime, destroys_both_values_after_a_move) {
  {
    Result<Counted> first = Counted(7);
    Result<Counted> second = std::move(first);
    EXPECT_EQ(second->value, 7);
    EXPECT_EQ(Counted::constructed - Counted::destroyed, 2);
    const Counted taken = std::move(second).value();
    EXPECT_EQ(taken.value, 7);
    EXPECT_EQ(Counted::constructed - Counted::destroyed, 3);
  }
  EXPECT_EQ(Counted::constructed, Counted::destroyed);
}

// A value made at compile time.
constexpr Result<int> half(int number) {
  if (number % 2 != 0) return Error::Unaligned;
  return number / 2;
}
static_assert(half(8).value() == 4 && half(7).error() == Error::Unaligned);

}  // namespace
}  // namespace nestwalk::addrspace::error_test
