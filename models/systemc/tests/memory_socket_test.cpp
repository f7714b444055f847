// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A memory outside of the models: it keeps the bytes, and its time counts.

#include "nestwalk/models/machine/player.hpp"
#include "platform_fixture.hpp"

namespace nestwalk::systemc::memory_socket_test {
namespace {

using models::AccessKind;
using Answers = standard::Memory::Answers;
using tlm::tlm_generic_payload;

constexpr u64 kMemoryBytes = u64{4} << 20;
constexpr double kLatency = 76;

// The walk of models/README.md reads memory eleven times: four entries of EPT and one of the guest
// for its level 3, one entry for each of its levels 2, 1 and 0, three of EPT for the data. Each is
// L2 10 + L3 40 + memory. The rest: 10 for both TLBs, 1 for the guest walk cache, 2 for nested TLB
// and walk cache five times, 10 for a line in L2 three times.
constexpr double kCold = 10 + 1 + 5 * 2 + 3 * 10 + 11 * (50 + kLatency);
static_assert(10 + 1 + 5 * 2 + 3 * 10 + 11 * 50 + (6 * 150 + 5 * 100) == 2001);  // as it is there
constexpr double kColdData = 4 + 10 + 40 + kLatency;

class MemoryOutside : public testing::TestWithParam<Answers> {
 protected:
  explicit MemoryOutside(const models::MachineShape& shape = simple(2))
      : initiator("initiator"),
        platform("platform", shape, addrspace::kGiB),
        memory("memory", u64{1} << 32, kMemoryBytes, ns(kLatency), GetParam()),
        elsewhere(simple(), addrspace::kGiB),
        tables(elsewhere, 2) {
    complain_by_throwing();
    initiator.out.bind(platform.core[0].data);
    platform.hierarchy.memory.bind(memory.in);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    // The guest of the other tests, made in another machine's memory.
    set_accessed_flags(elsewhere.memory());
    elsewhere.memory().read(elsewhere.memory().base(), memory.bytes.data(), memory.bytes.size());
    models::Regime regime = tables.regime.tagged(platform.board().tags());
    for (u32 n = 0; n < 2; ++n) platform.board().core(n).mmu->set_regime(regime);
  }
  tlm_generic_payload& read(u64 page, u64 offset, void* data) {
    tlm_generic_payload& payload = initiator.pool.take();
    fill(payload, tlm::TLM_READ_COMMAND, GuestTables::kBase + page * kFrameBytes + offset, data, 8);
    return payload;
  }

  standard::Initiator initiator;
  Platform platform;
  standard::Memory memory;
  models::Machine elsewhere;
  GuestTables tables;
};

TEST_P(MemoryOutside, ItsTimeCounts) {
  memory.bytes[7 * kFrameBytes] = 0x5a;  // guest page 0 is host frame 7
  u64 data = 0;
  initiator.send_at(ns(10), read(0, 0, &data));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 1u);
  EXPECT_EQ(initiator.responses[0].at, ns(10 + kCold + kColdData));
  EXPECT_EQ(data, 0x5au);
  EXPECT_EQ(memory.reads, 12u);
  EXPECT_EQ(memory.writes, 0u);
}

TEST_P(MemoryOutside, BlockingUsesBlocking) {
  u64 data = 0;
  tlm_generic_payload payload;
  fill(payload, tlm::TLM_READ_COMMAND, GuestTables::kBase, &data, 8);
  EXPECT_EQ(initiator.block(payload), ns(kCold + kColdData));
  EXPECT_EQ(memory.reads, 12u);
  EXPECT_EQ(sc_core::sc_time_stamp(), sc_core::SC_ZERO_TIME);
}

// Flags are set where the bytes are. Three tables without accessed flag: each in L2 by then, 10.
TEST_P(MemoryOutside, FlagsAreSetThere) {
  u64 word = 0;
  for (const u64 frame : {10u, 11u}) {
    std::memcpy(&word, &memory.bytes[frame * kFrameBytes], 8);
    ASSERT_NE(word & addrspace::LongMode::kAccessed, 0u);
    word &= ~addrspace::LongMode::kAccessed;
    std::memcpy(&memory.bytes[frame * kFrameBytes], &word, 8);
  }
  u64 data = 0;
  initiator.send_at(ns(0), read(0, 0, &data));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 1u);
  EXPECT_EQ(initiator.responses[0].at, ns(kCold + 2 * 10 + kColdData));
  for (const u64 frame : {10u, 11u}) {
    std::memcpy(&word, &memory.bytes[frame * kFrameBytes], 8);
    EXPECT_NE(word & addrspace::LongMode::kAccessed, 0u);
  }
}

// Two accesses to two lines of a page whose translation is known, at once: L1 4, L2 10, L3 40, and
// both are in memory at the same time, one behind the other as far as it accepts requests.
TEST_P(MemoryOutside, RequestsFollowEachOther) {
  u64 data[3] = {};
  initiator.send_at(ns(0), read(0, 0, &data[0]));
  initiator.send_at(ns(5000), read(0, 64, &data[1]));
  initiator.send_at(ns(5000), read(0, 128, &data[2]));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 3u);
  const double first = 5000 + 1 + 4 + 10 + 40 + kLatency;
  EXPECT_EQ(initiator.responses[1].at, ns(first));
  // The next request begins when the one before is accepted: at its end, half-way, or at once.
  const double wait = GetParam() == Answers::RequestThenResponse ? kLatency / 2 : kLatency;
  EXPECT_EQ(initiator.responses[2].at, ns(first + wait));
}

// Another core is busy with what its own caches have: 1 + 4 each time. It must not run past the
// memory's answer, and does not change when that is.
TEST_P(MemoryOutside, NobodyRunsPastItsAnswers) {
  models::Player player(platform.board(), 1);
  const std::vector<models::Mmu::Request> accesses(1001,
                                                   {GuestTables::kBase, AccessKind::Read, true});
  player.play(std::span(accesses).first(1), 0);
  platform.time.wake();
  u64 data[2] = {};
  initiator.send_at(ns(10'000), read(0, 0, &data[0]));
  sc_core::sc_start();
  player.play(std::span(accesses).subspan(1), 20'000);
  platform.time.wake();
  initiator.send_at(ns(20'002), read(0, 64, &data[1]));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 2u);
  EXPECT_EQ(initiator.responses[1].at, ns(20'002 + 1 + 4 + 10 + 40 + kLatency));
  EXPECT_EQ(player.finished_at(), 20'000u + 1000 * 5);
}

class MemoryOutsideOfSmallCaches : public MemoryOutside {
 protected:
  MemoryOutsideOfSmallCaches() : MemoryOutside(small()) {}
  static models::MachineShape small() {
    models::MachineShape shape = simple(2);
    shape.l1d = models::DataCacheShape{1, 2, 4, 8};
    shape.l2 = models::DataCacheShape{1, 4, 10, 8};
    shape.l3.reset();
    return shape;
  }
};

// Sixteen lines take turns in caches of two and four, so that each is written back all the time,
// while stores to others go on. Whatever order the memory gets them in, it has the last store of
// each word.
TEST_P(MemoryOutsideOfSmallCaches, WriteBacksDoNotUndoStores) {
  constexpr u64 kLines = 16, kWords = kLines * 8;
  std::vector<u64> data(20 * kWords);
  for (u64 n = 0; n < data.size(); ++n) {
    data[n] = n + 1;
    const u64 word = n * 5 % kLines * 8 + n / kLines % 8;
    tlm_generic_payload& payload = initiator.pool.take();
    fill(payload, tlm::TLM_WRITE_COMMAND, GuestTables::kBase + word * 8, &data[n], 8);
    initiator.send_at(ns(static_cast<double>(n) * 200), payload);
  }
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), data.size());
  EXPECT_GT(memory.writes, data.size() / 2);
  // The last 128 stores are to all of the words, once each.
  for (u64 n = data.size() - kWords; n < data.size(); ++n) {
    const u64 word = n * 5 % kLines * 8 + n / kLines % 8;
    u64 found = 0;
    std::memcpy(&found, &memory.bytes[7 * kFrameBytes + word * 8], 8);
    EXPECT_EQ(found, n + 1) << word;
  }
}

class MemoryOutsideOfFewMshrs : public MemoryOutside {
 protected:
  MemoryOutsideOfFewMshrs() : MemoryOutside(few()) {}
  static models::MachineShape few() {
    models::MachineShape shape = simple(2);
    shape.l1d->mshrs = 2;
    shape.l2->mshrs = shape.l3->mshrs = 1;
    return shape;
  }
};

// Eight lines, each asked for five times in a row and all at once: most accesses wait for an MSHR,
// and then hit, or wait for a line that is on its way.
TEST_P(MemoryOutsideOfFewMshrs, EveryAccessIsAnswered) {
  std::vector<u64> data(40);
  for (u64 n = 0; n < data.size(); ++n) initiator.send_at(ns(0), read(0, n / 5 * 64, &data[n]));
  sc_core::sc_start();
  EXPECT_EQ(initiator.responses.size(), data.size());
}

std::string name_of(const testing::TestParamInfo<Answers>& way) {
  static constexpr const char* kNames[] = {"Completed", "UpdatedToResponse", "RequestThenResponse",
                                           "ResponseOnly"};
  return kNames[static_cast<int>(way.param)];
}
INSTANTIATE_TEST_SUITE_P(AllAnswers, MemoryOutside,
                         testing::Values(Answers::Completed, Answers::UpdatedToResponse,
                                         Answers::RequestThenResponse, Answers::ResponseOnly),
                         name_of);
INSTANTIATE_TEST_SUITE_P(AllAnswers, MemoryOutsideOfSmallCaches,
                         testing::Values(Answers::Completed, Answers::UpdatedToResponse,
                                         Answers::RequestThenResponse, Answers::ResponseOnly),
                         name_of);
INSTANTIATE_TEST_SUITE_P(AllAnswers, MemoryOutsideOfFewMshrs,
                         testing::Values(Answers::Completed, Answers::UpdatedToResponse,
                                         Answers::RequestThenResponse, Answers::ResponseOnly),
                         name_of);

}  // namespace
}  // namespace nestwalk::systemc::memory_socket_test
