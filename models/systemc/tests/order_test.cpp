// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One order of time for the models, the kernel and whoever is bound: however far the models run
// ahead, nothing changes.

#include <sys/wait.h>
#include <unistd.h>

#include "nestwalk/models/machine/player.hpp"
#include "platform_fixture.hpp"

namespace nestwalk::systemc {
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
std::vector<u64> seen_by_a_child(Company company, Cycle lookahead) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::vector<u64> seen = Scene(lookahead).run(company);
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
}  // namespace nestwalk::systemc
