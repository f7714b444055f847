// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/generator.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "random_trace.hpp"

namespace nestwalk::traces::generator_test {
namespace {

using testing::HasSubstr;

std::vector<u8> bytes_of(std::string_view name, const std::vector<std::string>& settings = {}) {
  const Generator& generator = generator_of(name);
  Values values(generator.parameters);
  for (const std::string& setting : settings) values.set(setting);
  MemorySink sink;
  generate(generator, values, sink);
  return sink.bytes();
}

std::vector<Access> accesses_of(std::string_view name, const std::vector<std::string>& settings) {
  const std::vector<u8> bytes = bytes_of(name, settings);
  Reader reader(source_of(bytes));
  std::vector<Access> accesses;
  while (reader.next() == Reader::Item::Records) {
    accesses.insert(accesses.end(), reader.chunk().accesses.begin(), reader.chunk().accesses.end());
  }
  return accesses;
}

TEST(Random, IsXoshiroSeededBySplitMix) {
  // The second output of SplitMix64 from 0, as published, is the second word of the state, from
  // which xoshiro256** computes its first number.
  const u64 s1 = 0x6e789e6aa1b965f4;
  EXPECT_EQ(Random(0).next(), std::rotl(s1 * 5, 7) * 9);
}

TEST(Random, NumbersBelowALimitAreBelowItAndReachIt) {
  Random random(1);
  std::set<u64> seen;
  for (int n = 0; n < 1000; ++n) seen.insert(random.below(5));
  EXPECT_EQ(seen, (std::set<u64>{0, 1, 2, 3, 4}));
  EXPECT_EQ(random.below(1), 0U);
}

// What each vCPU accesses, and what the hypervisor does, in turns of the vCPUs.
struct StormParts {
  explicit StormParts(u32 vcpus) : accesses(vcpus) {
    const Contents all = read_all(
        bytes_of("storm", {"accesses=400", "period=10", "vcpus=" + std::to_string(vcpus)}));
    std::vector<std::vector<HypervisorOperation>> turns(vcpus);
    for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) {
      for (const Record& record : all.streams[vcpu]) {
        if (const auto* const access = std::get_if<Access>(&record)) {
          accesses[vcpu].push_back(*access);
        } else {
          const EventDetail& detail = std::get<Event>(record).detail;
          if (std::holds_alternative<TimeSync>(detail)) continue;  // the order of the turns
          turns[vcpu].push_back(std::get<HypervisorOperation>(detail));
        }
      }
    }
    for (u32 n = 0; n < 40; ++n) operations.push_back(turns[n % vcpus].at(n / vcpus));
  }
  std::vector<std::vector<Access>> accesses;
  std::vector<HypervisorOperation> operations;
};
// 400 accesses of each, 40 operations in all, in turns.
TEST(Storm, IsTheSameForAnyNumberOfVcpus) {
  const StormParts one(1);
  EXPECT_EQ(one.accesses[0].size(), 400U);
  for (const u32 vcpus : {2U, 5U}) {
    const StormParts storm(vcpus);
    EXPECT_EQ(storm.accesses[0], one.accesses[0]) << vcpus;
    EXPECT_NE(storm.accesses[1], one.accesses[0]) << vcpus;
    EXPECT_EQ(storm.operations, one.operations) << vcpus;
  }
}

class EveryGenerator : public testing::TestWithParam<std::string_view> {
 protected:
  std::vector<std::string> small() const {
    std::vector<std::string> settings;
    for (const Parameter& row : generator_of(GetParam()).parameters) {
      if (row.name == "accesses" || row.name == "updates")
        settings.push_back(std::string(row.name) + "=3000");
      if (row.name == "period") settings.emplace_back("period=100");
      if (row.name == "bytes") settings.emplace_back("bytes=1M");
    }
    return settings;
  }
};

TEST_P(EveryGenerator, MakesTheSameBytesFromTheSameParameters) {
  EXPECT_EQ(bytes_of(GetParam(), small()), bytes_of(GetParam(), small()));
}

TEST_P(EveryGenerator, MakesAWholeTraceWithoutGaps) {
  const Contents contents = read_all(bytes_of(GetParam(), small()));
  EXPECT_EQ(contents.error, "");
  EXPECT_GT(contents.records(), 200U);
}

TEST_P(EveryGenerator, SaysWhatItsTraceLacks) {
  const std::vector<u8> bytes = bytes_of(GetParam(), small());
  Reader reader(source_of(bytes));
  bool gpa = false;
  bool space = false;
  bool fence = false;
  bool operation = false;
  while (reader.next() == Reader::Item::Records) {
    for (const Access& access : reader.chunk().accesses) gpa |= access.has(kGpaKnown);
    const Event* event = reader.chunk().event;
    if (event == nullptr) continue;
    space |= std::holds_alternative<SpaceSwitch>(event->detail);
    fence |= std::holds_alternative<GuestFence>(event->detail);
    operation |= std::holds_alternative<HypervisorOperation>(event->detail);
  }
  const u64 lacks = reader.header().lacks;
  EXPECT_EQ(gpa, (lacks & kNoGpa) == 0);
  EXPECT_EQ(space, (lacks & kNoSpaces) == 0);
  EXPECT_EQ(fence, (lacks & kNoFences) == 0);
  EXPECT_EQ(operation, (lacks & kNoHypervisor) == 0);
}

TEST_P(EveryGenerator, HasDefaultsWithinItsRanges) {
  for (const Parameter& row : generator_of(GetParam()).parameters) {
    EXPECT_GE(row.value, row.least) << row.name;
    EXPECT_LE(row.value, row.most) << row.name;
  }
}

TEST_P(EveryGenerator, TakesLittleMemoryForTheMostThatCanBeAskedFor) {
  std::vector<std::string> settings;
  for (const Parameter& row : generator_of(GetParam()).parameters) {
    const bool count = row.name == "accesses" || row.name == "updates" || row.name == "phases";
    settings.push_back(std::string(row.name) + "=" + std::to_string(count ? 2 : row.most));
  }
  // A generator with a table of more than 64 MiB for that would make this a matter of minutes.
  EXPECT_EQ(read_all(bytes_of(GetParam(), settings)).error, "");
}

TEST_P(EveryGenerator, KnowsHowManyAccessesItWillMake) {
  const Generator& generator = generator_of(GetParam());
  Values values(generator.parameters);
  for (const std::string& setting : small()) values.set(setting);
  MemorySink sink;
  u64 last_done = 0;
  u64 last_total = 0;
  generate(generator, values, sink, {.block_records = 1000}, [&](u64 done, u64 total, u64 records) {
    EXPECT_GE(done, last_done);
    EXPECT_EQ(done, records);
    last_done = done;
    last_total = total;
  });
  EXPECT_EQ(last_done, accesses_of(GetParam(), small()).size());
  EXPECT_EQ(last_total, last_done);
}

std::vector<std::string_view> names() {
  std::vector<std::string_view> all;
  for (const Generator& generator : generators()) all.push_back(generator.name);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Generators, EveryGenerator, testing::ValuesIn(names()),
                         [](const auto& test) {
                           std::string name(test.param);
                           std::erase(name, '-');
                           return name;
                         });

TEST(Generators, AnotherSeedMakesAnotherTrace) {
  EXPECT_NE(accesses_of("random", {"accesses=100"}),
            accesses_of("random", {"accesses=100", "seed=2"}));
}

TEST(Generators, UnknownNamesAreErrorsWithASuggestion) {
  EXPECT_THAT([] { generator_of("chas"); },
              testing::ThrowsMessage<RecordError>(HasSubstr("did you mean 'chase'?")));
  EXPECT_THAT([] { bytes_of("random", {"byte=1M"}); },
              testing::ThrowsMessage<RecordError>(HasSubstr("did you mean 'bytes'?")));
}

TEST(Generators, ValuesAreNumbersWithinTheirRange) {
  EXPECT_THROW(bytes_of("random", {"bytes"}), RecordError);
  EXPECT_THROW(bytes_of("random", {"bytes=x"}), RecordError);
  EXPECT_THROW(bytes_of("random", {"bytes=4X"}), RecordError);
  EXPECT_THROW(bytes_of("random", {"bytes=99999999999T"}), RecordError);
  EXPECT_THAT([] { bytes_of("random", {"write_percent=101"}); },
              testing::ThrowsMessage<RecordError>("write_percent is from 0 to 100, not 101"));
}

TEST(Generators, StridedStartsAnewAtTheEnd) {
  const auto accesses = accesses_of("strided", {"accesses=10", "bytes=16K", "stride=4K"});
  for (u64 n = 0; n < 10; ++n) {
    EXPECT_EQ(accesses[n].gva.offset_in(u64{1} << 30), n % 4 * 4096);
  }
}

TEST(Generators, ChaseVisitsEachNodeOncePerLapAndDepends) {
  const auto accesses = accesses_of("chase", {"accesses=2048", "bytes=64K"});  // 1024 nodes of 64
  std::set<u64> lap;
  for (u64 n = 0; n < 1024; ++n) lap.insert(accesses[n].gva.value());
  EXPECT_EQ(lap.size(), 1024U);
  EXPECT_EQ(*lap.rbegin() - *lap.begin(), 1023U * 64);
  for (u64 n = 0; n < 2048; ++n) EXPECT_EQ(accesses[n].has(kDependent), n != 0);
  EXPECT_EQ(accesses[1024].gva, accesses[0].gva);
}

TEST(Generators, ZipfFavoursFewPagesByTheLawOfItsSkew) {
  const auto accesses = accesses_of("zipf", {"accesses=100000", "bytes=64K", "skew=4"});
  std::map<u64, u64> count;
  for (const Access& access : accesses) ++count[access.gva.value() / kPageBytes];
  std::vector<u64> sorted;
  for (const auto& [page, times] : count) sorted.push_back(times);
  std::sort(sorted.rbegin(), sorted.rend());
  ASSERT_EQ(sorted.size(), 16U);
  // 1 / (1 + 1/2 + ... + 1/16) = 0.2958 for the first, half of it for the second.
  EXPECT_NEAR(static_cast<double>(sorted[0]), 29580, 1000);
  EXPECT_NEAR(static_cast<double>(sorted[1]), 14790, 1000);
}

TEST(Generators, FirstTouchTouchesEachPageOnce) {
  for (const char* shuffled : {"shuffled=0", "shuffled=1"}) {
    const auto accesses = accesses_of("first-touch", {"bytes=4M", shuffled});
    std::set<u64> pages;
    for (const Access& access : accesses) pages.insert(access.gva.value() / kPageBytes);
    EXPECT_EQ(accesses.size(), 1024U);
    EXPECT_EQ(pages.size(), 1024U);
  }
}

// 1500 pages are no power of two: the order is made of the 2048 places of the next one.
TEST(Generators, FirstTouchInRandomOrderTouchesAllThatWasAskedFor) {
  const auto accesses = accesses_of("first-touch", {"bytes=6000K", "shuffled=1"});
  std::set<u64> pages;
  for (const Access& access : accesses) pages.insert(access.gva.value() / kPageBytes);
  EXPECT_EQ(accesses.size(), 1500U);
  EXPECT_EQ(pages.size(), 1500U);
  EXPECT_EQ(*pages.rbegin() - *pages.begin(), 1499U);
}

TEST(Generators, NumbersMayHaveAPowerOfTen) {
  EXPECT_EQ(accesses_of("random", {"accesses=2e3"}).size(), 2000U);
  EXPECT_EQ(accesses_of("random", {"accesses=15E1"}).size(), 150U);
  for (const char* const wrong : {"accesses=1e", "accesses=1e2K", "accesses=e3", "accesses=1e99",
                                  "accesses=1.5e3", "accesses=1e-1"}) {
    EXPECT_THROW(accesses_of("random", {wrong}), RecordError) << wrong;
  }
}

TEST(Generators, ForkSharesAFrameUntilOneOfBothWrites) {
  const std::vector<u8> bytes = bytes_of("fork", {"accesses=20000", "bytes=256K", "slice=100"});
  Reader reader(source_of(bytes));
  std::map<u64, u64> frames[2];  // by page, of ASID 1 and 2
  std::set<u64> written[2];
  while (reader.next() == Reader::Item::Records) {
    if (reader.chunk().accesses.empty()) continue;
    const u64 process = reader.chunk().asid - 1;
    for (const Access& access : reader.chunk().accesses) {
      const u64 page = access.gva.value() / kPageBytes;
      frames[process][page] = access.gpa.value() / kPageBytes;
      if (access.kind == AccessKind::Write) written[process].insert(page);
      const bool untouched = !written[0].contains(page) && !written[1].contains(page);
      if (untouched && frames[1 - process].contains(page)) {
        EXPECT_EQ(frames[0][page], frames[1][page]);
      }
    }
  }
  for (const auto& [page, frame] : frames[0]) {
    if (written[0].contains(page) && written[1].contains(page)) {
      EXPECT_NE(frame, frames[1][page]);
    }
  }
}

}  // namespace
}  // namespace nestwalk::traces::generator_test
