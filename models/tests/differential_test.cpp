// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The walker against the naive translator: random tables that the engine built, random registers
// and accesses, and random damage in the entries that a walk reads. A million damaged cases and
// half a million whole ones per architecture, spread over all pairs of modes. Compared: the result
// with sizes, rights of both stages and memory type; or the registers that report the fault; and
// every flag that the walk set.

#include <gtest/gtest.h>

#include <random>

#include "naive_report.hpp"
#include "nested_world.hpp"
#include "nestwalk/models/mmu.hpp"

namespace nestwalk::models {
namespace {

using namespace addrspace;

#ifdef NESTWALK_SANITIZED
constexpr u32 kCases = 100'000;
#else
constexpr u32 kCases = 1'000'000;
#endif
constexpr u32 kCasesPerWorld = 2'500;  // then there are new tables

naive::Shape shape_of(const Geometry& geometry, bool wide, u64 root) {
  const naive::Half half = geometry.rule == InputRule::Sign   ? naive::Half::Sign
                           : geometry.rule == InputRule::Ones ? naive::Half::Ones
                                                              : naive::Half::Zero;
  return {true,
          geometry.levels,
          geometry.page_shift,
          geometry.index_bits,
          geometry.input_bits,
          half,
          wide,
          root};
}

// All of the flags that some format has, where a flip changes what a walk does about them.
constexpr unsigned kFlagBits[] = {5, 6, 7, 8, 9, 10, 51};

CacheShape small_tlb(const Geometry& shape) {
  const u8 page = shape.page_shift, large = static_cast<u8>(shape.shift(1));
  return {{{2, 2, {page}, ReplacementKind::Lru}, {1, 4, {large}, ReplacementKind::Lru}}, 1};
}

template <class G, class N>
class Differential {
 public:
  Differential(const Geometry& guest, const Geometry& nested, const WalkerShape& shape,
               bool hardware_dirty, u64 seed)
      : wide_(guest.output_bits == 52),
        world_(guest, nested, shape, hardware_dirty),
        mmu_(world_.wheel, world_.memory, world_.hierarchy, world_.hierarchy.add_path({}),
             {{}, small_tlb(guest), small_tlb(guest), shape}),
        random_(seed),
        naive_({}) {
    build();
    naive::Machine& machine = naive_.machine();
    machine.architecture = G::kArchitecture;
    machine.hardware_dirty = hardware_dirty;
    machine.exists = [this](u64 at) { return world_.memory.contains(Hpa(at), 8); };
    machine.load = [this](u64 at) {
      return loaded_.emplace(at, world_.memory.load(Hpa(at))).first->second;
    };
    whole_ = world_.regime;
  }

  u32 run(bool damaged) {
    u32 faults = 0;
    for (u32 n = 0; n < kCasesPerWorld && !testing::Test::HasFailure(); ++n) {
      set_registers();
      u64 address = pages_[random_() % pages_.size()] + random_() % 4096;
      if (!world_.regime.guest.on()) address = physical_[random_() % physical_.size()];
      const auto access = static_cast<AccessKind>(random_() % 3);
      const bool user = random_() % 4 != 0;
      if (damaged) {
        compare_damaged(address, access, user);
      } else {
        const naive::Answer expected = compare(address, access, user);
        compare_mmu(expected, address, access, user);
      }
      faults += world_.fault ? 1 : 0;
    }
    return faults;
  }

 private:
  Access some_access() {
    Access access = kRead;
    if (random_() % 8 != 0) access = access | kWrite;
    if (random_() % 8 != 0) access = access | kExecute;
    if (random_() % 8 != 0) access = access | kUser;
    return access;
  }
  MemoryType some_memory() {
    const bool riscv = G::kArchitecture == Architecture::RiscV64;
    const MemoryType types[] = {MemoryType::WriteBack, MemoryType::WriteBack, MemoryType::Device,
                                riscv ? MemoryType::Uncached : MemoryType::WriteThrough};
    return types[random_() % 4];
  }
  void build() {
    const Geometry& guest = world_.guest.geometry();
    const Geometry& nested = world_.nested.geometry();
    const u64 half = guest.rule == InputRule::Ones ? ~low_mask(guest.input_bits) : 0;
    for (u64 n = 0; n < 24; ++n) {
      const unsigned level = random_() % 3 == 0 ? 1 : 0;
      if (!guest.may_be_leaf(level)) continue;
      const u64 bytes = guest.leaf_bytes(level);
      // Spread over the lower half, so that no two share all tables; data beyond host memory.
      const u64 at = half | align_down(random_() & low_mask(guest.input_bits - 1u), bytes);
      const u64 to = align_down(2 * kGiB + random_() % (60 * kGiB), bytes);
      const Access global = random_() % 4 == 0 ? kGlobal : Access{};
      (void)world_.guest.map(Gva(at), Gpa(to), bytes, {some_access() | global, some_memory()});
      pages_.push_back(at + (random_() % bytes & ~u64{4095}));
      pages_.push_back(at);
      if (random_() % 8 == 0) continue;
      const unsigned data_level = nested.may_be_leaf(1) && random_() % 2 == 0 ? 1 : 0;
      for (u64 page : {pages_[pages_.size() - 1], pages_[pages_.size() - 2]}) {
        const u64 start = align_down(to + (page - at), nested.leaf_bytes(data_level));
        (void)world_.nested.map(Gpa(start), Hpa(start), nested.leaf_bytes(data_level),
                                {some_access().without(kUser), some_memory()});
        physical_.push_back(to + (page - at));
      }
    }
    for (u64 n = 0; n < 6; ++n) pages_.push_back(random_());
    // Arm: what is beyond the physical address stops in the first stage, which is simplified away.
    const u64 beyond = G::kArchitecture == Architecture::AArch64 ? 16 : 0;
    for (u64 n = 0; n < 3; ++n) physical_.push_back(random_() >> (beyond + n * 8));
    world_.map_tables(0);
    // Some of the guest's tables are read-only, or not there at all; its root is.
    const Gpa root = world_.guest.root();
    for (const GuestHal::Run& run : world_.guest_hal.frames) {
      if (run.first == root) continue;
      if (random_() % 12 == 0) (void)world_.nested.protect(Gpa(run.first), {kRead});
      if (random_() % 40 == 0) (void)world_.nested.unmap(Gpa(run.first));
    }
  }

  // One stage may be off. What the others know has other tags then.
  void set_registers() {
    Regime& regime = world_.regime;
    regime = whole_;
    const u64 mode = random_() % 8;
    if (mode == 0) regime.guest = {};
    if (mode == 1) regime.nested = {};
    const u64 rules = G::kArchitecture == Architecture::X86_64 ? random_() % 4 : random_() % 2;
    regime.privilege = {(rules & 1) != 0, (rules & 2) != 0};
    regime.vmid = static_cast<u16>(1 + mode * 4 + rules);
    regime = regime.tagged(world_.tags);
    mmu_.set_regime(regime);
    naive::Machine& machine = naive_.machine();
    machine.guest = shape_of(world_.guest.geometry(), wide_, world_.guest.root().value());
    machine.nested = shape_of(world_.nested.geometry(), wide_, world_.nested.root().value());
    machine.guest.on = regime.guest.on();
    machine.nested.on = regime.nested.on();
    machine.kernel_touches_user = regime.privilege.kernel_touches_user;
    machine.kernel_executes_user = regime.privilege.kernel_executes_user;
  }

  naive::Answer compare(u64 address, AccessKind access, bool user) {
    loaded_.clear();
    naive::Answer expected = naive_.translate(address, access, user);
    world_.walk(address, access, user);
    const Fault& fault = world_.fault;
    SCOPED_TRACE(testing::Message()
                 << std::hex << address << " access " << static_cast<int>(access) << " user "
                 << user << " registers " << world_.regime.guest.on() << world_.regime.nested.on());
    EXPECT_EQ(fault.kind, expected.kind);
    if (fault.kind != expected.kind) return expected;
    fault ? compare_faults(fault, expected, address, access, user)
          : compare_results(expected, address);
    for (const auto& [at, before] : loaded_) {
      const auto updated = naive_.updated().find(at);
      EXPECT_EQ(world_.memory.load(Hpa(at)),
                updated == naive_.updated().end() ? before : updated->second);
    }
    return expected;
  }
  // The same by way of the TLBs, which may know it already, and may refuse by themselves.
  void compare_mmu(const naive::Answer& expected, u64 address, AccessKind access, bool user) {
    Mmu::Outcome found;
    if (!mmu_.translate({address, access, user}, world_, 0, found)) world_.wheel.run();
    EXPECT_EQ(found.fault.kind, expected.kind);
    if (found.fault.kind != expected.kind) return;
    if (found.fault) return compare_faults(found.fault, expected, address, access, user);
    EXPECT_EQ(found.host, expected.host);
    if (expected.memory_is_modelled) {
      EXPECT_EQ(found.memory, expected.memory);
    }
  }
  void compare_results(const naive::Answer& expected, u64 address) {
    const Translation& found = world_.translation;
    EXPECT_EQ(found.host + (address & low_mask(found.shift())), expected.host);
    EXPECT_EQ(found.shift(), std::min(expected.guest_shift, expected.nested_shift));
    EXPECT_EQ(found.guest_shift, expected.guest_shift);
    EXPECT_EQ(found.nested_shift, expected.nested_shift);
    EXPECT_EQ(found.guest.bits(), expected.user_rights | expected.kernel_rights << 3);
    EXPECT_EQ(found.nested.bits(), expected.nested_rights | expected.nested_rights << 3);
    EXPECT_EQ(found.global, expected.global);
    if (expected.memory_is_modelled) {
      EXPECT_EQ(found.memory, expected.memory);
    }
  }
  void compare_faults(const Fault& fault, const naive::Answer& expected, u64 address,
                      AccessKind access, bool user) {
    EXPECT_EQ(fault.nested, expected.nested);
    EXPECT_EQ(fault.level, expected.level);
    if (G::kArchitecture == Architecture::X86_64) {
      const X86Report wanted =
          naive::x86_registers(expected, address, access, user, naive_.machine().hardware_dirty);
      const X86Report found = x86_report(fault);
      EXPECT_EQ(found, wanted) << std::hex << found.qualification << ' ' << wanted.qualification
                               << ' ' << found.error_code << ' ' << wanted.error_code;
    } else if (G::kArchitecture == Architecture::AArch64) {
      const ArmReport wanted = naive::arm_registers(expected, address, access, user);
      const ArmReport found = arm_report(fault);
      EXPECT_EQ(found, wanted) << std::hex << found.esr << ' ' << wanted.esr << ' ' << found.hpfar
                               << ' ' << wanted.hpfar;
    } else {
      const RiscvReport wanted = naive::riscv_registers(expected, address, access);
      const RiscvReport found = riscv_report(fault);
      EXPECT_EQ(found, wanted) << std::hex << found.cause << ' ' << wanted.cause << ' '
                               << found.htval << ' ' << wanted.htval;
    }
  }

  // Damages an entry that the walk reads: a bit or two, often of the flags; or another entry.
  u64 damage(u64 entry) {
    const u64 way = random_() % 8;
    if (way == 0) return world_.memory.load(Hpa(some_reference()));
    if (way < 4) return entry ^ u64 { 1 } << kFlagBits[random_() % std::size(kFlagBits)];
    const u64 second = way == 4 ? u64{1} << random_() % 64 : 0;
    return entry ^ u64 { 1 } << random_() % 64 ^ second;
  }
  u64 some_reference() { return read_[random_() % read_.size()]; }
  void compare_damaged(u64 address, AccessKind access, bool user) {
    world_.walk(address, access, user);
    read_.clear();
    for (u32 n = 0; n < world_.record.count; ++n) {
      const u64 at = world_.record.references[n].address;
      if (world_.memory.contains(Hpa(at), 8)) read_.push_back(at);
    }
    if (read_.empty()) return (void)compare(address, access, user);
    const Hpa victim(some_reference());
    const u64 before = world_.memory.load(victim);
    world_.memory.store(victim, damage(before));
    compare(address, access, user);
    // The walk may have set flags in foreign entries: take those back, too.
    for (const auto& [at, value] : loaded_) world_.memory.store(Hpa(at), value);
    world_.memory.store(victim, before);
  }

  bool wide_;  ///< the table's own geometry says how wide the machine's addresses are
  NestedWorld<G, N> world_;
  Mmu mmu_;
  std::mt19937_64 random_;
  naive::Translator naive_;
  Regime whole_;
  std::vector<u64> pages_;     ///< virtual
  std::vector<u64> physical_;  ///< guest-physical
  std::vector<u64> read_;      ///< where a walk read
  std::map<u64, u64> loaded_;  ///< what the naive translator read
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

// A test's part of all cases: `share` pairs of modes have them together.
template <class G, class N>
void check_pair(const Geometry& guest, const Geometry& nested, u32 share) {
  SCOPED_TRACE(testing::Message() << int{guest.levels} << " of " << int{guest.input_bits} << " by "
                                  << int{nested.levels} << " of " << int{nested.input_bits});
  const u32 worlds = kCases / share / 2 / kCasesPerWorld + 1;
  u32 faults[2] = {0, 0};
  for (u32 seed = 0; seed < worlds && !testing::Test::HasFailure(); ++seed) {
    for (const bool hardware_dirty : {false, true}) {
      faults[0] += Differential<G, N>(guest, nested, {}, hardware_dirty, seed).run(true);
      if (seed % 2 != 0) continue;
      // Nothing is unmapped, so what the caches keep stays true.
      faults[1] +=
          Differential<G, N>(guest, nested, all_caches(guest, nested), hardware_dirty, seed + 1000)
              .run(false);
    }
  }
  const u32 damaged = 2 * worlds * kCasesPerWorld, whole = 2 * (worlds + 1) / 2 * kCasesPerWorld;
  // Neither faults nor results are rare.
  EXPECT_GT(faults[0], damaged / 8);
  EXPECT_LT(faults[0], damaged - damaged / 12);
  EXPECT_GT(faults[1], whole / 20);
  EXPECT_LT(faults[1], whole - whole / 4);
}

class X86Modes : public testing::TestWithParam<std::pair<unsigned, unsigned>> {};
TEST_P(X86Modes, Agree) {
  const auto [guest, nested] = GetParam();
  check_pair<LongMode, Ept>(*LongMode::geometry(guest), *Ept::geometry(nested), 4);
}
using Levels = std::pair<unsigned, unsigned>;
INSTANTIATE_TEST_SUITE_P(Differential, X86Modes,
                         testing::Values(Levels{4, 4}, Levels{4, 5}, Levels{5, 4}, Levels{5, 5}));

class RiscVModes : public testing::TestWithParam<Levels> {};
TEST_P(RiscVModes, Agree) {
  const auto [guest, nested] = GetParam();
  check_pair<Sv, GStage>(*Sv::geometry(guest), *GStage::geometry(nested), 9);
}
INSTANTIATE_TEST_SUITE_P(Differential, RiscVModes,
                         testing::Values(Levels{3, 3}, Levels{3, 4}, Levels{3, 5}, Levels{4, 3},
                                         Levels{4, 4}, Levels{4, 5}, Levels{5, 3}, Levels{5, 4},
                                         Levels{5, 5}));

// Nine pairs of granules, each with three pairs of sizes; the granules alone with 52 bits.
constexpr u32 kArmPairs = 9 * 3 + 3 * 2;
template <Granule kGuest, Granule kNested>
void check_arm() {
  using S1 = Stage1<kGuest>;
  using S2 = Stage2<kNested>;
  check_pair<S1, S2>(*S1::geometry(39), *S2::geometry(40), kArmPairs);
  check_pair<S1, S2>(*S1::geometry(48), *S2::geometry(48), kArmPairs);
  check_pair<S1, S2>(*S1::geometry(42, VaHalf::Upper), *S2::geometry(36), kArmPairs);
}
template <Granule kGranule>
void check_wide() {
  using S1 = Stage1<kGranule, Width::k52>;
  using S2 = Stage2<kGranule, Width::k52>;
  check_pair<S1, S2>(*S1::geometry(52), *S2::geometry(48), kArmPairs);
  check_pair<S1, S2>(*S1::geometry(48, VaHalf::Upper), *S2::geometry(42), kArmPairs);
}
TEST(DifferentialArm, Guest4K) {
  check_arm<Granule::k4K, Granule::k4K>();
  check_arm<Granule::k4K, Granule::k16K>();
  check_arm<Granule::k4K, Granule::k64K>();
}
TEST(DifferentialArm, Guest16K) {
  check_arm<Granule::k16K, Granule::k4K>();
  check_arm<Granule::k16K, Granule::k16K>();
  check_arm<Granule::k16K, Granule::k64K>();
}
TEST(DifferentialArm, Guest64K) {
  check_arm<Granule::k64K, Granule::k4K>();
  check_arm<Granule::k64K, Granule::k16K>();
  check_arm<Granule::k64K, Granule::k64K>();
}
TEST(DifferentialArm, FiftyTwoBits) {
  check_wide<Granule::k4K>();
  check_wide<Granule::k16K>();
  check_wide<Granule::k64K>();
}

}  // namespace
}  // namespace nestwalk::models
