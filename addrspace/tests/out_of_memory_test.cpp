// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Every allocation of every operation fails once. Then the operation says so, everything is as it
// was, to the last entry, and the same operation works when there is memory again.
#include <functional>
#include <optional>

#include "nestwalk/addrspace/address_space.hpp"
#include "reference_model.hpp"

namespace nestwalk::addrspace::out_of_memory_test {
namespace {

constexpr u64 kPage = 4 * kKiB;
constexpr MappingFlags kRw{kRead | kWrite};
constexpr MappingFlags kRo{kRead};
constexpr MappingFlags kNone{};

/// Fails one allocation or all from one on, and sees to it that nothing is freed between taking a
/// valid entry away and the invalidation.
template <class F>
class WatchedHal : public HalBase<WatchedHal<F>> {
 public:
  using Base = HalBase<WatchedHal<F>>;
  static constexpr u64 kNever = ~u64{0};

  explicit WatchedHal(u64 frames) : hal_(frames) {}

  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    ++allocations;
    const bool fails = fail_for_good ? allocations >= fail_at : allocations == fail_at;
    if (fails) return Error::NoMemory;
    return hal_.alloc_run(order);
  }
  void free_run(Hpa start, unsigned order) {
    EXPECT_FALSE(unfenced_) << "freed before the invalidation";
    hal_.free_run(start, order);
  }
  Hva phys_to_virt(Hpa at) const { return hal_.phys_to_virt(at); }
  Hpa virt_to_phys(Hva at) const { return hal_.virt_to_phys(at); }
  void write_entry(Hpa slot, u64 entry) {
    const u64 before = Base::read_entry(slot);
    // Permission changes in place do not free anything, so only the address matters here.
    if ((before & F::kValid) != 0 && (entry & F::kValid) == 0) unfenced_ = true;
    Base::write_entry(slot, entry);
  }
  void invalidate(const Invalidation<Gpa>&) { unfenced_ = false; }
  Capabilities capabilities() const { return hal_.capabilities(); }

  const BuddyArena& arena() const { return hal_.arena(); }
  /// The next operation's n-th allocation fails, counted from 1.
  void fail(u64 n, bool for_good) {
    allocations = 0;
    fail_at = n;
    fail_for_good = for_good;
  }

  u64 allocations = 0;
  u64 fail_at = kNever;
  bool fail_for_good = true;

 private:
  ArenaHal<> hal_;
  bool unfenced_ = false;
};

/// All words of a tree, in order.
template <class F, class H>
void collect_words(const PageTable<F, H>& table, Hpa at, unsigned level, std::vector<u64>& words) {
  const u64* entries = reinterpret_cast<const u64*>(table.hal().phys_to_virt(at).value());
  for (u64 n = 0; n < table.geometry().entries(level); ++n) {
    if (entries[n] == 0) continue;
    words.push_back(level << 16 | n);
    words.push_back(entries[n]);
    if (F::is_table(entries[n], level)) {
      collect_words(table, F::address(entries[n], level), level - 1, words);
    }
  }
}

struct Leaf {
  Gpa at;
  u64 size;
  MappingFlags flags;
  bool owned;
  friend bool operator==(const Leaf&, const Leaf&) = default;
};
template <class Table>
std::vector<Leaf> leaves(const Table& table) {
  std::vector<Leaf> list;
  const u64 all = u64{1} << table.geometry().input_bits;
  table.for_each_leaf(*GpaRange::make(Gpa(0), all), [&](Gpa at, const typename Table::Leaf& leaf) {
    list.push_back({at, leaf.size, leaf.flags, leaf.owned});
  });
  return list;
}

/// Found the quick way, through shortcuts.
template <class Table>
std::vector<Result<Hpa>> translations(const Table& table, const std::vector<Leaf>& places) {
  std::vector<Result<Hpa>> list;
  for (const Leaf& place : places) list.push_back(table.translate(place.at));
  return list;
}

template <class F>
struct Shape;
template <>
struct Shape<Ept> {
  static Geometry geometry() { return *Ept::geometry(4); }
};
template <>
struct Shape<Npt> {
  static Geometry geometry() { return *Npt::geometry(4); }
};
template <>
struct Shape<Stage2<Granule::k4K>> {
  static Geometry geometry() { return *Stage2<Granule::k4K>::geometry(40); }
};
template <>
struct Shape<GStage> {
  static Geometry geometry() { return *GStage::geometry(3); }
};
using Formats = ::testing::Types<Ept, Npt, Stage2<Granule::k4K>, GStage>;

GpaRange between(u64 from, u64 to) { return *GpaRange::make(Gpa(from), to - from); }

// Tables ------------------------------------------------------------------------------------------

template <class F>
class TableOutOfMemory : public ::testing::Test {
 protected:
  using H = WatchedHal<F>;
  using Table = PageTable<F, H>;
  using Operation = std::function<Result<void>(Table&)>;

  /// A large leaf of each size, linear; one that is owned; one out of the guest's reach; pages.
  static void furnish(Table& table) {
    ASSERT_TRUE(table.map_region(between(kGiB, 3 * kGiB), Hpa(4 * kGiB), kRw));
    ASSERT_TRUE(table.map_region(between(32 * kMiB, 34 * kMiB), Hpa(32 * kMiB), kRw));
    ASSERT_TRUE(table.map_owned_region(between(64 * kMiB, 66 * kMiB), kRw, 1));
    ASSERT_TRUE(table.map_region(between(96 * kMiB, 98 * kMiB), Hpa(96 * kMiB), kNone));
    ASSERT_TRUE(table.map_owned_region(between(kMiB, kMiB + 3 * kPage), kRw));
  }

  struct World {
    World() : hal(8192), table(*Table::create(hal, Shape<F>::geometry())) { furnish(table); }
    H hal;
    Table table;
  };
  struct State {
    std::vector<u64> words;
    Usage usage;
    u64 frames;
    friend bool operator==(const State&, const State&) = default;
  };
  static State state(const Table& table) {
    State now{{}, table.usage(), table.hal().arena().frames_in_use()};
    collect_words(table, table.root(), table.geometry().root_level(), now.words);
    return now;
  }

  static void fails_cleanly(const Operation& operate, u64 fewest_allocations) {
    World undisturbed;
    undisturbed.hal.fail(H::kNever, true);
    ASSERT_TRUE(operate(undisturbed.table));
    const u64 needed = undisturbed.hal.allocations;
    EXPECT_GE(needed, fewest_allocations);
    for (u64 n = 1; n <= needed; ++n) {
      SCOPED_TRACE(n);
      fails_at(n, operate, leaves(undisturbed.table));
    }
  }
  static void fails_at(u64 n, const Operation& operate, const std::vector<Leaf>& expected) {
    World world;
    const State before = state(world.table);
    const auto translated = translations(world.table, expected);
    world.hal.fail(n, true);
    EXPECT_EQ(operate(world.table), Result<void>(Error::NoMemory));
    EXPECT_TRUE(state(world.table) == before) << "something is left of the attempt";
    EXPECT_EQ(translations(world.table, expected), translated) << "a shortcut is left";
    model::check_books(world.table, 0);
    world.hal.fail(H::kNever, true);
    EXPECT_TRUE(operate(world.table));
    EXPECT_EQ(leaves(world.table), expected);
    model::check_books(world.table, 0);
  }
};
TYPED_TEST_SUITE(TableOutOfMemory, Formats);

TYPED_TEST(TableOutOfMemory, creating_a_table) {
  for (u64 n = 1; n <= 2; ++n) {  // the root, and the frame of shortcuts
    WatchedHal<TypeParam> hal(64);
    hal.fail(n, true);
    const auto table =
        PageTable<TypeParam, WatchedHal<TypeParam>>::create(hal, Shape<TypeParam>::geometry());
    ASSERT_FALSE(table);
    EXPECT_EQ(table.error(), Error::NoMemory);
    EXPECT_EQ(hal.arena().frames_in_use(), 0u);
  }
}

TYPED_TEST(TableOutOfMemory, mapping_a_page_where_no_table_is) {
  // 3 levels: below the root, two tables; the first gigabyte has the upper one.
  this->fails_cleanly([](auto& table) { return table.map(Gpa(3 * kGiB), Hpa(kGiB), kPage, kRw); },
                      2);
}
TYPED_TEST(TableOutOfMemory, mapping_a_large_leaf_where_no_table_is) {
  this->fails_cleanly(
      [](auto& table) { return table.map(Gpa(4 * kGiB), Hpa(kGiB), 2 * kMiB, kRw); }, 1);
}
TYPED_TEST(TableOutOfMemory, mapping_a_region_across_tables) {
  // Pages, three large leaves, pages, on both sides of a gigabyte.
  this->fails_cleanly(
      [](auto& table) {
        const u64 from = 4 * kGiB - 4 * kMiB - 3 * kPage;
        return table.map_region(between(from, 4 * kGiB + 2 * kMiB + 5 * kPage), Hpa(from), kRw);
      },
      3);
}
TYPED_TEST(TableOutOfMemory, mapping_a_region_beside_pages_that_stay) {
  this->fails_cleanly(
      [](auto& table) {
        return table.map_region(between(kMiB + 3 * kPage, 8 * kMiB), Hpa(kGiB + kPage), kRw);
      },
      3);
}
TYPED_TEST(TableOutOfMemory, mapping_owned_pages_across_tables) {
  this->fails_cleanly(
      [](auto& table) {
        return table.map_owned_region(between(4 * kGiB - 3 * kPage, 4 * kGiB + 3 * kPage), kRw);
      },
      6 + 3);
}
TYPED_TEST(TableOutOfMemory, mapping_owned_pages_in_two_tables_below_a_new_one) {
  this->fails_cleanly(
      [](auto& table) {
        const u64 boundary = 5 * kGiB + 2 * kMiB;
        return table.map_owned_region(between(boundary - 2 * kPage, boundary + 2 * kPage), kRw);
      },
      4 + 3);
}
TYPED_TEST(TableOutOfMemory, mapping_owned_pages_in_a_table_that_is_there) {
  this->fails_cleanly(
      [](auto& table) {
        return table.map_owned_region(between(kMiB + 3 * kPage, kMiB + 8 * kPage), kRw);
      },
      5);
}
TYPED_TEST(TableOutOfMemory, mapping_owned_large_leaves) {
  this->fails_cleanly(
      [](auto& table) {
        return table.map_owned_region(between(128 * kMiB - kPage, 132 * kMiB + kPage), kRw, 1);
      },
      2 + 2 + 2);  // two pages, two large leaves, two tables of pages
}

TYPED_TEST(TableOutOfMemory, unmapping_that_cuts_one_end) {
  // A gigabyte becomes 2 MiB leaves, one of them pages: two tables.
  this->fails_cleanly(
      [](auto& table) { return table.unmap_region(between(kGiB + kPage, 2 * kGiB)); }, 2);
  this->fails_cleanly(
      [](auto& table) { return table.unmap_region(between(kGiB, 2 * kGiB - kPage)); }, 2);
}
TYPED_TEST(TableOutOfMemory, unmapping_that_cuts_both_ends_of_one_leaf) {
  this->fails_cleanly(
      [](auto& table) { return table.unmap_region(between(kGiB + kPage, 2 * kGiB - kPage)); }, 3);
  this->fails_cleanly(
      [](auto& table) { return table.unmap_region(between(kGiB + kPage, kGiB + 2 * kPage)); }, 2);
}
TYPED_TEST(TableOutOfMemory, unmapping_that_cuts_two_leaves) {
  this->fails_cleanly(
      [](auto& table) { return table.unmap_region(between(kGiB + kPage, 3 * kGiB - kPage)); }, 4);
}
TYPED_TEST(TableOutOfMemory, unmapping_part_of_an_owned_large_leaf) {
  this->fails_cleanly(
      [](auto& table) { return table.unmap_region(between(64 * kMiB + kPage, 65 * kMiB)); }, 1);
}
TYPED_TEST(TableOutOfMemory, protecting_that_cuts) {
  this->fails_cleanly(
      [](auto& table) {
        return table.protect_region(between(kGiB + kPage, 3 * kGiB - kPage), kRo);
      },
      4);
  this->fails_cleanly(
      [](auto& table) { return table.protect_region(between(kMiB, 65 * kMiB), kRo); }, 1);
  // A change of memory type breaks entries first where the architecture wants that.
  this->fails_cleanly(
      [](auto& table) {
        return table.protect_region(between(kGiB + kPage, 3 * kGiB - kPage),
                                    {kRead, MemoryType::Device});
      },
      4);
}
TYPED_TEST(TableOutOfMemory, protecting_part_of_a_leaf_without_access) {
  this->fails_cleanly(
      [](auto& table) { return table.protect_region(between(97 * kMiB, 98 * kMiB), kRw); }, 1);
}
TYPED_TEST(TableOutOfMemory, remapping_that_cuts) {
  this->fails_cleanly(
      [](auto& table) {
        return table.remap_region(between(kGiB + kPage, 3 * kGiB - kPage), Hpa(8 * kGiB + kPage),
                                  kRw);
      },
      4);
}

// Fallbacks: less than was asked for is better than nothing ---------------------------------------

TYPED_TEST(TableOutOfMemory, a_large_leaf_that_cannot_be_had_becomes_pages) {
  typename TestFixture::World world;
  world.hal.fail(2, false);  // first the table, then the large leaf
  const GpaRange range = between(8 * kGiB, 8 * kGiB + 2 * kMiB);
  ASSERT_TRUE(world.table.map_owned_region(range, kRw, 1));
  u64 count = 0;
  world.table.for_each_leaf(range, [&](Gpa, const auto& leaf) {
    EXPECT_EQ(leaf.size, kPage);
    ++count;
  });
  EXPECT_EQ(count, 512u);
  model::check_books(world.table, 0);
}

// Spaces ------------------------------------------------------------------------------------------

template <class F>
class SpaceOutOfMemory : public ::testing::Test {
 protected:
  using H = WatchedHal<F>;
  using Space = AddressSpace<F, H>;
  using Operation = std::function<Result<void>(Space&)>;

  struct World {
    World() : hal(8192) {
      space.emplace(*Space::create(hal, Shape<F>::geometry(), between(0, 16 * kGiB)));
      EXPECT_TRUE(space->map_linear(Gpa(kGiB), Hpa(4 * kGiB), 2 * kGiB, kRw));
      EXPECT_TRUE(space->map_alloc(Gpa(64 * kMiB), 4 * kMiB, kRw, Backend::eager(1)));
      EXPECT_TRUE(space->map_alloc(Gpa(128 * kMiB), 64 * kPage, kRw, Backend::lazy()));
      EXPECT_TRUE(space->map_alloc(Gpa(256 * kMiB), 8 * kMiB, kRw, Backend::lazy(2, 1)));
      // Until the next area needs a frame.
      for (u64 n = 0; space->usage().area_frames == 1; ++n) add_area(n);
      EXPECT_TRUE(space->unmap(last_area, kPage));
      EXPECT_EQ(space->usage().area_frames, 1u);
    }
    ~World() {
      space.reset();
      EXPECT_EQ(hal.arena().frames_in_use(), 0u);
    }
    void add_area(u64 n) {
      last_area = Gpa(8 * kGiB + 2 * n * kPage);
      EXPECT_TRUE(space->map_alloc(last_area, kPage, kRw, Backend::lazy()));
    }

    H hal;
    std::optional<Space> space;
    Gpa last_area;
  };
  struct State {
    std::vector<u64> words;
    std::vector<Area> areas;
    SpaceUsage usage;
    u64 frames;
    DirtyTracking tracking;
    friend bool operator==(const State&, const State&) = default;
  };
  static State state(const Space& space) {
    const auto& table = space.page_table();
    State now{{},
              areas(space),
              space.usage(),
              table.hal().arena().frames_in_use(),
              space.dirty_tracking()};
    collect_words(table, table.root(), table.geometry().root_level(), now.words);
    return now;
  }
  static std::vector<Area> areas(const Space& space) {
    std::vector<Area> list;
    space.for_each_area([&](const Area& area) { list.push_back(area); });
    return list;
  }

  static void fails_cleanly(const Operation& operate, u64 fewest_allocations) {
    World undisturbed;
    undisturbed.hal.fail(H::kNever, true);
    ASSERT_TRUE(operate(*undisturbed.space));
    const u64 needed = undisturbed.hal.allocations;
    EXPECT_GE(needed, fewest_allocations);
    for (u64 n = 1; n <= needed; ++n) {
      SCOPED_TRACE(n);
      fails_at(n, operate, *undisturbed.space);
    }
  }
  static void fails_at(u64 n, const Operation& operate, const Space& undisturbed) {
    World world;
    const State before = state(*world.space);
    const auto places = leaves(undisturbed.page_table());
    const auto translated = translations(world.space->page_table(), places);
    world.hal.fail(n, true);
    EXPECT_EQ(operate(*world.space), Result<void>(Error::NoMemory));
    EXPECT_TRUE(state(*world.space) == before) << "something is left of the attempt";
    EXPECT_EQ(translations(world.space->page_table(), places), translated);
    check_books(*world.space);
    world.hal.fail(H::kNever, true);
    EXPECT_TRUE(operate(*world.space));
    EXPECT_EQ(leaves(world.space->page_table()), leaves(undisturbed.page_table()));
    EXPECT_TRUE(areas(*world.space) == areas(undisturbed));
    check_books(*world.space);
  }
  static void check_books(const Space& space) {
    model::check_books(space.page_table(), space.usage().area_frames);
  }
  static Result<void> as_result(FaultOutcome outcome) {
    if (outcome == FaultOutcome::OutOfMemory) return Error::NoMemory;
    EXPECT_EQ(outcome, FaultOutcome::Mapped);
    return {};
  }
};
TYPED_TEST_SUITE(SpaceOutOfMemory, Formats);

TYPED_TEST(SpaceOutOfMemory, creating_a_space) {
  for (u64 n = 1; n <= 2; ++n) {
    WatchedHal<TypeParam> hal(64);
    hal.fail(n, true);
    const auto space = AddressSpace<TypeParam, WatchedHal<TypeParam>>::create(
        hal, Shape<TypeParam>::geometry(), between(0, kGiB));
    ASSERT_FALSE(space);
    EXPECT_EQ(space.error(), Error::NoMemory);
    EXPECT_EQ(hal.arena().frames_in_use(), 0u);
  }
}
TYPED_TEST(SpaceOutOfMemory, mapping_linear_memory) {
  // The area's node, and tables.
  this->fails_cleanly(
      [](auto& space) {
        const u64 from = 4 * kGiB - 3 * kPage;
        return space.map_linear(Gpa(from), Hpa(from), 2 * kMiB + 6 * kPage, kRw);
      },
      1 + 2);
}
TYPED_TEST(SpaceOutOfMemory, mapping_eager_memory) {
  this->fails_cleanly(
      [](auto& space) {
        return space.map_alloc(Gpa(4 * kGiB - 2 * kPage), 4 * kPage, kRw, Backend::eager());
      },
      1 + 4 + 2);
  this->fails_cleanly(
      [](auto& space) {
        return space.map_alloc(Gpa(4 * kGiB), 4 * kMiB + kPage, kRw, Backend::eager(1));
      },
      1 + 3 + 2);
}
TYPED_TEST(SpaceOutOfMemory, mapping_lazy_memory_needs_only_the_node) {
  this->fails_cleanly(
      [](auto& space) { return space.map_alloc(Gpa(4 * kGiB), kGiB, kRw, Backend::lazy()); }, 1);
}
TYPED_TEST(SpaceOutOfMemory, a_fault_in_a_lazy_area) {
  this->fails_cleanly(
      [this](auto& space) {
        return this->as_result(space.handle_fault(Gpa(128 * kMiB + 5), kWrite));
      },
      2);
}
TYPED_TEST(SpaceOutOfMemory, a_second_fault_beside_the_first) {
  typename TestFixture::World world;
  ASSERT_EQ(world.space->handle_fault(Gpa(128 * kMiB), kWrite), FaultOutcome::Mapped);
  const auto before = this->state(*world.space);
  world.hal.fail(1, true);
  EXPECT_EQ(world.space->handle_fault(Gpa(128 * kMiB + kPage), kWrite), FaultOutcome::OutOfMemory);
  EXPECT_TRUE(this->state(*world.space) == before);
  world.hal.fail(world.hal.kNever, true);
  EXPECT_EQ(world.space->handle_fault(Gpa(128 * kMiB + kPage), kWrite), FaultOutcome::Mapped);
}
TYPED_TEST(SpaceOutOfMemory, unmapping_in_the_middle_of_an_area_and_a_leaf) {
  this->fails_cleanly(
      [](auto& space) { return space.unmap(Gpa(kGiB + kPage), 2 * kGiB - 2 * kPage); }, 1 + 4);
  this->fails_cleanly([](auto& space) { return space.unmap(Gpa(64 * kMiB + kPage), 2 * kMiB); },
                      1 + 2);
  this->fails_cleanly([](auto& space) { return space.unmap(Gpa(128 * kMiB + kPage), kPage); }, 1);
}
TYPED_TEST(SpaceOutOfMemory, protecting_in_the_middle_of_an_area_and_a_leaf) {
  for (const MappingFlags flags : {kRo, kNone, MappingFlags{kRead, MemoryType::Device}}) {
    this->fails_cleanly(
        [&](auto& space) { return space.protect(Gpa(kGiB + kPage), 2 * kGiB - 2 * kPage, flags); },
        1 + 4);
    this->fails_cleanly(
        [&](auto& space) { return space.protect(Gpa(64 * kMiB + kPage), 192 * kMiB, flags); },
        1 + 1);
  }
}
TYPED_TEST(SpaceOutOfMemory, clearing_needs_no_memory) {
  typename TestFixture::World world;
  world.hal.fail(1, true);
  world.space->clear();
  EXPECT_EQ(world.space->usage().areas, 0u);
  // The root and the frame of shortcuts stay.
  EXPECT_EQ(world.space->usage().tables.tables, 1u);
  this->check_books(*world.space);
}

TYPED_TEST(SpaceOutOfMemory, a_large_leaf_for_a_fault_becomes_a_page) {
  typename TestFixture::World world;
  world.hal.fail(1, false);  // the tables above are there already
  ASSERT_EQ(world.space->handle_fault(Gpa(256 * kMiB + kPage), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(world.space->query(Gpa(256 * kMiB + kPage))->size, kPage);
  this->check_books(*world.space);
}
TYPED_TEST(SpaceOutOfMemory, neighbours_of_a_fault_are_left_for_their_own) {
  // Four pages around the fault: after the large leaf fails, a table, the page, two neighbours.
  for (u64 n = 2; n <= 6; ++n) {
    SCOPED_TRACE(n);
    typename TestFixture::World world;
    ASSERT_TRUE(world.space->unmap(Gpa(257 * kMiB), 7 * kMiB));  // no room for a large leaf
    const auto before = this->state(*world.space);
    world.hal.fail(n, true);
    const FaultOutcome outcome = world.space->handle_fault(Gpa(256 * kMiB + kPage), kWrite);
    if (n <= 2) {
      EXPECT_EQ(outcome, FaultOutcome::OutOfMemory);
      EXPECT_TRUE(this->state(*world.space) == before);
    } else {
      EXPECT_EQ(outcome, FaultOutcome::Mapped);
      // The table was the first, so the n-th to fail leaves n - 2 pages of four.
      u64 pages = 0;
      for (u64 page = 0; page < 4; ++page) {
        pages += world.space->translate(Gpa(256 * kMiB + page * kPage)).ok();
      }
      EXPECT_EQ(pages, n - 2);
      EXPECT_TRUE(world.space->translate(Gpa(256 * kMiB + kPage)));
    }
    this->check_books(*world.space);
  }
}
TYPED_TEST(SpaceOutOfMemory, the_dirty_log_permits_a_whole_leaf_when_it_cannot_split_it) {
  for (u64 n = 1; n <= 3; ++n) {
    SCOPED_TRACE(n);
    typename TestFixture::World world;
    ASSERT_TRUE(world.space->start_dirty_log(DirtyTracking::WriteProtection));
    world.hal.fail(n, true);
    // A page of a gigabyte: two tables.
    ASSERT_EQ(world.space->handle_fault(Gpa(kGiB + kPage), kWrite), FaultOutcome::MadeWritable);
    const u64 expected = n <= 2 ? kGiB : kPage;
    EXPECT_EQ(world.space->query(Gpa(kGiB + kPage))->size, expected);
    EXPECT_TRUE(world.space->query(Gpa(kGiB + kPage))->flags.access.has(kWrite));
    u64 dirty = 0;
    ASSERT_TRUE(world.space->harvest_dirty_log(world.space->range(),
                                               [&](GpaRange run) { dirty += run.size(); }));
    EXPECT_EQ(dirty, expected);
    this->check_books(*world.space);
  }
}

}  // namespace
}  // namespace nestwalk::addrspace::out_of_memory_test
