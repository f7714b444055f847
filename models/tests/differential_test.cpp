// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The walker against the naive translator: random tables that the engine built, random accesses,
// and random bits flipped in the entries that a walk reads.

#include <gtest/gtest.h>

#include <random>

#include "naive_translator.hpp"
#include "nested_world.hpp"

namespace nestwalk::models {
namespace {

using namespace addrspace;

#ifdef NESTWALK_SANITIZED
constexpr u32 kCases = 20'000;
#else
constexpr u32 kCases = 100'000;  // of each pair of shapes, twice
#endif

naive::Shape shape_of(const Geometry& geometry, u64 root) {
  return {geometry.levels,
          geometry.page_shift,
          geometry.index_bits,
          geometry.input_bits,
          geometry.rule == InputRule::Sign,
          root};
}

naive::Answer answer_of(const Fault& fault, const Translation& found, u64 address) {
  naive::Answer answer;
  answer.kind = fault.kind;
  answer.nested = fault.nested;
  answer.for_table = fault.for_table;
  answer.table_write = fault.table_write;
  answer.guest_physical = fault.guest_physical;
  if (fault) return answer;
  answer.shift = found.shift();
  answer.host = found.host + (address & low_mask(found.shift()));
  return answer;
}

template <class G, class N>
class Differential {
 public:
  using World = NestedWorld<G, N>;

  Differential(const Geometry& guest, const Geometry& nested, const WalkerShape& shape)
      : world_(guest, nested, shape), random_(guest.levels * 100 + nested.levels) {
    build();
    naive::Machine machine;
    machine.architecture = G::kArchitecture;
    machine.guest = shape_of(guest, world_.guest.root().value());
    machine.nested = shape_of(nested, world_.nested.root().value());
    machine.exists = [this](u64 at) { return world_.memory.contains(Hpa(at), 8); };
    machine.load = [this](u64 at) {
      loaded_.emplace_back(at, world_.memory.load(Hpa(at)));
      return loaded_.back().second;
    };
    naive_ = std::make_unique<naive::Translator>(machine);
  }

  void run(bool corrupt) {
    u32 faults = 0;
    for (u32 n = 0; n < kCases && !testing::Test::HasFailure(); ++n) {
      const u64 address = pages_[random_() % pages_.size()] + random_() % 4096;
      const auto access = static_cast<AccessKind>(random_() % 3);
      const bool user = random_() % 4 != 0;
      if (corrupt) {
        compare_corrupted(address, access, user);
      } else {
        compare(address, access, user);
      }
      faults += world_.fault ? 1 : 0;
    }
    EXPECT_GT(faults, kCases / 20);
    EXPECT_LT(faults, kCases - kCases / 100);
  }

 private:
  Access some_access(Access always) {
    Access access = always | kRead;
    if (random_() % 4 != 0) access = access | kWrite;
    if (random_() % 3 != 0) access = access | kExecute;
    if (random_() % 5 != 0) access = access | kUser;
    return access;
  }
  void build() {
    const Geometry& guest = world_.guest.geometry();
    const Geometry& nested = world_.nested.geometry();
    for (u64 n = 0; n < 24; ++n) {
      const unsigned level = random_() % 3 == 0 ? 1 : 0;
      if (!guest.may_be_leaf(level)) continue;
      const u64 bytes = guest.leaf_bytes(level);
      // Spread over the lower half, so that no two share all tables; data beyond host memory.
      const u64 at = align_down(random_() & low_mask(guest.input_bits - 1u), bytes);
      const u64 to = align_down(2 * kGiB + random_() % (60 * kGiB), bytes);
      (void)world_.guest.map(Gva(at), Gpa(to), bytes, {some_access({})});
      pages_.push_back(at + (random_() % bytes & ~u64{4095}));
      pages_.push_back(at);
      if (random_() % 8 != 0) {
        const unsigned data_level = nested.may_be_leaf(1) && random_() % 2 == 0 ? 1 : 0;
        for (u64 page : {pages_[pages_.size() - 1], pages_[pages_.size() - 2]}) {
          const u64 start = align_down(to + (page - at), nested.leaf_bytes(data_level));
          (void)world_.nested.map(Gpa(start), Hpa(start), nested.leaf_bytes(data_level),
                                  {some_access({}).without(kUser)});
        }
      }
    }
    for (u64 n = 0; n < 6; ++n) pages_.push_back(random_());
    world_.map_tables(0);
    // Some of the guest's tables are read-only, or not there at all; its root is.
    const Gpa root = world_.guest.root();
    for (const GuestHal::Run& run : world_.guest_hal.frames) {
      if (run.first == root) continue;
      if (random_() % 12 == 0) (void)world_.nested.protect(Gpa(run.first), {kRead});
      if (random_() % 40 == 0) (void)world_.nested.unmap(Gpa(run.first));
    }
  }
  void compare(u64 address, AccessKind access, bool user) {
    const naive::Answer expected = naive_->translate(address, access, user);
    world_.walk(address, access, user);
    const naive::Answer found = answer_of(world_.fault, world_.translation, address);
    const auto show = [](const naive::Answer& a) {
      return testing::PrintToString(std::vector<u64>{static_cast<u64>(a.kind), a.nested,
                                                     a.for_table, a.table_write, a.guest_physical,
                                                     a.host, a.shift});
    };
    naive::Answer wanted = expected;
    if (wanted.kind != FaultKind::None) wanted.shift = found.shift;
    EXPECT_EQ(found, wanted) << std::hex << address << " access " << static_cast<int>(access)
                             << " user " << user << ": " << show(found) << " for " << show(wanted);
  }
  void compare_corrupted(u64 address, AccessKind access, bool user) {
    world_.walk(address, access, user);
    if (world_.record.count == 0) return;
    const u64 victim_address = world_.record.references[random_() % world_.record.count].address;
    if (!world_.memory.contains(Hpa(victim_address), 8)) return;
    const u64 before = world_.memory.load(Hpa(victim_address));
    world_.memory.store(Hpa(victim_address), before ^ u64{1} << random_() % 64);
    loaded_.clear();
    compare(address, access, user);
    // A flipped bit may lead to foreign entries, in which the walk set flags: take those back, too.
    for (const auto& [at, value] : loaded_) world_.memory.store(Hpa(at), value);
    world_.memory.store(Hpa(victim_address), before);
  }

  World world_;
  std::mt19937_64 random_;
  std::vector<u64> pages_;
  std::vector<std::pair<u64, u64>> loaded_;  ///< what the naive translator read
  std::unique_ptr<naive::Translator> naive_;
};

WalkerShape all_caches(const Geometry& guest, const Geometry& nested) {
  const auto tables = [](const Geometry& shape) {
    ArrayShape array{4, 2, {}, ReplacementKind::Lru};
    for (unsigned level = 1; level < shape.levels; ++level) {
      array.shifts.push_back(static_cast<u8>(shape.shift(level)));
    }
    return CacheShape{{array}, 1};
  };
  WalkerShape shape;
  shape.guest_walk_cache = tables(guest);
  shape.nested_walk_cache = tables(nested);
  shape.nested_tlb = {{{4, 4, {nested.page_shift}, ReplacementKind::TreePlru}}, 1};
  return shape;
}

template <class G, class N>
void check_pair(const Geometry& guest, const Geometry& nested) {
  SCOPED_TRACE(testing::Message() << int{guest.levels} << " by " << int{nested.levels});
  Differential<G, N>(guest, nested, {}).run(true);
  // Nothing is unmapped, so what the caches keep stays true.
  Differential<G, N>(guest, nested, all_caches(guest, nested)).run(false);
}

TEST(Differential, X86) {
  for (unsigned guest : {4u, 5u}) {
    for (unsigned nested : {4u, 5u}) {
      check_pair<LongMode, Ept>(*LongMode::geometry(guest), *Ept::geometry(nested));
    }
  }
}
TEST(Differential, RiscV) {
  for (unsigned guest : {3u, 4u, 5u}) {
    for (unsigned nested : {3u, 4u, 5u}) {
      check_pair<Sv, GStage>(*Sv::geometry(guest), *GStage::geometry(nested));
    }
  }
}
template <Granule kGuest, Granule kNested>
void check_arm() {
  check_pair<Stage1<kGuest>, Stage2<kNested>>(*Stage1<kGuest>::geometry(39),
                                              *Stage2<kNested>::geometry(40));
  check_pair<Stage1<kGuest>, Stage2<kNested>>(*Stage1<kGuest>::geometry(48),
                                              *Stage2<kNested>::geometry(48));
}
TEST(Differential, Arm) {
  check_arm<Granule::k4K, Granule::k4K>();
  check_arm<Granule::k16K, Granule::k16K>();
  check_arm<Granule::k64K, Granule::k64K>();
  check_arm<Granule::k4K, Granule::k64K>();
  check_arm<Granule::k64K, Granule::k4K>();
}

}  // namespace
}  // namespace nestwalk::models
