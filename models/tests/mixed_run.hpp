// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Four cores of a preset that do a bit of everything at random: accesses of two address spaces of
// one guest, changes between them, faults, every fence of the architecture. What comes of it, as
// text.
#pragma once

#include <random>
#include <sstream>

#include "fence_names.hpp"
#include "nested_world.hpp"
#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/models/machine/machine.hpp"

namespace nestwalk::models {

/// How far run_until runs at a time; kNever: to the end at once.
using Quantum = Cycle;

template <class G, class N>
class MixedRun {
 public:
  MixedRun(const MachineShape& shape, const Geometry& guest, const Geometry& nested, u64 seed)
      : machine_(shape, addrspace::kGiB),
        capabilities_(test_machine(G::kArchitecture, false)),
        hal_(machine_.memory(), capabilities_),
        guest_hal_(machine_.memory(), capabilities_),
        nested_(*Nested::create(hal_, nested)),
        guest_format_(capabilities_),
        nested_format_(capabilities_),
        fences_(machine_),
        ops_(fences_of(row_of(typename N::Extension()))),
        random_(seed) {
    for (u16 n = 0; n < 2; ++n) {
      guests_.push_back(*Guest::create(guest_hal_, guest));
      map(guests_.back());
      Regime regime;
      regime.guest = {&guest_format_, guest, guests_.back().root().value()};
      regime.nested = {&nested_format_, nested, nested_.root().value()};
      regime.vmid = 1;
      regime.asid = static_cast<u16>(n + 1);
      spaces_.push_back(regime.tagged(machine_.tags()));
    }
    map_tables();
    for (u32 n = 0; n < machine_.cores(); ++n) machine_.core(n).mmu->set_regime(spaces_[n % 2]);
    // Two accesses in flight on each core: they share walks, and wait for slots.
    for (u32 n = 0; n < 2 * machine_.cores(); ++n) {
      runners_.push_back(std::make_unique<Runner>(*this, n / 2, random_()));
    }
  }
  MixedRun(const MixedRun&) = delete;
  MixedRun& operator=(const MixedRun&) = delete;

  std::string statistics(Quantum quantum) {
    Wheel& wheel = machine_.wheel();
    for (Cycle horizon = quantum; quantum != kNever && wheel.next() != kNever; horizon += quantum) {
      wheel.run_until(horizon);
    }
    wheel.run();
    std::ostringstream text;
    for (const auto& runner : runners_) runner->print(text);
    text << "  dropped " << fences_.dropped() << '\n';
    return text.str();
  }

 private:
  using Nested = addrspace::PageTable<N, SimHal<>>;
  using Guest = addrspace::PageTable<G, GuestHal>;
  static constexpr u64 kPages = 700, kLarge = 6, kSteps = 2'000;
  static constexpr u64 kSmallAt = addrspace::kGiB, kLargeAt = 8 * addrspace::kGiB;
  static constexpr u64 kDataAt = 16 * addrspace::kGiB;  // nobody looks at the data

  static void must(Result<void> done) { check(done.ok(), "test", "a mapping", 0, 0); }
  // Small pages, some of them global, some read-only; large ones over large and over small ones.
  void map(Guest& guest) {
    const u64 page = guest.geometry().page_bytes(), large = guest.geometry().leaf_bytes(1);
    for (u64 n = 0; n < kPages; ++n) {
      const Access global = n % 16 == 0 ? kGlobal : Access{};
      const Access rights = n % 7 == 0 ? kRead | kExecute : kRwx;
      back(kDataAt + n * page, 0);
      must(guest.map(Gva(kSmallAt + n * page), Gpa(kDataAt + n * page), page,
                     {rights | kUser | global}));
    }
    for (u64 n = 0; n < kLarge; ++n) {
      const u64 to = kDataAt + (16 + n) * large;
      for (u64 part = 0; part < large; part += n % 2 == 0 ? large : page) {
        back(to + part, n % 2 == 0 ? 1 : 0);
      }
      must(guest.map(Gva(kLargeAt + n * large), Gpa(to), large, {kRwx | kUser}));
    }
  }
  void back(u64 at, unsigned level) {
    if (nested_.query(Gpa(at))) return;
    must(nested_.map(Gpa(at), Hpa(at), nested_.geometry().leaf_bytes(level), {kRwx}));
  }
  void map_tables() {
    for (const GuestHal::Run& run : guest_hal_.frames) back(run.first.value(), 0);
  }

  class Runner final : public Actor {
   public:
    Runner(MixedRun& run, u32 core, u64 seed)
        : run_(run), core_(core), mmu_(*run.machine_.core(core).mmu), random_(seed) {
      run.machine_.wheel().schedule(core * 3, *this, 0);
    }
    void on_cycle(u32) override {
      while (step()) {
      }
    }
    void print(std::ostream& text) const {
      const Mmu::Counts& counts = mmu_.counts();
      text << "  core " << core_ << ": end " << end_ << " first " << counts.first_hits()
           << " second " << counts.second_hits() << " walks " << counts.walks() << " merged "
           << counts.merged << " faults " << counts.faults << " references " << counts.references
           << " served";
      for (const u64 count : served_counts_) text << ' ' << count;
      text << " fences " << fences_ << " hosts " << hosts_ << " cached " << cached_ << '\n';
    }

   private:
    enum class State : u8 { Choose, Access, Retire };

    // One step; true if the next one is due in this cycle.
    bool step() {
      switch (state_) {
        case State::Choose:
          if (steps_++ != kSteps) return choose(random_() % 100);
          cached_ = cached();
          return false;
        case State::Access:
          state_ = outcome_.fault ? State::Choose : State::Retire;
          return outcome_.fault || access();
        case State::Retire:
          state_ = State::Choose;
          end_ = run_.machine_.wheel().now();
          ++served_counts_[static_cast<unsigned>(served_) % 8];
          hosts_ = hosts_ * 31 + outcome_.host;
          break;
      }
      return true;
    }
    bool choose(u64 what) {
      if (what < 2) return fence();
      if (what < 4) {
        mmu_.set_regime(run_.spaces_[random_() % 2]);
        return true;
      }
      // Half of the accesses go to a few pages; some to none.
      const u64 page = random_() % (random_() % 2 == 0 ? 12 : kPages + 20);
      const u64 large = random_() % (kLarge << 21);
      request_.address = what < 80 ? kSmallAt + page * 4096 + random_() % 4096 : kLargeAt + large;
      request_.access = static_cast<AccessKind>(random_() % 3);
      request_.user = true;
      state_ = State::Access;
      return mmu_.translate(request_, *this, 0, outcome_);
    }
    bool access() {
      const CorePaths& paths = run_.machine_.core(core_).paths;
      const bool fetch = request_.access == AccessKind::Execute;
      return run_.machine_.hierarchy().access(
          fetch ? paths.fetches : paths.data, Hpa(outcome_.host),
          request_.access == AccessKind::Write, *this, 0, served_);
    }
    bool fence() {
      FenceRequest request;
      request.op = run_.ops_[random_() % run_.ops_.size()];
      request.root = mmu_.regime().nested.root;
      request.vmid = 1;
      request.asid = static_cast<u16>(1 + random_() % 2);
      const u64 page = random_() % kPages * 4096;
      request.address = (random_() % 2 == 0 ? kSmallAt : kDataAt) + page;
      const Reach reach = random_() % 2 == 0 ? Reach::Own : Reach::Interrupts;
      ++fences_;
      run_.fences_.issue(core_, request, reach, *this, 0);
      return false;
    }
    // What the structures hold at the end, in order.
    u64 cached() const {
      u64 sum = 0;
      const auto add = [&](const EntryKey& where, const auto&) {
        sum = (sum * 31 + where.address) * 31 + where.shift + where.tag;
      };
      mmu_.fetch_tlb().for_each(add);
      mmu_.data_tlb().for_each(add);
      mmu_.store_tlb().for_each(add);
      mmu_.second_tlb().for_each(add);
      mmu_.walker().guest_walk_cache().for_each(add);
      mmu_.walker().nested_walk_cache().for_each(add);
      mmu_.walker().nested_tlb().for_each(add);
      return sum;
    }

    MixedRun& run_;
    u32 core_;
    Mmu& mmu_;
    std::mt19937_64 random_;
    State state_ = State::Choose;
    u64 steps_ = 0;
    Mmu::Request request_;
    Mmu::Outcome outcome_;
    Served served_ = Served::None;
    Cycle end_ = 0;
    u64 served_counts_[8] = {};
    u64 fences_ = 0;
    u64 hosts_ = 0;
    u64 cached_ = 0;
  };

  Machine machine_;
  addrspace::Capabilities capabilities_;
  SimHal<> hal_;
  GuestHal guest_hal_;
  Nested nested_;
  std::vector<Guest> guests_;
  EntryFormatOf<G> guest_format_;
  EntryFormatOf<N> nested_format_;
  std::vector<Regime> spaces_;
  FenceUnit fences_;
  std::vector<FenceOp> ops_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Runner>> runners_;
};

/// All statistics of four cores of a preset.
inline std::string mixed_run(const std::string& preset, u64 seed, Quantum quantum) {
  using namespace addrspace;
  MachineShape shape = load_preset(NESTWALK_PRESETS "/" + preset + ".json").shape;
  shape.cores = 4;
  if (shape.extension == &kSvm) {
    return MixedRun<LongMode, Npt>(shape, *LongMode::geometry(4), *Npt::geometry(4), seed)
        .statistics(quantum);
  }
  switch (shape.extension->isa->architecture) {
    case Architecture::X86_64:
      return MixedRun<LongMode, Ept>(shape, *LongMode::geometry(4), *Ept::geometry(4), seed)
          .statistics(quantum);
    case Architecture::AArch64:
      using S1 = Stage1<Granule::k4K>;
      using S2 = Stage2<Granule::k4K>;
      return MixedRun<S1, S2>(shape, *S1::geometry(48), *S2::geometry(40), seed)
          .statistics(quantum);
    case Architecture::RiscV64:
      break;
  }
  return MixedRun<Sv, GStage>(shape, *Sv::geometry(3), *GStage::geometry(3), seed)
      .statistics(quantum);
}

}  // namespace nestwalk::models
