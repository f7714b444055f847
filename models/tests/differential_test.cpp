// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The walker against the naive translator: random tables that the engine built, random registers
// and accesses, and random damage in the entries that a walk reads. Per architecture, spread over
// all pairs of modes: a million cases with damaged entries; half a million with whole ones and walk
// caches; and a million by way of the TLBs, where entries change now and then and a fence follows.
// Compared: the result with sizes, rights of both stages and memory type; or the registers that
// report the fault; and every flag that the walk set.

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "fence_names.hpp"
#include "naive_report.hpp"
#include "nested_world.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::models::differential_test {
namespace {

using namespace addrspace;

#ifdef NESTWALK_SANITIZED
constexpr u32 kCases = 40'000;
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

// And those with which nothing else becomes of an entry: a table stays one, at the same place.
// Dirty flags, which reads do not ask about, several times.
constexpr unsigned kX86Bits[] = {0, 1, 2, 5, 8, 63, 6, 6, 6, 9, 9, 9};
constexpr unsigned kArmBits[] = {0, 6, 10, 11, 51, 53, 54, 59, 60, 61, 62, 7, 7, 7, 7};
constexpr unsigned kRiscvBits[] = {0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7};
constexpr std::span<const unsigned> flag_bits(Architecture architecture) {
  if (architecture == Architecture::X86_64) return kX86Bits;
  if (architecture == Architecture::AArch64) return kArmBits;
  return kRiscvBits;
}

/// May an entry be for several pages? Since they are alike; or since their leaves say so, too.
enum class Coalescing : u8 { No, Yes, Marked };

std::vector<u8> coalesced(u8 page, Coalescing coalescing) {
  if (coalescing != Coalescing::Yes) return {};
  return {static_cast<u8>(page + 2), static_cast<u8>(page + 3)};
}
std::vector<u8> sizes(u8 page, Coalescing coalescing) {
  if (coalescing != Coalescing::Marked) return {page};
  // Groups of 16 pages of 4K, 128 of 16K, 32 of 64K.
  const unsigned doubled = page == 12 ? 4 : page == 14 ? 7 : 5;
  return {page, static_cast<u8>(page + doubled)};
}
CacheShape small_tlb(const Geometry& shape, Coalescing coalescing) {
  const u8 page = shape.page_shift, large = static_cast<u8>(shape.shift(1));
  return {{{2, 2, sizes(page, coalescing), ReplacementKind::Lru, coalesced(page, coalescing)},
           {1, 4, {large}, ReplacementKind::Lru}},
          1};
}

/// For a walker alone.
WalkerShape without_second_tlb(WalkerShape shape) {
  for (CacheShape* const cache :
       {&shape.guest_walk_cache, &shape.nested_walk_cache, &shape.nested_tlb}) {
    cache->in_second_tlb.clear();
  }
  return shape;
}

template <class G, class N>
class Differential {
 public:
  Differential(const Geometry& guest, const Geometry& nested, const WalkerShape& shape,
               bool hardware_dirty, u64 seed, Coalescing coalescing = Coalescing::No)
      : wide_(guest.output_bits == 52),
        world_(guest, nested, without_second_tlb(shape), hardware_dirty),
        mmu_(world_.wheel, world_.memory, world_.hierarchy, world_.hierarchy.add_path({}),
             {{}, small_tlb(guest, coalescing), small_tlb(guest, coalescing), shape}),
        random_(seed),
        naive_({}),
        other_format_(other_machine(hardware_dirty)),
        unfenced_grants_(kNpt && coalescing == Coalescing::Yes) {
    if (coalescing == Coalescing::No) build();
    if (coalescing == Coalescing::Yes) build_runs();
    if (coalescing == Coalescing::Marked) build_marked();
    build_tables();
    naive::Machine& machine = naive_.machine();
    machine.architecture = G::kArchitecture;
    machine.npt = kNpt;
    machine.hardware_dirty = hardware_dirty;
    machine.exists = [this](u64 at) { return world_.memory.contains(Hpa(at), 8); };
    machine.load = [this](u64 at) {
      return loaded_.emplace(at, world_.memory.load(Hpa(at))).first->second;
    };
    whole_ = world_.regime;
  }

  enum class By { DamagedWalks, Walks, Tlbs };
  u32 run(By way) {
    u32 faults = 0;
    for (u32 n = 0; n < kCasesPerWorld && !testing::Test::HasFailure(); ++n) {
      set_registers();
      u64 address = pages_[random_() % pages_.size()] + random_() % 4096;
      if (!world_.regime.guest.on()) address = physical_[random_() % physical_.size()];
      if (random_() % 16 == 0 && (world_.regime.guest.on() || !kArm)) {
        address ^= u64{1} << (59 + random_() % 5);  // TLBs do not know entries by these bits
      }
      const auto access = static_cast<AccessKind>(random_() % 3);
      const bool user = random_() % 4 != 0;
      bool stops = false;
      switch (way) {
        case By::DamagedWalks:
          stops = compare_damaged(address, access, user);
          break;
        case By::Walks:
          stops = compare(address, access, user);
          break;
        case By::Tlbs:
          stops = compare_mmu(address, access, user);
          // What the TLBs know is asked for in other ways, in the same or in other regimes.
          for (u64 more = random_() % 6; more != 0; --more) {
            if (random_() % 4 == 0) change_an_entry();
            if (world_.regime.guest.on() && random_() % 2 == 0) set_privilege();
            compare_mmu(address, static_cast<AccessKind>(random_() % 3), random_() % 2 == 0);
          }
          break;
      }
      faults += stops ? 1 : 0;
    }
    while (!changed_.empty()) take_back();  // the engine frees its tables by what they say
    return faults;
  }

 private:
  static constexpr bool kArm = G::kArchitecture == Architecture::AArch64;
  static constexpr bool kNpt = std::is_same_v<N, Npt>;

  // EFER.NXE is clear, TCR_EL1.HPD set.
  static addrspace::Capabilities other_machine(bool hardware_dirty) {
    addrspace::Capabilities machine = test_machine(G::kArchitecture, hardware_dirty, kNpt);
    machine.execute_disable = machine.tables_limit = false;
    return machine;
  }

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
  // EPT has every type of x86.
  MemoryType some_nested_memory() {
    if (!std::is_same_v<N, Ept>) return some_memory();
    constexpr MemoryType kTypes[] = {MemoryType::WriteBack,      MemoryType::WriteBack,
                                     MemoryType::WriteThrough,   MemoryType::WriteProtected,
                                     MemoryType::WriteCombining, MemoryType::Device};
    return kTypes[random_() % std::size(kTypes)];
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
                                {some_access().without(kUser), some_nested_memory()});
        physical_.push_back(to + (page - at));
      }
    }
  }
  // Eight neighbouring pages each, of the same rights, in the guest and in the second stage; now
  // and then one differs, or is elsewhere.
  void build_runs() {
    const Geometry& guest = world_.guest.geometry();
    const Geometry& nested = world_.nested.geometry();
    const u64 half = guest.rule == InputRule::Ones ? ~low_mask(guest.input_bits) : 0;
    const u64 bytes = guest.page_bytes();
    for (u64 run = 0; run < 6; ++run) {
      const u64 at = half | align_down(random_() & low_mask(guest.input_bits - 1u), 8 * bytes);
      const u64 to = align_down(2 * kGiB + random_() % (60 * kGiB), 8 * bytes) +
                     (random_() % 4 == 0 ? bytes : 0);
      const MappingFlags flags{some_access(), some_memory()};
      const MappingFlags nested_flags{some_access().without(kUser), some_nested_memory()};
      const unsigned level = nested.may_be_leaf(1) && random_() % 3 == 0 ? 1 : 0;
      for (u64 n = 0; n < 8; ++n) {
        const bool differs = random_() % 24 == 0;
        const u64 page = to + (random_() % 24 == 0 ? 8 : n) * bytes;
        (void)world_.guest.map(Gva(at + n * bytes), Gpa(page), bytes,
                               differs ? MappingFlags{some_access(), some_memory()} : flags);
        pages_.push_back(at + n * bytes);
        physical_.push_back(page);
        const bool nested_differs = random_() % 24 == 0;
        for (u64 part = 0; part < bytes; part += nested.page_bytes()) {
          const u64 start = align_down(page + part, nested.leaf_bytes(level));
          (void)world_.nested.map(
              Gpa(start), Hpa(start), nested.leaf_bytes(level),
              nested_differs ? MappingFlags{some_access().without(kUser), some_nested_memory()}
                             : nested_flags);
        }
      }
    }
  }
  // Groups that are marked in the guest, in the second stage, in both or in neither.
  void build_marked() {
    const Geometry& guest = world_.guest.geometry();
    const Geometry& nested = world_.nested.geometry();
    const u64 half = guest.rule == InputRule::Ones ? ~low_mask(guest.input_bits) : 0;
    const u64 page = guest.page_bytes();
    const u64 bytes = std::max(page * world_.most_marked(guest.page_shift, 0),
                               nested.page_bytes() * world_.most_marked(nested.page_shift, 0));
    for (u64 group = 0; group < 8; ++group) {
      const u64 at = half | align_down(random_() & low_mask(guest.input_bits - 1u), bytes);
      const u64 to = align_down(2 * kGiB + random_() % (60 * kGiB), bytes);
      const MappingFlags flags{some_access(), some_memory()};
      const MappingFlags nested_flags{some_access().without(kUser), some_memory()};
      if (!map_pages(world_.guest, Gva(at), Gpa(to), bytes, flags)) continue;
      if (group % 4 != 0) mark_all(world_.guest, at, bytes);
      for (u64 n = 0; n < 6; ++n) pages_.push_back(at + random_() % (bytes / page) * page);
      physical_.push_back(to + random_() % bytes);
      if (random_() % 8 == 0) continue;
      if (!map_pages(world_.nested, Gpa(to), Hpa(to), bytes, nested_flags)) continue;
      if (group % 4 != 1) mark_all(world_.nested, to, bytes);
    }
  }
  template <class Table, class From, class To>
  static bool map_pages(Table& table, From at, To to, u64 bytes, MappingFlags flags) {
    const u64 page = table.geometry().page_bytes();
    for (u64 n = 0; n < bytes; n += page) {
      if (!table.map(at + n, to + n, page, flags)) return false;
    }
    return true;
  }
  template <class Table>
  void mark_all(const Table& table, u64 at, u64 bytes) {
    const Geometry& shape = table.geometry();
    const u64 group = shape.page_bytes() * world_.most_marked(shape.page_shift, 0);
    for (u64 n = 0; n < bytes; n += group) world_.mark(table, at + n, 0);
    for (u64 n = 0; n < bytes; n += shape.page_bytes()) {
      marked_.insert(world_.slot(table, at + n, 0));
    }
  }
  void build_tables() {
    for (u64 n = 0; n < 6; ++n) pages_.push_back(random_());
    // Arm: what is beyond the physical address stops in the first stage, which is simplified away.
    const u64 beyond = kArm ? 16 : 0;
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
    // What no fence is for, and caches may keep, goes with other ids.
    const bool other = random_() % 4 == 0;
    if (other) regime.guest.format = &other_format_;
    if (mode == 0) regime.guest = {};
    if (mode == 1 && !unfenced_grants_) regime.nested = {};
    regime.vmid = static_cast<u16>(1 + mode + (other ? 8 : 0));
    naive::Machine& machine = naive_.machine();
    machine.guest = shape_of(world_.guest.geometry(), wide_, world_.guest.root().value());
    machine.nested = shape_of(world_.nested.geometry(), wide_, world_.nested.root().value());
    machine.guest.reserves_63 = other && G::kArchitecture == Architecture::X86_64;
    machine.guest.tables_limit = !other;
    machine.guest.on = regime.guest.on();
    machine.nested.on = regime.nested.on();
    set_privilege();
  }
  // Guests change these without a fence.
  void set_privilege() {
    const u64 rules = random_();
    const auto rule = [&](unsigned bit, bool there) { return there && (rules >> bit & 1) != 0; };
    const bool x86 = G::kArchitecture == Architecture::X86_64;
    const bool riscv = G::kArchitecture == Architecture::RiscV64;
    naive::Machine& machine = naive_.machine();
    machine.kernel_touches_user = rule(0, true);
    machine.kernel_executes_user = rule(1, x86);
    machine.write_protect = !rule(2, x86);
    machine.vs_mxr = rule(3, riscv);
    machine.mxr = rule(4, riscv);
    machine.wxn = rule(5, kArm);
    machine.ptw = rule(6, kArm);
    PrivilegeRules& privilege = world_.regime.privilege;
    privilege = {};
    privilege.kernel_touches_user = machine.kernel_touches_user;
    privilege.kernel_executes_user = machine.kernel_executes_user;
    privilege.kernel_writes_read_only = !machine.write_protect;
    privilege.execute_is_read = machine.vs_mxr || machine.mxr;
    privilege.nested_execute_is_read = machine.mxr;
    privilege.writable_never_executes = machine.wxn;
    privilege.tables_in_memory = machine.ptw;
    world_.regime = world_.regime.tagged(world_.tags);
    mmu_.set_regime(world_.regime);
  }

  bool compare(u64 address, AccessKind access, bool user) {
    loaded_.clear();
    naive::Answer expected = naive_.translate(address, access, user);
    world_.walk(address, access, user);
    const Fault& fault = world_.fault;
    SCOPED_TRACE(testing::Message()
                 << std::hex << address << " access " << static_cast<int>(access) << " user "
                 << user << " registers " << world_.regime.guest.on() << world_.regime.nested.on());
    EXPECT_EQ(fault.kind, expected.kind);
    if (fault.kind != expected.kind) return true;
    fault ? compare_faults(fault, expected, address, access, user)
          : compare_results(expected, address);
    compare_memory();
    return static_cast<bool>(fault);
  }
  // By way of the TLBs, which may know it already, and may refuse by themselves.
  bool compare_mmu(u64 address, AccessKind access, bool user) {
    loaded_.clear();
    const naive::Answer expected = naive_.translate(address, access, user);
    Mmu::Outcome found;
    if (!mmu_.translate({address, access, user}, world_, 0, found)) world_.wheel.run();
    SCOPED_TRACE(testing::Message() << std::hex << address << " access " << static_cast<int>(access)
                                    << " user " << user << " vmid " << world_.regime.vmid);
    EXPECT_EQ(found.fault.kind, expected.kind);
    if (found.fault.kind != expected.kind) return true;
    compare_memory();
    if (found.fault) {
      compare_faults(found.fault, expected, address, access, user);
      return true;
    }
    EXPECT_EQ(found.host, expected.host);
    if (expected.memory_is_modelled) {
      EXPECT_EQ(found.memory, expected.memory);
    }
    return false;
  }
  void compare_memory() {
    for (const auto& [at, before] : loaded_) {
      const auto updated = naive_.updated().find(at);
      EXPECT_EQ(world_.memory.load(Hpa(at)),
                updated == naive_.updated().end() ? before : updated->second);
    }
  }

  // Flips a flag of an entry that the last translation read, or takes an earlier flip back.
  void change_an_entry() {
    if (changed_.size() > 6 || (!changed_.empty() && random_() % 2 == 0)) {
      return take_back();
    }
    const std::vector<naive::Reading>& readings = naive_.readings();
    if (readings.empty()) return;
    naive::Reading victim = readings[random_() % readings.size()];
    for (const naive::Reading& other : readings) {
      // Often the first stage's leaf.
      if (!other.nested && !other.table && random_() % 2 == 0) victim = other;
    }
    if (marked_.count(victim.at) != 0) return;  // software has to change all of a group
    const u64 before = world_.memory.load(Hpa(victim.at));
    const std::span<const unsigned> bits =
        unfenced_grants_ ? std::span(kRightsOfNpt) : flag_bits(G::kArchitecture);
    const u64 after = before ^ u64 { 1 } << bits[random_() % bits.size()];
    world_.memory.store(Hpa(victim.at), after);
    changed_.push_back({victim.at, before, victim.nested});
    if (!only_grants(before, after)) fence(victim);
  }
  void take_back() {
    const auto [at, before, nested] = changed_.back();
    changed_.pop_back();
    const u64 was = world_.memory.load(Hpa(at));
    world_.memory.store(Hpa(at), before);
    if (!only_grants(was, before)) fence({at, 0, 0, nested, true, false});
  }
  // R/W and XD; hardware sets others.
  static constexpr unsigned kRightsOfNpt[] = {1, 1, 63};
  bool only_grants(u64 before, u64 after) const {
    constexpr u64 kWritable = 1 << 1, kNoExecute = u64{1} << 63, kFlags = 0x60;
    const u64 flipped = (before ^ after) & ~kFlags;
    return unfenced_grants_ && (flipped & ~(kWritable | kNoExecute)) == 0 &&
           ((flipped & kWritable) & before) == 0 && ((flipped & kNoExecute) & after) == 0;
  }
  // What software owes for a change: all of a table's reach, or often no more than a leaf's own. A
  // page of the guest's tables is no leaf's own: what was found with its help names another page.
  void fence(const naive::Reading& changed) {
    const bool narrow = !changed.table && !changed.of_table && random_() % 4 != 0;
    for (u16 vmid = 1; vmid <= 16; ++vmid) {
      FenceRequest request;
      request.vmid = vmid;
      request.root = whole_.nested.root;
      request.address = changed.input;
      for (const FenceOp op : fences(changed.nested, narrow)) {
        request.op = op;
        apply_fence(request, mmu_, world_.tags);
      }
    }
  }
  static std::vector<FenceOp> fences(bool nested, bool narrow) {
    switch (G::kArchitecture) {
      case Architecture::X86_64:
        if (kNpt) return {nested || !narrow ? svm::kVmrunAsid : svm::kInvlpga};
        if (nested) return {vmx::kInveptSingle};
        return {narrow ? vmx::kInvvpidAddress : vmx::kInvvpidSingle};
      case Architecture::AArch64:
        if (nested && narrow) return {stage2::kIpas2e1.local, stage2::kVmalle1.local};
        if (nested) return {stage2::kVmalls12e1.local};
        return {narrow ? stage2::kVaae1.local : stage2::kVmalle1.local};
      case Architecture::RiscV64:
        if (nested) return {narrow ? hext::kGvmaAddressVmid.at_once : hext::kGvmaVmid.at_once};
        return {narrow ? hext::kVvmaAddress.at_once : hext::kVvmaAll.at_once};
    }
    return {};
  }
  void compare_results(const naive::Answer& expected, u64 address) {
    const Translation& found = world_.translation;
    EXPECT_EQ(found.host + (address & low_mask(found.shift())), expected.host);
    EXPECT_EQ(found.shift(), std::min(expected.guest_good_for, expected.nested_good_for));
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
    const FaultReport wanted =
        kNpt ? naive::svm_registers(expected, address, access, user)
        : G::kArchitecture == Architecture::X86_64
            ? naive::x86_registers(expected, address, access, user, naive_.machine().hardware_dirty)
        : G::kArchitecture == Architecture::AArch64
            ? naive::arm_registers(expected, address, access, user)
            : naive::riscv_registers(expected, address, access);
    const FaultReport found = world_.regime.report_of(fault);
    EXPECT_EQ(found, wanted) << to_text(found) << " instead of " << to_text(wanted);
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
  bool compare_damaged(u64 address, AccessKind access, bool user) {
    world_.walk(address, access, user);
    read_.clear();
    for (u32 n = 0; n < world_.record.count; ++n) {
      const u64 at = world_.record.references[n].address;
      if (world_.memory.contains(Hpa(at), 8)) read_.push_back(at);
    }
    if (read_.empty()) return compare(address, access, user);
    const Hpa victim(some_reference());
    const u64 before = world_.memory.load(victim);
    world_.memory.store(victim, damage(before));
    const bool stops = compare(address, access, user);
    // The walk may have set flags in foreign entries: take those back, too.
    for (const auto& [at, value] : loaded_) world_.memory.store(Hpa(at), value);
    world_.memory.store(victim, before);
    return stops;
  }

  struct Changed {
    u64 at, before;
    bool nested;
  };

  bool wide_;  ///< the table's own geometry says how wide the machine's addresses are
  NestedWorld<G, N> world_;
  Mmu mmu_;
  std::mt19937_64 random_;
  naive::Translator naive_;
  EntryFormatOf<G> other_format_;
  /// AMD: what gives rights is not fenced, and no fault of it.
  bool unfenced_grants_;
  Regime whole_;
  std::vector<u64> pages_;     ///< virtual
  std::vector<u64> physical_;  ///< guest-physical
  std::vector<u64> read_;      ///< where a walk read
  std::map<u64, u64> loaded_;  ///< what the naive translator read
  std::vector<Changed> changed_;
  std::set<u64> marked_;  ///< leaves of marked groups
};

WalkerShape all_caches(const Geometry& guest, const Geometry& nested,
                       Coalescing coalescing = Coalescing::No) {
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
  shape.nested_tlb = {{{4, 4, sizes(nested.page_shift, coalescing), ReplacementKind::TreePlru,
                        coalesced(nested.page_shift, coalescing)}},
                      1};
  return shape;
}

// The same caches, looked up by entries, or yielding what is translated again: what they keep, and
// forget, is another matter, what is found is not.
WalkerShape with_policy(WalkerShape shape, u32 which) {
  constexpr IndexBy kGuest[] = {IndexBy::Address, IndexBy::Address, IndexBy::Entry,
                                IndexBy::GuestEntry};
  shape.guest_index_by = kGuest[which % 4];
  shape.guest_yields = which % 4 == 0 ? Yields::Host : Yields::Guest;
  shape.nested_index_by = which % 4 < 2 ? IndexBy::Address : IndexBy::Entry;
  return shape;
}

// The same by way of TLBs that coalesce, and of walk caches and pages of the nested TLB in the
// second of them.
template <class G, class N>
void check_coalescing(const Geometry& guest, const Geometry& nested, u32 cases) {
  SCOPED_TRACE(testing::Message() << int{guest.levels} << " by " << int{nested.levels});
  using World = Differential<G, N>;
  WalkerShape shape = all_caches(guest, nested, Coalescing::Yes);
  for (CacheShape* const cache : {&shape.guest_walk_cache, &shape.nested_walk_cache}) {
    auto& own = cache->arrays.front().shifts;
    cache->in_second_tlb = {own.front()};
    own.erase(own.begin());
  }
  shape.nested_tlb.in_second_tlb = std::exchange(shape.nested_tlb.arrays.front().shifts, {});
  u32 faults = 0;
  const u32 worlds = cases / kCasesPerWorld + 1;
  for (u32 seed = 0; seed < worlds && !testing::Test::HasFailure(); ++seed) {
    World world(guest, nested, shape, seed % 2 != 0, seed + 3000, Coalescing::Yes);
    faults += world.run(World::By::Tlbs);
  }
  EXPECT_GT(faults, worlds * kCasesPerWorld / 20);
  EXPECT_LT(faults, worlds * kCasesPerWorld - worlds * kCasesPerWorld / 12);
}

// Leaves that say that their neighbours are the same translation.
template <class G, class N>
void check_marked(const Geometry& guest, const Geometry& nested, u32 cases) {
  SCOPED_TRACE(testing::Message() << int{guest.levels} << " by " << int{nested.levels});
  using World = Differential<G, N>;
  const WalkerShape caches = all_caches(guest, nested, Coalescing::Marked);
  u32 faults = 0;
  const u32 worlds = cases / kCasesPerWorld / 2 + 1;
  for (u32 seed = 0; seed < worlds && !testing::Test::HasFailure(); ++seed) {
    const auto world = [&](const WalkerShape& shape) {
      return World(guest, nested, shape, seed % 2 != 0, seed + 4000, Coalescing::Marked);
    };
    faults += world({}).run(World::By::DamagedWalks);
    faults += world(caches).run(World::By::Tlbs);
  }
  EXPECT_GT(faults, 2 * worlds * kCasesPerWorld / 20);
  EXPECT_LT(faults, 2 * worlds * kCasesPerWorld - worlds * kCasesPerWorld / 6);
}
TEST(DifferentialMarked, RiscV) {
  for (const unsigned guest : {3u, 4u, 5u}) {
    for (const unsigned nested : {3u, 4u, 5u}) {
      check_marked<Sv, GStage>(*Sv::geometry(guest), *GStage::geometry(nested), kCases / 18);
    }
  }
}
TEST(DifferentialMarked, Arm) {
  using G4 = Stage1<Granule::k4K>;
  using N4 = Stage2<Granule::k4K>;
  using G16 = Stage1<Granule::k16K>;
  using N16 = Stage2<Granule::k16K>;
  check_marked<G4, N4>(*G4::geometry(48), *N4::geometry(48), kCases / 8);
  check_marked<G4, N16>(*G4::geometry(39), *N16::geometry(40), kCases / 8);
  check_marked<G16, N4>(*G16::geometry(48), *N4::geometry(40), kCases / 8);
  check_marked<Stage1<Granule::k64K>, Stage2<Granule::k64K>>(
      *Stage1<Granule::k64K>::geometry(48), *Stage2<Granule::k64K>::geometry(48), kCases / 8);
}

// A test's part of all cases: `share` pairs of modes have them together.
template <class G, class N>
void check_pair(const Geometry& guest, const Geometry& nested, u32 share) {
  SCOPED_TRACE(testing::Message() << int{guest.levels} << " of " << int{guest.input_bits} << " by "
                                  << int{nested.levels} << " of " << int{nested.input_bits});
  const u32 worlds = kCases / share / 2 / kCasesPerWorld + 1;
  using World = Differential<G, N>;
  u32 faults[3] = {0, 0, 0};
  for (u32 seed = 0; seed < worlds && !testing::Test::HasFailure(); ++seed) {
    for (const bool hardware_dirty : {false, true}) {
      const WalkerShape caches =
          with_policy(all_caches(guest, nested), seed + 2u * guest.levels + nested.levels);
      faults[0] += World(guest, nested, {}, hardware_dirty, seed).run(World::By::DamagedWalks);
      faults[2] += World(guest, nested, caches, hardware_dirty, seed + 2000).run(World::By::Tlbs);
      if (seed % 2 != 0) continue;
      // Nothing changes, so what the caches keep stays true.
      faults[1] += World(guest, nested, caches, hardware_dirty, seed + 1000).run(World::By::Walks);
    }
  }
  const u32 damaged = 2 * worlds * kCasesPerWorld, whole = 2 * (worlds + 1) / 2 * kCasesPerWorld;
  // Neither faults nor results are rare.
  EXPECT_GT(faults[0], damaged / 8);
  EXPECT_LT(faults[0], damaged - damaged / 12);
  EXPECT_GT(faults[1], whole / 20);
  EXPECT_LT(faults[1], whole - whole / 4);
  EXPECT_GT(faults[2], damaged / 20);
  EXPECT_LT(faults[2], damaged - damaged / 12);
}

class X86Modes : public testing::TestWithParam<std::pair<unsigned, unsigned>> {};
TEST_P(X86Modes, Agree) {
  const auto [guest, nested] = GetParam();
  check_pair<LongMode, Ept>(*LongMode::geometry(guest), *Ept::geometry(nested), 4);
}
using Levels = std::pair<unsigned, unsigned>;
const auto kX86Levels = testing::Values(Levels{4, 4}, Levels{4, 5}, Levels{5, 4}, Levels{5, 5});
INSTANTIATE_TEST_SUITE_P(Differential, X86Modes, kX86Levels);

class AmdModes : public testing::TestWithParam<Levels> {};
TEST_P(AmdModes, Agree) {
  const auto [guest, nested] = GetParam();
  check_pair<LongMode, Npt>(*LongMode::geometry(guest), *Npt::geometry(nested), 4);
}
INSTANTIATE_TEST_SUITE_P(Differential, AmdModes, kX86Levels);

// A million in all.
TEST(DifferentialCoalescing, Amd) {
  for (const unsigned guest : {4u, 5u}) {
    for (const unsigned nested : {4u, 5u}) {
      check_coalescing<LongMode, Npt>(*LongMode::geometry(guest), *Npt::geometry(nested),
                                      kCases / 8);
    }
  }
}
TEST(DifferentialCoalescing, Others) {
  check_coalescing<LongMode, Ept>(*LongMode::geometry(4), *Ept::geometry(4), kCases / 8);
  check_coalescing<Sv, GStage>(*Sv::geometry(3), *GStage::geometry(3), kCases / 8);
  using S1 = Stage1<Granule::k4K>;
  check_coalescing<S1, Stage2<Granule::k4K>>(*S1::geometry(48), *Stage2<Granule::k4K>::geometry(48),
                                             kCases / 8);
  check_coalescing<S1, Stage2<Granule::k16K>>(*S1::geometry(39),
                                              *Stage2<Granule::k16K>::geometry(40), kCases / 8);
}

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
}  // namespace nestwalk::models::differential_test
