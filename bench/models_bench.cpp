// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How fast the models run: translations per second of host time. 4-level guest tables over 4-level
// EPT, 4K pages on both sides, one core, no SystemC.

#include <benchmark/benchmark.h>

#include <random>

#include "full_machine.hpp"
#include "guest_tables.hpp"
#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/models/machine/player.hpp"

namespace nestwalk::models {
namespace {

// Structures of a server core of 2020: what matters here is how much is searched.
MachineShape server() {
  MachineShape shape;
  shape.mmu.data_tlb = {{{16, 4, {12}}, {8, 4, {21}}, {1, 4, {30}}}, 1};
  shape.mmu.second_tlb = {{{128, 12, {12, 21}}, {4, 4, {30}}}, 7};
  shape.mmu.walker.slots = 2;
  shape.mmu.walker.guest_walk_cache = {{{8, 4, {21}}, {1, 4, {30}}, {1, 2, {39}}}, 1};
  shape.mmu.walker.nested_walk_cache = {{{8, 4, {21}}, {1, 4, {30}}, {1, 2, {39}}}, 1};
  shape.mmu.walker.nested_tlb = {{{4, 4, {12, 21, 30}}}, 1};
  shape.l1d = DataCacheShape{64, 8, 4, 10};
  shape.l2 = DataCacheShape{1024, 16, 14, 16};
  shape.l3 = DataCacheShape{32768, 11, 54, 32};
  shape.memory = {.channels = 6,
                  .banks = 16,
                  .bank_groups = 4,
                  .controller_ps = 100'000,
                  .tcl_ps = 42'000,
                  .trcd_ps = 42'000,
                  .trp_ps = 42'000,
                  .tras_ps = 96'000,
                  .tccd_ps = 15'000,
                  .tburst_ps = 8'000};
  return shape;
}

class Bench {
 public:
  // `pages` of guest memory, visited at random.
  Bench(const MachineShape& shape, u64 pages, Player::Data data, u64 accesses)
      : machine(shape, 8 * addrspace::kGiB), tables(machine, pages) {
    std::mt19937_64 random(1);
    for (u64 n = 0; n < accesses; ++n) {
      // Eight lines of each page, spread over the sets of the first cache.
      const u64 page = random() % pages;
      const u64 line = (page * 8 + random() % 8) % 64;
      const u64 address = GuestTables::kBase + page * kFrameBytes + line * 64;
      requests.push_back({address, AccessKind::Read, true});
    }
    for (u32 n = 0; n < machine.cores(); ++n) {
      machine.core(n).mmu->set_regime(tables.regime);
      players.push_back(std::make_unique<Player>(machine, n, data));
    }
  }
  void run(benchmark::State& state) {
    for (auto _ : state) {
      for (auto& player : players) player->play(requests, machine.wheel().now() + 1);
      machine.wheel().run();
    }
    Mmu::Counts counts = machine.core(0).mmu->counts();
    const double played = static_cast<double>(state.iterations()) *
                          static_cast<double>(requests.size() * players.size());
    for (auto& player : players) {
      if (!player->finished()) state.SkipWithError("a fault");
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(played));
    state.counters["walks/access"] =
        static_cast<double>(counts.walks()) * static_cast<double>(players.size()) / played;
    state.counters["refs/walk"] = static_cast<double>(counts.references) /
                                  static_cast<double>(std::max<u64>(counts.walks(), 1));
  }

  Machine machine;
  GuestTables tables;
  std::vector<Mmu::Request> requests;
  std::vector<std::unique_ptr<Player>> players;
};

void first_level_hits(benchmark::State& state) {
  Bench(server(), 48, Player::Data::Skip, 1 << 16).run(state);
}
void first_level_hits_and_data(benchmark::State& state) {
  Bench(server(), 48, Player::Data::Read, 1 << 16).run(state);
}
void second_level_hits(benchmark::State& state) {
  Bench(server(), 1200, Player::Data::Skip, 1 << 16).run(state);
}
void walks(benchmark::State& state) {  // 1 GiB at random
  Bench(server(), 1 << 18, Player::Data::Skip, 1 << 18).run(state);
}
void walks_and_data(benchmark::State& state) {
  Bench(server(), 1 << 18, Player::Data::Read, 1 << 18).run(state);
}
void cold_walks(benchmark::State& state) {  // nothing but data caches: 24 references each
  MachineShape shape = server();
  shape.mmu.second_tlb = {};
  shape.mmu.walker = {};
  Bench(shape, 1 << 18, Player::Data::Skip, 1 << 16).run(state);
}
void four_cores(benchmark::State& state) {
  MachineShape shape = server();
  shape.cores = 4;
  Bench(shape, 1 << 18, Player::Data::Read, 1 << 16).run(state);
}

BENCHMARK(first_level_hits);
BENCHMARK(first_level_hits_and_data);
BENCHMARK(second_level_hits);
BENCHMARK(walks);
BENCHMARK(walks_and_data);
BENCHMARK(cold_walks);
BENCHMARK(four_cores);

}  // namespace
}  // namespace nestwalk::models
