// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What SystemC costs: the floor that the kernel and TLM-2.0 set for anybody, and the models over
// it. One platform serves all benchmarks, since a process elaborates once.

#include <benchmark/benchmark.h>

#include <cstring>

#include "guest_tables.hpp"
#include "nestwalk/models/machine/player.hpp"
#include "nestwalk/systemc/platform.hpp"

int sc_main(int, char**) { return 0; }  // the kernel's library wants it

namespace nestwalk::systemc {
namespace {

using models::GuestTables;
using models::Player;
using sc_core::sc_time;
using sc_core::SC_ZERO_TIME;

constexpr u64 kPages = 48;  // all in the first TLB

models::MachineShape shape() {
  models::MachineShape shape;
  shape.mmu.data_tlb = {{{16, 4, {12}}}, 1};
  shape.mmu.walker.nested_tlb = {{{4, 4, {12}}}, 1};
  shape.l1d = models::DataCacheShape{64, 8, 4, 10};
  return shape;
}

/// A method that has an event of its own, as long as it is wanted.
struct Ticker : sc_core::sc_module {
  explicit Ticker(const sc_core::sc_module_name& name) : sc_module(name) {
    SC_METHOD(tick);
    sensitive << next;
    dont_initialize();
  }
  SC_HAS_PROCESS(Ticker);
  void tick() {
    if (--left != 0) next.notify(sc_time(1, sc_core::SC_NS));
  }
  u64 left = 0;
  sc_core::sc_event next;
};

/// The least that a target can be.
struct Floor : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  tlm::tlm_target_socket<64> in;
  unsigned char bytes[4096] = {};
  explicit Floor(const sc_core::sc_module_name& name) : sc_module(name), in("in") {
    in.bind(*this);
  }
  void b_transport(tlm::tlm_generic_payload& payload, sc_time& delay) override {
    std::memcpy(payload.get_data_ptr(), bytes + payload.get_address() % 4096, 8);
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
    delay += sc_time(1, sc_core::SC_NS);
  }
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload&, tlm::tlm_phase&,
                                     sc_time&) override {
    return tlm::TLM_COMPLETED;
  }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
};

struct Initiator : sc_core::sc_module, tlm::tlm_bw_transport_if<>, tlm::tlm_mm_interface {
  tlm::tlm_initiator_socket<64> out;
  explicit Initiator(const sc_core::sc_module_name& name) : sc_module(name), out("out") {
    out.bind(*this);
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& done, tlm::tlm_phase&,
                                     sc_time&) override {
    done.release();
    if (--left != 0) send();
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
  void free(tlm::tlm_generic_payload*) override {}

  // One after the other by nb_transport, `left` times.
  void send() {
    payload.acquire();
    payload.set_address(address(left));
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_time delay = SC_ZERO_TIME;
    out->nb_transport_fw(payload, phase, delay);
  }
  static u64 address(u64 n) {
    return GuestTables::kBase + n * 7 % kPages * models::kFrameBytes + n % 8 * 64;
  }
  tlm::tlm_generic_payload payload{this};
  u64 data = 0;
  u64 left = 0;
};

class Scene {
 public:
  static Scene& get() {
    static Scene* const scene = new Scene;  // as long as the process
    return *scene;
  }
  Ticker ticker{"ticker"};
  Floor floor{"floor"};
  Initiator to_floor{"to_floor"};
  Initiator initiator{"initiator"};
  Platform platform{"platform", shape(), addrspace::kGiB};
  std::unique_ptr<GuestTables> tables;

 private:
  Scene() {
    to_floor.out.bind(floor.in);
    initiator.out.bind(platform.core[0].data);
    for (Initiator* const each : {&to_floor, &initiator}) {
      each->payload.set_command(tlm::TLM_READ_COMMAND);
      each->payload.set_data_ptr(reinterpret_cast<unsigned char*>(&each->data));
      each->payload.set_data_length(8);
      each->payload.set_streaming_width(8);
    }
    sc_core::sc_start(SC_ZERO_TIME);
    tables = std::make_unique<GuestTables>(platform.board(), kPages);
    platform.board().core(0).mmu->set_regime(tables->regime);
  }
};

void report(benchmark::State& state, u64 items) {
  state.SetItemsProcessed(static_cast<std::int64_t>(items));
}

// The floor --------------------------------------------------------------------------------------

void kernel_event(benchmark::State& state) {
  Scene& scene = Scene::get();
  constexpr u64 kEvents = 10'000;
  for (auto _ : state) {
    scene.ticker.left = kEvents;
    scene.ticker.next.notify(sc_time(1, sc_core::SC_NS));
    sc_core::sc_start();
  }
  report(state, static_cast<u64>(state.iterations()) * kEvents);
}

void wheel_event(benchmark::State& state) {
  struct Tick final : models::Actor {
    void on_cycle(u32 what) override {
      if (--left != 0) wheel.schedule(wheel.now() + 1, *this, what);
    }
    models::Wheel wheel;
    u64 left = 0;
  } tick;
  constexpr u64 kEvents = 10'000;
  for (auto _ : state) {
    tick.left = kEvents;
    tick.wheel.schedule(tick.wheel.now() + 1, tick, 0);
    tick.wheel.run();
  }
  report(state, static_cast<u64>(state.iterations()) * kEvents);
}

void blocking_calls(benchmark::State& state, Initiator& initiator) {
  u64 n = 0;
  sc_time delay = SC_ZERO_TIME;
  for (auto _ : state) {
    initiator.payload.set_address(Initiator::address(n++));
    initiator.out->b_transport(initiator.payload, delay);
  }
  if (!initiator.payload.is_response_ok()) state.SkipWithError("a fault");
  report(state, n);
}
void tlm_floor(benchmark::State& state) { blocking_calls(state, Scene::get().to_floor); }

// The models -------------------------------------------------------------------------------------

void b_transport_hits(benchmark::State& state) { blocking_calls(state, Scene::get().initiator); }

void nb_transport_hits(benchmark::State& state) {
  Initiator& initiator = Scene::get().initiator;
  constexpr u64 kAccesses = 10'000;
  for (auto _ : state) {
    initiator.left = kAccesses;
    initiator.send();
    sc_core::sc_start();
  }
  if (!initiator.payload.is_response_ok()) state.SkipWithError("a fault");
  report(state, static_cast<u64>(state.iterations()) * kAccesses);
}

void debug_reads(benchmark::State& state) {  // each is a walk of 24 references
  Initiator& initiator = Scene::get().initiator;
  u64 n = 0;
  unsigned bytes = 0;
  for (auto _ : state) {
    initiator.payload.set_address(Initiator::address(n++));
    bytes += initiator.out->transport_dbg(initiator.payload);
  }
  if (bytes != n * 8) state.SkipWithError("a fault");
  report(state, n);
}

// A core that lives on the wheel: the kernel is entered once for all of it.
void hits_of_a_core_inside(benchmark::State& state) {
  Scene& scene = Scene::get();
  std::vector<models::Mmu::Request> accesses;
  for (u64 n = 0; n < 1 << 16; ++n) {
    accesses.push_back({Initiator::address(n), models::AccessKind::Read, true});
  }
  Player player(scene.platform.board(), 0, Player::Data::Skip);
  for (auto _ : state) {
    player.play(accesses, scene.platform.time.wheel().now() + 1);
    scene.platform.time.wake();
    sc_core::sc_start();
  }
  if (!player.finished()) state.SkipWithError("a fault");
  report(state, static_cast<u64>(state.iterations()) * accesses.size());
}

BENCHMARK(kernel_event);
BENCHMARK(wheel_event);
BENCHMARK(tlm_floor);
BENCHMARK(b_transport_hits);
BENCHMARK(nb_transport_hits);
BENCHMARK(debug_reads);
BENCHMARK(hits_of_a_core_inside);

}  // namespace
}  // namespace nestwalk::systemc
