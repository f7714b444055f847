// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One order of time for the models, the kernel and whoever is bound: however far the models run
// ahead, nothing changes.

#include <sys/wait.h>
#include <unistd.h>

#include "nestwalk/models/machine/player.hpp"
#include "platform_fixture.hpp"

namespace nestwalk::systemc::order_test {
namespace {

using models::AccessKind;
using models::Player;
using tlm::tlm_generic_payload;

constexpr u64 kPages = 300;
constexpr u64 kRequests = 1000;

u64 address(u64 n, u64 salt) {
  return GuestTables::kBase + (n * n * 7 + n * 13 + salt) % kPages * kFrameBytes + n % 64 * 64;
}

/// Cores 1 and 2 play by themselves.
class Players {
 public:
  explicit Players(models::Board& board) : accesses_(2) {
    for (u32 n = 0; n < 2; ++n) {
      for (u64 k = 0; k < 2000; ++k) {
        const AccessKind kind = k % 3 == 0 ? AccessKind::Write : AccessKind::Read;
        accesses_[n].push_back({address(k, n * 5), kind, true});
      }
      players_.push_back(std::make_unique<Player>(board, n + 1));
      players_[n]->play(accesses_[n], n * 17);
    }
  }
  std::vector<u64> finished() const {
    EXPECT_TRUE(players_[0]->finished() && players_[1]->finished());
    return {players_[0]->finished_at(), players_[1]->finished_at()};
  }

 private:
  std::vector<std::vector<models::Mmu::Request>> accesses_;
  std::vector<std::unique_ptr<Player>> players_;
};

/// Somebody who has nothing to do with it, but is busy.
struct Bystander : sc_core::sc_module {
  explicit Bystander(const sc_core::sc_module_name& name) : sc_module(name) {
    SC_METHOD(wake_up);
    sensitive << again_;
  }
  SC_HAS_PROCESS(Bystander);
  void wake_up() {
    if (++times_ < 100'000) again_.notify(ns(times_ % 5 == 0 ? 0 : 2.5));
  }
  unsigned times_ = 0;
  sc_core::sc_event again_;
};

/// The reacting initiator sends its next access when it has the response to the one before.
enum class Company { Nobody, Initiator, InitiatorAndBystander, ReactingInitiator };

class Scene : public PlatformTest {
 public:
  explicit Scene(Cycle lookahead) : PlatformTest(3, lookahead) {}

  /// Everything that can be seen of a run.
  std::vector<u64> run(Company company) {
    std::unique_ptr<Bystander> bystander;
    if (company == Company::InitiatorAndBystander) {
      bystander = std::make_unique<Bystander>("bystander");
    }
    begin(kPages);
    const Players players(platform.board());
    std::vector<u64> data(company == Company::Nobody ? 0 : kRequests);
    const auto send = [&](u64 n, const sc_core::sc_time& at) {
      tlm_generic_payload& payload = initiator.pool.take();
      fill(payload, n % 4 == 0 ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, address(n, 11),
           &data[n], 8);
      initiator.send_at(at, payload);
    };
    if (company == Company::ReactingInitiator) {
      send(0, ns(0));
      initiator.reaction = [&, sent = u64{1}]() mutable {
        if (sent < kRequests) send(sent++, sc_core::sc_time_stamp());
      };
    } else {
      for (u64 n = 0; n < data.size(); ++n) send(n, ns(static_cast<double>(n) * 37));
    }
    platform.time.wake();
    sc_core::sc_start();

    EXPECT_EQ(initiator.responses.size(), data.size());
    EXPECT_EQ(platform.core[0].data.late_cycles(), 0u);
    std::vector<u64> seen = players.finished();
    for (const standard::Initiator::Response& response : initiator.responses) {
      EXPECT_EQ(response.payload->get_response_status(), tlm::TLM_OK_RESPONSE);
      seen.push_back(response.at.value());
    }
    for (u32 n = 0; n < 3; ++n) {
      const models::Mmu::Counts& counts = platform.board().core(n).mmu->counts();
      seen.insert(seen.end(),
                  {counts.first_hits(), counts.second_hits(), counts.walks(), counts.references});
    }
    return seen;
  }

 private:
  void TestBody() override {}
};

// What a child process sees: one elaboration is all that a process can have.
template <class Run>
std::vector<u64> seen_by_a_child(Run&& run) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::vector<u64> seen = run();
    const auto bytes = static_cast<ssize_t>(seen.size() * sizeof(u64));
    _exit(!testing::Test::HasFailure() && write(ends[1], seen.data(), seen.size() * 8) == bytes
              ? 0
              : 1);
  }
  close(ends[1]);
  std::vector<u64> seen;
  for (u64 value = 0; read(ends[0], &value, sizeof value) == sizeof value;) seen.push_back(value);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  return seen;
}

std::vector<u64> seen_by_a_child(Company company, Cycle lookahead) {
  return seen_by_a_child([&] { return Scene(lookahead).run(company); });
}

void expect_the_same_however_far_ahead(Company company) {
  const std::vector<u64> unlimited = seen_by_a_child(company, models::kNever);
  ASSERT_EQ(unlimited.size(), 2 + kRequests + 3 * 4);
  EXPECT_GT(unlimited[0], 100'000u);
  EXPECT_EQ(seen_by_a_child(company, 0), unlimited);
  EXPECT_EQ(seen_by_a_child(company, 1), unlimited);
  EXPECT_EQ(seen_by_a_child(company, 1000), unlimited);
}

TEST(Order, IsTheSameHoweverFarTheModelsRunAhead) {
  expect_the_same_however_far_ahead(Company::Initiator);
}

TEST(Order, IsTheSameForWhoeverReactsToWhatTheyDo) {
  expect_the_same_however_far_ahead(Company::ReactingInitiator);
}

TEST(Order, IsTheSameWhoeverElseIsBusy) {
  EXPECT_EQ(seen_by_a_child(Company::InitiatorAndBystander, models::kNever),
            seen_by_a_child(Company::Initiator, models::kNever));
}

// In one cycle, an event of the models that begets another one, which empties a TLB; and an access
// that would hit there. The Timekeeper and the initiator are due in one delta cycle, and the kernel
// runs first whichever was notified first.
class SameCycle : public PlatformTest, public models::Actor {
 public:
  /// How long the access takes.
  std::vector<u64> run(bool initiator_is_first) {
    begin();
    u64 data = 0;
    const auto send = [&](const sc_core::sc_time& at) {
      tlm_generic_payload& payload = initiator.pool.take();
      fill(payload, tlm::TLM_READ_COMMAND, page(0), &data, 8);
      initiator.send_at(at, payload);
    };
    send(ns(0));
    sc_core::sc_start();  // from here on it is in TLB and cache
    if (initiator_is_first) send(ns(kAt));
    platform.time.wheel().schedule(kAt, *this, 0);
    platform.time.wake();
    if (!initiator_is_first) send(ns(kAt));
    sc_core::sc_start();
    return {(initiator.responses.at(1).at - ns(kAt)).value() / 1000};
  }

 private:
  static constexpr u32 kAt = 10'000;
  void TestBody() override {}
  void on_cycle(u32 event) override {
    if (event == 0) return platform.time.wheel().schedule(kAt, *this, 1);
    mmu().data_tlb().drop_if([](const auto&, const auto&) { return true; });
  }
};

TEST(Order, WhatComesFromOutsideIsLastInItsCycle) {
  for (const bool initiator_is_first : {false, true}) {
    const std::vector<u64> seen =
        seen_by_a_child([&] { return SameCycle().run(initiator_is_first); });
    ASSERT_EQ(seen.size(), 1u);
    // One cycle in the first TLB, nine in the second, and four in the L1.
    EXPECT_EQ(seen[0], 1u + 9 + 4);
  }
}

// Two initiators send in one delta cycle: the kernel runs first whichever was notified first.
class SameInstant : public PlatformTest {
 public:
  SameInstant() : PlatformTest(2), second("second") { second.out.bind(platform.core[1].data); }
  standard::Initiator second;

  /// When the responses come.
  std::vector<u64> run(bool second_is_first) {
    begin(2);
    std::vector<u64> data(2);
    tlm_generic_payload* payloads[2];
    for (u64 n = 0; n < 2; ++n) {
      standard::Initiator& from = n == 0 ? initiator : second;
      payloads[n] = &from.pool.take();
      fill(*payloads[n], tlm::TLM_READ_COMMAND, page(0, n * 64), &data[n], 8);
    }
    if (second_is_first) second.send_at(ns(10), *payloads[1]);
    initiator.send_at(ns(10), *payloads[0]);
    if (!second_is_first) second.send_at(ns(10), *payloads[1]);
    sc_core::sc_start();
    return {initiator.responses.at(0).at.value(), second.responses.at(0).at.value()};
  }

 private:
  void TestBody() override {}
};

TEST(Order, OfWhatComesInOneDeltaCycleIsThatOfTheSockets) {
  const auto run = [](bool second_is_first) {
    return seen_by_a_child([&] { return SameInstant().run(second_is_first); });
  };
  const std::vector<u64> seen = run(false);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_LT(seen[0], seen[1]);  // core 0's walk was first at the memory's bank
  EXPECT_EQ(run(true), seen);
}

TEST(Order, IsTheSameWithoutAKernel) {
  models::Machine machine(simple(3), addrspace::kGiB);
  GuestTables tables(machine, kPages);
  set_accessed_flags(machine.memory());
  for (u32 n = 0; n < 3; ++n) machine.core(n).mmu->set_regime(tables.regime);
  const Players players(machine);
  machine.wheel().run();
  const std::vector<u64> seen = seen_by_a_child(Company::Nobody, models::kNever);
  ASSERT_EQ(seen.size(), 2u + 3 * 4);
  EXPECT_EQ(std::vector(seen.begin(), seen.begin() + 2), players.finished());
  EXPECT_EQ(seen[2 + 4 + 2], machine.core(1).mmu->counts().walks());
}

}  // namespace
}  // namespace nestwalk::systemc::order_test
