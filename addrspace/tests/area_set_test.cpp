// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The ordered set of areas that lives in frames of the Hal.
#include "nestwalk/addrspace/area_set.hpp"

#include "reference_model.hpp"

namespace nestwalk::addrspace::area_set_test {
namespace {

using Areas = AreaSet<ArenaHal<>>;
using model::Random;

constexpr u64 kPage = 0x1000;
constexpr MappingFlags kReadable{kRead};
constexpr MappingFlags kWritable{kRead | kWrite};

GpaRange pages(u64 first, u64 count) { return *GpaRange::make(Gpa(first * kPage), count * kPage); }
Area lazy(u64 first, u64 count, MappingFlags flags = kWritable) {
  return {pages(first, count), flags, Backend::lazy()};
}
Area linear(u64 first, u64 count, u64 to) {
  return {pages(first, count), kWritable, Backend::linear(Hpa(to * kPage))};
}

class AreaSetTest : public ::testing::Test {
 protected:
  void insert(const Area& area) {
    ASSERT_TRUE(areas_.reserve(1));
    areas_.insert(area);
    areas_.trim();
  }
  void remove(GpaRange range) {
    ASSERT_TRUE(areas_.reserve(areas_.nodes_to_remove(range)));
    areas_.remove(range);
    areas_.trim();
  }
  void set_flags(GpaRange range, MappingFlags flags) {
    ASSERT_TRUE(areas_.reserve(areas_.nodes_to_set(range)));
    areas_.set_flags(range, flags);
    areas_.trim();
  }
  std::vector<Area> all() const {
    std::vector<Area> list;
    areas_.for_each([&](const Area& area) { list.push_back(area); });
    EXPECT_EQ(list.size(), areas_.size());
    return list;
  }

  ArenaHal<> hal_{1u << 14};
  Areas areas_{hal_};
};

/// Its frames begin where no frame can.
struct CrookedHal : ArenaHal<> {
  using ArenaHal<>::ArenaHal;
  Result<Hpa> alloc_frame(FrameUse) { return *ArenaHal<>::alloc_frame() + kOff; }
  void free_frame(Hpa frame) { ArenaHal<>::free_frame(frame - kOff); }
  static constexpr u64 kOff = 0x100;
};

TEST(AreaSetHal, a_frame_that_is_not_aligned_is_given_back_and_refused) {
  CrookedHal hal(16);
  AreaSet<CrookedHal> areas(hal);
  EXPECT_EQ(areas.reserve(1), Error::UnusableFrame);
  EXPECT_EQ(areas.frames(), 0u);
  EXPECT_EQ(hal.arena().frames_in_use(), 0u);
}

using List = std::vector<Area>;

TEST_F(AreaSetTest, is_empty_at_first_and_takes_no_frame) {
  EXPECT_EQ(areas_.size(), 0u);
  EXPECT_EQ(areas_.frames(), 0u);
  EXPECT_EQ(areas_.find(Gpa(0)), nullptr);
  EXPECT_EQ(areas_.find_again(Gpa(0)), nullptr);
  EXPECT_FALSE(areas_.overlaps(pages(0, 1000)));
}

TEST_F(AreaSetTest, finds_the_area_around_an_address_and_none_beside_it) {
  insert(lazy(10, 2));
  insert(lazy(20, 1));
  EXPECT_EQ(areas_.find(Gpa(10 * kPage - 1)), nullptr);
  ASSERT_NE(areas_.find(Gpa(10 * kPage)), nullptr);
  EXPECT_EQ(*areas_.find(Gpa(12 * kPage - 1)), lazy(10, 2));
  EXPECT_EQ(areas_.find(Gpa(12 * kPage)), nullptr);
  EXPECT_EQ(*areas_.find(Gpa(20 * kPage + 5)), lazy(20, 1));
}

TEST_F(AreaSetTest, remembers_the_area_of_the_last_search_until_it_changes) {
  insert(lazy(10, 4));
  insert(lazy(30, 4, kReadable));
  EXPECT_EQ(*areas_.find_again(Gpa(11 * kPage)), lazy(10, 4));
  EXPECT_EQ(*areas_.find_again(Gpa(30 * kPage)), lazy(30, 4, kReadable));
  EXPECT_EQ(*areas_.find(Gpa(31 * kPage)), lazy(30, 4, kReadable));
  remove(pages(30, 2));
  EXPECT_EQ(areas_.find_again(Gpa(31 * kPage)), nullptr);
  EXPECT_EQ(*areas_.find_again(Gpa(32 * kPage)), lazy(32, 2, kReadable));
  remove(pages(30, 10));
  EXPECT_EQ(areas_.find_again(Gpa(32 * kPage)), nullptr);
}

TEST_F(AreaSetTest, overlap_counts_bytes_in_common_and_not_touching_ends) {
  insert(lazy(10, 2));
  EXPECT_FALSE(areas_.overlaps(pages(8, 2)));
  EXPECT_FALSE(areas_.overlaps(pages(12, 2)));
  EXPECT_FALSE(areas_.overlaps(pages(11, 0)));
  EXPECT_TRUE(areas_.overlaps(pages(8, 3)));
  EXPECT_TRUE(areas_.overlaps(pages(11, 5)));
  EXPECT_TRUE(areas_.overlaps(pages(0, 100)));
}

TEST_F(AreaSetTest, equal_neighbours_become_one_on_either_side) {
  insert(lazy(10, 2));
  insert(lazy(14, 2));
  insert(lazy(12, 2));
  EXPECT_EQ(all(), List{lazy(10, 6)});
}

TEST_F(AreaSetTest, neighbours_that_differ_stay_apart) {
  insert(lazy(10, 2));
  insert(lazy(12, 2, kReadable));
  insert({pages(14, 2), kReadable, Backend::lazy(1)});
  insert({pages(16, 2), kReadable, Backend::eager()});
  EXPECT_EQ(areas_.size(), 4u);
}

TEST_F(AreaSetTest, linear_neighbours_join_where_the_host_memory_goes_on) {
  insert(linear(10, 2, 100));
  insert(linear(12, 2, 102));
  insert(linear(14, 2, 200));
  EXPECT_EQ(all(), (List{linear(10, 4, 100), linear(14, 2, 200)}));
}

TEST_F(AreaSetTest, removing_cuts_what_reaches_beyond_the_range) {
  // The example of the original engine's documentation: [0x10, 0x15) minus [0x12, 0x13) is two
  // areas; then minus [0, 0x11).
  insert(linear(0x10, 5, 0x100));
  remove(pages(0x12, 1));
  EXPECT_EQ(all(), (List{linear(0x10, 2, 0x100), linear(0x13, 2, 0x103)}));
  remove(pages(0, 0x11));
  EXPECT_EQ(all(), (List{linear(0x11, 1, 0x101), linear(0x13, 2, 0x103)}));
  remove(pages(0x14, 100));
  EXPECT_EQ(all(), (List{linear(0x11, 1, 0x101), linear(0x13, 1, 0x103)}));
}

TEST_F(AreaSetTest, removing_nothing_changes_nothing) {
  insert(lazy(10, 4));
  remove(pages(12, 0));
  remove(pages(0, 10));
  remove(pages(14, 10));
  EXPECT_EQ(all(), List{lazy(10, 4)});
}

TEST_F(AreaSetTest, new_flags_cut_at_both_ends_and_join_again_when_equal) {
  insert(lazy(10, 6));
  set_flags(pages(12, 2), kReadable);
  EXPECT_EQ(all(), (List{lazy(10, 2), lazy(12, 2, kReadable), lazy(14, 2)}));
  set_flags(pages(0, 13), kReadable);
  EXPECT_EQ(all(), (List{lazy(10, 4, kReadable), lazy(14, 2)}));
  set_flags(pages(0, 100), kWritable);
  EXPECT_EQ(all(), List{lazy(10, 6)});
}

TEST_F(AreaSetTest, new_flags_for_an_empty_range_cut_nothing) {
  insert(lazy(10, 6));
  EXPECT_EQ(areas_.nodes_to_set(pages(12, 0)), 0u);
  set_flags(pages(12, 0), kReadable);
  EXPECT_EQ(all(), List{lazy(10, 6)});
}

TEST_F(AreaSetTest, visits_the_parts_inside_a_range_in_order) {
  insert(lazy(10, 4));
  insert(lazy(20, 4, kReadable));
  insert(lazy(30, 4));
  std::vector<std::pair<Gpa, GpaRange>> seen;
  areas_.for_each_in(pages(12, 10), [&](const Area& area, GpaRange inside) {
    seen.emplace_back(area.range.start(), inside);
  });
  const std::vector<std::pair<Gpa, GpaRange>> expected{{Gpa(10 * kPage), pages(12, 2)},
                                                       {Gpa(20 * kPage), pages(20, 2)}};
  EXPECT_EQ(seen, expected);
}

TEST_F(AreaSetTest, says_how_many_nodes_a_change_may_need) {
  insert(lazy(10, 6));
  EXPECT_EQ(areas_.nodes_to_remove(pages(11, 2)), 1u);  // two parts stay of one area
  EXPECT_EQ(areas_.nodes_to_remove(pages(10, 2)), 0u);
  EXPECT_EQ(areas_.nodes_to_remove(pages(0, 100)), 0u);
  EXPECT_EQ(areas_.nodes_to_set(pages(11, 2)), 2u);
  EXPECT_EQ(areas_.nodes_to_set(pages(10, 2)), 1u);
  EXPECT_EQ(areas_.nodes_to_set(pages(0, 100)), 0u);
}

TEST_F(AreaSetTest, a_reservation_that_fails_leaves_things_as_they_were) {
  insert(lazy(10, 6));
  const u64 frames = hal_.arena().frames_in_use();
  // Enough for the frame in use, and then no more: fill it up first.
  u64 next = 100;
  while (areas_.frames() == 1) {
    insert(lazy(next, 1));
    next += 2;
  }
  remove(pages(next - 2, 1));
  ASSERT_EQ(hal_.arena().frames_in_use(), frames);
  const List before = all();
  hal_.allocations_left = 0;
  EXPECT_EQ(areas_.reserve(1), Result<void>(Error::NoMemory));
  EXPECT_EQ(all(), before);
  EXPECT_EQ(hal_.arena().frames_in_use(), frames);
  hal_.allocations_left = ArenaHal<>::kNoLimit;
  insert(lazy(next, 1));
  EXPECT_EQ(areas_.size(), before.size() + 1);
}

TEST_F(AreaSetTest, moving_takes_the_frames_along) {
  insert(lazy(10, 6));
  Areas moved(static_cast<Areas&&>(areas_));
  EXPECT_EQ(areas_.size(), 0u);
  EXPECT_EQ(areas_.frames(), 0u);
  EXPECT_EQ(moved.size(), 1u);
  EXPECT_NE(moved.find(Gpa(10 * kPage)), nullptr);
  EXPECT_EQ(hal_.arena().frames_in_use(), 1u);
}

TEST_F(AreaSetTest, the_destructor_gives_the_frames_back) {
  {
    Areas inner(hal_);
    ASSERT_TRUE(inner.reserve(100));
    for (u64 n = 0; n < 100; ++n) inner.insert(lazy(3 * n, 1));
    EXPECT_GT(hal_.arena().frames_in_use(), 1u);
  }
  EXPECT_EQ(hal_.arena().frames_in_use(), 0u);
}

TEST_F(AreaSetTest, frames_that_hold_no_area_go_back_at_once) {
  // Fill three frames: when a fourth is needed, the areas so far filled the others.
  u64 count = 0;
  while (areas_.frames() <= 3) insert(lazy(2 * count++, 1));
  const u64 per_frame = (count - 1) / 3;
  // Whatever stays, no frame is kept that holds nothing: all of the second frame's areas and the
  // first of the third's go in one stroke.
  remove(pages(2 * per_frame, 2 * per_frame + 1));
  EXPECT_EQ(areas_.size(), count - per_frame - 1);
  EXPECT_EQ(areas_.frames(), 3u);
  EXPECT_EQ(hal_.arena().frames_in_use(), 3u);
  remove(pages(0, 2 * count));
  EXPECT_EQ(hal_.arena().frames_in_use(), 0u);
}

// Many areas --------------------------------------------------------------------------------------

#ifdef NESTWALK_SANITIZED
constexpr u64 kManyAreas = 10'000;
constexpr u64 kSteps = 50'000;
#else
constexpr u64 kManyAreas = 100'000;
constexpr u64 kSteps = 1'000'000;
#endif

// A node is five words and an area of five; a frame holds some 40. A bound from the outside:
constexpr u64 kFewestNodesPerFrame = 32;

enum class Order { Ascending, Descending, Random };

class ManyAreas : public AreaSetTest, public ::testing::WithParamInterface<Order> {
 protected:
  std::vector<u64> numbers() const {
    std::vector<u64> list(kManyAreas);
    for (u64 n = 0; n < kManyAreas; ++n) {
      list[n] = GetParam() == Order::Descending ? kManyAreas - 1 - n : n;
    }
    Random random(7);
    for (u64 n = kManyAreas; GetParam() == Order::Random && n > 1; --n) {
      std::swap(list[n - 1], list[random.below(n)]);
    }
    return list;
  }
};

// A tree that degenerates to a list would need 100 000^2 / 2 steps, many minutes.
TEST_P(ManyAreas, are_inserted_found_and_removed_in_any_order) {
  const std::vector<u64> order = numbers();
  for (const u64 n : order) insert(lazy(2 * n, 1));
  EXPECT_EQ(areas_.size(), kManyAreas);
  EXPECT_LE(areas_.frames(), kManyAreas / kFewestNodesPerFrame + 1);
  EXPECT_EQ(hal_.arena().frames_in_use(), areas_.frames());
  u64 next = 0;
  areas_.for_each([&](const Area& area) { EXPECT_EQ(area, lazy(2 * next++, 1)); });
  for (u64 n = 0; n < kManyAreas; ++n) {
    ASSERT_NE(areas_.find(Gpa(2 * n * kPage)), nullptr);
    ASSERT_EQ(areas_.find(Gpa((2 * n + 1) * kPage)), nullptr);
  }
  for (const u64 n : order) remove(pages(2 * n, 1));
  EXPECT_EQ(areas_.size(), 0u);
  EXPECT_EQ(areas_.frames(), 0u);
  EXPECT_EQ(hal_.arena().frames_in_use(), 0u);
}
INSTANTIATE_TEST_SUITE_P(Orders, ManyAreas,
                         ::testing::Values(Order::Ascending, Order::Descending, Order::Random));

// Random steps against one flag per page ----------------------------------------------------------

class AreaSetModel : public AreaSetTest {
 protected:
  static constexpr u64 kPages = 512;

  struct Cell {
    bool used = false;
    MappingFlags flags{};
    Backend backend{};
  };

  void step() {
    from_ = random_.below(kPages);
    count_ = random_.below(random_.one_in(4) ? kPages - from_ : 8) % (kPages - from_);
    switch (random_.below(4)) {
      case 0:
      case 1:
        return insert_some();
      case 2:
        remove(pages(from_, count_));
        for (u64 n = from_; n < from_ + count_; ++n) cells_[n] = {};
        return;
      default:
        set_some_flags();
    }
  }
  MappingFlags some_flags() { return random_.one_in(2) ? kReadable : kWritable; }
  void insert_some() {
    if (count_ == 0) return;
    bool taken = false;
    for (u64 n = from_; n < from_ + count_; ++n) taken = taken || cells_[n].used;
    ASSERT_EQ(areas_.overlaps(pages(from_, count_)), taken);
    if (taken) return;
    const MappingFlags flags = some_flags();
    const bool is_linear = random_.one_in(2);
    // Often the same offset, so that neighbours join.
    const u64 offset = random_.one_in(4) ? 1000 : 2000;
    const Backend backend = is_linear ? Backend::linear(Hpa((from_ + offset) * kPage))
                                      : Backend::lazy(random_.one_in(2) ? u8{1} : u8{0});
    insert({pages(from_, count_), flags, backend});
    for (u64 n = 0; n < count_; ++n) {
      Backend own = backend;
      if (is_linear) own.base += n * kPage;
      cells_[from_ + n] = {true, flags, own};
    }
  }
  void set_some_flags() {
    const MappingFlags flags = some_flags();
    set_flags(pages(from_, count_), flags);
    for (u64 n = from_; n < from_ + count_; ++n) cells_[n].flags = flags;
  }
  bool joins(u64 n) const {
    const Cell& left = cells_[n - 1];
    const Cell& right = cells_[n];
    Backend next = left.backend;
    if (next.kind == Backend::Kind::Linear) next.base += kPage;
    return left.used && right.used && left.flags == right.flags && next == right.backend;
  }
  List expected() const {
    List list;
    for (u64 n = 0; n < kPages; ++n) {
      if (!cells_[n].used) continue;
      if (n != 0 && joins(n)) {
        list.back().range =
            *GpaRange::make(list.back().range.start(), list.back().range.size() + kPage);
      } else {
        list.push_back({pages(n, 1), cells_[n].flags, cells_[n].backend});
      }
    }
    return list;
  }
  void check() {
    const List wanted = expected();
    ASSERT_EQ(all(), wanted);
    ASSERT_LE(areas_.frames(), 1 + wanted.size() / 4);
    ASSERT_EQ(hal_.arena().frames_in_use(), areas_.frames());
    std::vector<GpaRange> inside;
    const GpaRange part = pages(from_, count_);
    areas_.for_each_in(part, [&](const Area&, GpaRange range) { inside.push_back(range); });
    std::vector<GpaRange> expected_inside;
    for (const Area& area : wanted) {
      if (area.range.overlaps(part)) expected_inside.push_back(area.range.intersection(part));
    }
    ASSERT_EQ(inside, expected_inside);
  }
  void probe() {
    const u64 n = random_.below(kPages);
    const Gpa at(n * kPage + random_.below(kPage));
    const Area* found = random_.one_in(2) ? areas_.find(at) : areas_.find_again(at);
    ASSERT_EQ(found != nullptr, cells_[n].used);
    if (found == nullptr) return;
    ASSERT_EQ(found->flags, cells_[n].flags);
  }

  Random random_{model::seed(11)};
  std::vector<Cell> cells_ = std::vector<Cell>(kPages);
  u64 from_ = 0;
  u64 count_ = 0;
};

TEST_F(AreaSetModel, random_steps_do_what_one_flag_per_page_does) {
  for (u64 n = 0; n < kSteps && !HasFailure(); ++n) {
    step();
    probe();
    probe();
    if (n % 64 == 0) check();
  }
  check();
}

}  // namespace
}  // namespace nestwalk::addrspace::area_set_test
