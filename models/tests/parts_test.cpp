// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The parts: cached translations against a list, replacement policies, the wheel, host memory,
// presets.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <list>
#include <map>
#include <random>

#include "fence_names.hpp"
#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/memory/host_memory.hpp"
#include "nestwalk/models/time/wheel.hpp"
#include "nestwalk/models/translation/foresight.hpp"
#include "nestwalk/models/translation/regime.hpp"
#include "nestwalk/models/translation/translation_cache.hpp"

namespace nestwalk::models::parts_test {
namespace {

// One set of one array as a list, the last used in front.
class NaiveCache {
 public:
  NaiveCache(u32 sets, u32 ways, u8 shift) : sets_(sets), ways_(ways), shift_(shift) {}
  u64* find(u64 address, u16 tag) {
    std::list<Entry>& set = set_of(address);
    for (auto entry = set.begin(); entry != set.end(); ++entry) {
      if (entry->page != address >> shift_ || entry->tag != tag) continue;
      set.splice(set.begin(), set, entry);
      return &set.front().payload;
    }
    return nullptr;
  }
  void fill(u64 address, u16 tag, u64 payload) {
    if (u64* known = find(address, tag)) {
      *known = payload;
      return;
    }
    std::list<Entry>& set = set_of(address);
    set.push_front({address >> shift_, tag, payload});
    if (set.size() > ways_) set.pop_back();
  }
  template <class Drop>
  u32 drop_if(Drop drop) {
    u32 dropped = 0;
    for (auto& [index, set] : all_) {
      dropped += static_cast<u32>(
          set.remove_if([&](const Entry& entry) { return drop(entry.page << shift_, entry.tag); }));
    }
    return dropped;
  }

 private:
  struct Entry {
    u64 page;
    u16 tag;
    u64 payload;
  };
  std::list<Entry>& set_of(u64 address) { return all_[(address >> shift_) % sets_]; }
  u32 sets_, ways_;
  u8 shift_;
  std::map<u64, std::list<Entry>> all_;
};

void compare_with_list(u32 sets, u32 ways, u8 shift) {
  TranslationCache<u64> cache({{{sets, ways, {shift}}}, 1});
  NaiveCache naive(sets, ways, shift);
  std::mt19937_64 random(sets * 1000 + ways);
  for (u32 n = 0; n < 300'000; ++n) {
    const u64 address = (random() % (u64{3} * sets * ways)) << shift | (random() & 0xfff);
    const u16 tag = static_cast<u16>(random() % 3);
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: {
        cache.fill(address, shift, tag, n);
        naive.fill(address, tag, n);
        break;
      }
      case 3: {
        if (random() % 50 != 0) break;
        const u64 bit = u64{1} << (shift + random() % 4);
        const u32 found = cache.drop_if([&](const EntryKey& where, u64) {
          return where.tag == tag && (where.address & bit) != 0;
        });
        const u32 expected =
            naive.drop_if([&](u64 at, u16 of) { return of == tag && (at & bit) != 0; });
        ASSERT_EQ(found, expected);
        break;
      }
      default: {
        const u64* const found = cache.find(address, tag);
        const u64* const expected = naive.find(address, tag);
        ASSERT_EQ(found == nullptr, expected == nullptr);
        if (found != nullptr) {
          ASSERT_EQ(*found, *expected);
        }
      }
    }
  }
}
TEST(TranslationCache, BehavesAsListsOfEntriesDo) {
  compare_with_list(1, 1, 12);
  compare_with_list(1, 17, 12);
  compare_with_list(1, 64, 12);
  compare_with_list(2, 300, 12);
  compare_with_list(16, 4, 12);
  compare_with_list(8, 5, 21);
  compare_with_list(128, 12, 12);
}
TEST(TranslationCache, HoldsALeafInTheLargestSizeThatFits) {
  TranslationCache<u64> cache({{{4, 4, {12, 21}}}, 1});
  EXPECT_EQ(cache.held_shift(30), 21);
  cache.fill(0x4030'0000, 30, 1, 7);
  EXPECT_NE(cache.find(0x403f'f000, 1), nullptr);
  EXPECT_EQ(cache.find(0x4040'0000, 1), nullptr);
  TranslationCache<u64> large_only({{{4, 4, {21, 30}}}, 1});
  EXPECT_EQ(large_only.fill(0x1000, 12, 1, 7), nullptr);
}
TEST(TranslationCache, SizesOfOneAddressDoNotMeet) {
  TranslationCache<u64> cache({{{1, 8, {12, 21}}}, 1});
  cache.fill(0x20'0000, 12, 1, 12);
  cache.fill(0x20'0000, 21, 1, 21);
  EXPECT_EQ(*cache.find(0x20'0000, 1), 12u);
  EXPECT_EQ(*cache.find(0x20'1000, 1), 21u);
}
TEST(TranslationCache, ASizeMayLoseItsLastEntryToAnother) {
  TranslationCache<u64> cache({{{1, 2, {12, 21}}}, 1});
  cache.fill(0x1000, 12, 1, 12);
  cache.fill(0x20'0000, 21, 1, 21);
  cache.fill(0x40'0000, 21, 1, 22);  // in the place of the first
  EXPECT_EQ(cache.find(0x1000, 1), nullptr);
  EXPECT_EQ(*cache.find(0x20'0000, 1), 21u);
  EXPECT_EQ(cache.drop_if([](const EntryKey& where, u64) { return where.address == 0x20'0000; }),
            1u);
  EXPECT_EQ(*cache.find(0x40'0000, 1), 22u);
  cache.fill(0x1000, 12, 1, 13);
  EXPECT_EQ(*cache.find(0x1000, 1), 13u);
  EXPECT_EQ(*cache.find(0x40'0000, 1), 22u);
}

TEST(TranslationCache, TakesNoTimeWithoutArrays) {
  EXPECT_EQ(TranslationCache<u64>(CacheShape{{}, 6}).latency_cycles(), 0u);
  EXPECT_EQ(TranslationCache<u64>(CacheShape{{{1, 2, {12}}}, 6}).latency_cycles(), 6u);
}

TEST(Replacement, TreePlruPointsAwayFromWhatWasUsed) {
  // Four ways: after 0, 1, 2, 3 the root points left and the left half to way 0.
  const auto plru = ReplacementKind::TreePlru.make(4, 0);
  std::vector<u64> turns(plru->words());
  for (u32 way : {0u, 1u, 2u, 3u}) plru->touch(turns.data(), way);
  EXPECT_EQ(plru->take_turn(turns.data()), 0u);
  // That was a use: root right, left half to 1; the right half points to 2.
  EXPECT_EQ(plru->take_turn(turns.data()), 2u);
}
TEST(Replacement, TreePlruNeverChoosesAWayThatIsNotThere) {
  const auto plru = ReplacementKind::TreePlru.make(5, 0);
  std::vector<u64> turns(plru->words());
  std::mt19937 random(1);
  for (u32 n = 0; n < 1000; ++n) {
    plru->touch(turns.data(), static_cast<u32>(random() % 5));
    EXPECT_LT(plru->take_turn(turns.data()), 5u);
  }
}
TEST(Replacement, RandomIsTheSameForTheSameSeed) {
  const auto one = ReplacementKind::Random.make(8, 42);
  const auto same = ReplacementKind::Random.make(8, 42);
  const auto other = ReplacementKind::Random.make(8, 43);
  u32 different = 0;
  u64 turns = 0;
  for (u32 n = 0; n < 100; ++n) {
    const u32 victim = one->take_turn(&turns);
    EXPECT_EQ(victim, same->take_turn(&turns));
    different += victim != other->take_turn(&turns) ? 1 : 0;
  }
  EXPECT_GT(different, 50u);
}

struct Log : Actor {
  void on_cycle(u32 what) override { seen.push_back(what); }
  std::vector<u32> seen;
};
TEST(Wheel, RunsACyclesEventsInTheOrderOfScheduling) {
  Wheel wheel;
  Log log;
  wheel.schedule(5000, log, 1);  // far, at first
  wheel.schedule(4500, log, 0);
  wheel.run_until(4500);
  wheel.schedule(5000, log, 2);  // near
  wheel.schedule(4999, log, 9);
  wheel.run();
  EXPECT_THAT(log.seen, testing::ElementsAre(0, 9, 1, 2));
}
TEST(Wheel, AdvancesOnlyThroughEmptyTime) {
  Wheel wheel;
  Log log;
  wheel.schedule(10, log, 1);
  EXPECT_TRUE(wheel.advance(9));
  EXPECT_FALSE(wheel.advance(10));
  EXPECT_EQ(wheel.now(), 9u);
}
TEST(Wheel, KeepsTheOrderOfFarEventsThatAnAdvanceBringsNear) {
  Wheel wheel;
  Log log;
  wheel.schedule(5000, log, 1);  // far
  EXPECT_TRUE(wheel.advance(5000 - Wheel::kSlots));
  EXPECT_TRUE(wheel.advance(5000 - Wheel::kSlots + 1));
  wheel.schedule(5000, log, 2);
  EXPECT_TRUE(wheel.advance(4999));
  EXPECT_FALSE(wheel.advance(5000));
  wheel.run();
  EXPECT_THAT(log.seen, testing::ElementsAre(1, 2));
}
TEST(Wheel, NobodyAdvancesBeyondAStop) {
  struct Stops : Actor {
    void on_cycle(u32) override {
      wheel.stop_after(10);
      to_the_stop = wheel.advance(10);
      beyond = wheel.advance(11);
    }
    Wheel wheel;
    bool to_the_stop = false;
    bool beyond = true;
  };
  Stops stops;
  stops.wheel.schedule(5, stops, 0);
  stops.wheel.run();
  EXPECT_TRUE(stops.to_the_stop);
  EXPECT_FALSE(stops.beyond);
}
TEST(Wheel, AgreesWithAStableSort) {
  Wheel wheel;
  Log log;
  std::mt19937_64 random(3);
  std::vector<std::pair<Cycle, u32>> all;
  for (u32 n = 0; n < 20'000; ++n) {
    if (n % 10 == 0) wheel.run_until(wheel.now() + random() % 700);
    const Cycle at = wheel.now() + random() % (n % 3 == 0 ? 5000 : 300);
    wheel.schedule(at, log, n);
    all.emplace_back(at, n);
  }
  wheel.run();
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  ASSERT_EQ(log.seen.size(), all.size());
  for (std::size_t n = 0; n < all.size(); ++n) ASSERT_EQ(log.seen[n], all[n].second) << n;
}

TEST(HostMemory, AnUntouchedFrameCostsNothingAndReadsAsZero) {
  HostMemory memory(64 * addrspace::kGiB);
  const Hpa run = *memory.allocate(18);
  EXPECT_EQ(memory.load(run + addrspace::kMiB), 0u);
  memory.zero(run, addrspace::kGiB);
  EXPECT_EQ(memory.frames_touched(), 0u);
  memory.store(run + 8, 7);
  EXPECT_EQ(memory.frames_touched(), 1u);
  memory.zero(run, kFrameBytes);
  EXPECT_EQ(memory.load(run + 8), 0u);
  EXPECT_EQ(memory.frames_touched(), 0u);
}
TEST(HostMemory, RunsComeBackInParts) {
  HostMemory memory(addrspace::kGiB);
  const Hpa run = *memory.allocate(9);
  for (u64 n = 0; n < 512; ++n) memory.free(run + n * kFrameBytes, 0);
  EXPECT_EQ(memory.frames().frames_in_use(), 0u);
  EXPECT_EQ(*memory.allocate(18), memory.base());
  EXPECT_EQ(memory.allocate(0).error(), Error::NoMemory);
}

// 5000 runs of 1 GiB, which are 2^18 frames each.
TEST(HostMemory, SingleFramesAreFoundAboveFourTebibytes) {
  FrameAllocator frames(u64{1} << 33);
  for (u64 n = 0; n < 5000; ++n) ASSERT_EQ(*frames.allocate(18), n << 18);
  constexpr u64 kNext = u64{5000} << 18;
  EXPECT_EQ(*frames.allocate(0), kNext);
  EXPECT_EQ(*frames.allocate(0), kNext + 1);
  frames.free(kNext, 0);
  EXPECT_EQ(*frames.allocate(0), kNext);
  EXPECT_EQ(*frames.allocate(0), kNext + 2);
}

// Intel SDM vol. 3C, "Information That May Be Cached": guest-physical mappings are tagged with
// EP4TA alone, combined ones with VPID, PCID and EP4TA. Arm and RISC-V have the VMID in both.
template <class G, class N>
std::pair<Regime, Regime> two_vmids_on_one_root(Tags& tags, const EntryFormatOf<G>& guest,
                                                const EntryFormatOf<N>& nested) {
  Regime one;
  one.guest.format = &guest;
  one.nested.format = &nested;
  one.nested.root = 0x5000;
  one.vmid = 1;
  Regime other = one;
  other.vmid = 2;
  return {one.tagged(tags), other.tagged(tags)};
}
// 4-level tables: each table of smallest pages serves 2 MiB, with 8 bytes for 4 KiB.
TEST(LeafTables, KnowTheEntryOfEveryAddressWhoseTableWasLearnt) {
  const Geometry shape = *addrspace::LongMode::geometry(4);
  LeafTables tables;
  EXPECT_EQ(tables.slot(0x40'0000, shape), 0u);
  tables.learn(0x40'1000, shape, 0x9000);
  EXPECT_EQ(tables.slot(0x40'0fff, shape), 0x9000u);
  EXPECT_EQ(tables.slot(0x5f'f000, shape), 0x9000u + 511 * 8);
  EXPECT_EQ(tables.slot(0x60'0000, shape), 0u);
  // 8 GiB further is what has the same place.
  tables.learn(0x2'0040'0000, shape, 0x7000);
  EXPECT_EQ(tables.slot(0x2'0040'3000, shape), 0x7018u);
  EXPECT_EQ(tables.slot(0x40'1000, shape), 0u);
}

TEST(Tags, GuestPhysicalMappingsOfX86HaveNoVpid) {
  Tags tags;
  const EntryFormatOf<addrspace::LongMode> guest{addrspace::Capabilities{}};
  const EntryFormatOf<addrspace::Ept> nested{addrspace::Capabilities{}};
  const auto [one, other] = two_vmids_on_one_root(tags, guest, nested);
  EXPECT_EQ(one.nested_only, other.nested_only);
  EXPECT_NE(one.combined, other.combined);
  EXPECT_NE(one.combined, one.global);
}
TEST(Tags, SecondStageMappingsOfRiscvHaveTheVmid) {
  Tags tags;
  const EntryFormatOf<addrspace::Sv> guest{addrspace::Capabilities{}};
  const EntryFormatOf<addrspace::GStage> nested{addrspace::Capabilities{}};
  const auto [one, other] = two_vmids_on_one_root(tags, guest, nested);
  EXPECT_NE(one.nested_only, other.nested_only);
  EXPECT_EQ(tags.tag(one.nested_only).root, 0u);
}

TEST(Presets, AllOfThemLoad) {
  for (const char* name : {"simple", "skylake-sp", "ice-lake-sp", "sapphire-rapids", "zen3", "zen4",
                           "cortex-a53", "cortex-a72", "cortex-a76", "rocket-h", "kunminghu"}) {
    const Preset preset = load_preset(std::string(NESTWALK_PRESETS "/") + name + ".json");
    EXPECT_EQ(preset.shape.name, name);
    EXPECT_GT(preset.sources.size(), 50u);
  }
}
std::string complaint(const Json& machine) {
  try {
    parse_preset(machine, "mine.json");
  } catch (const PresetError& error) {
    return error.what();
  }
  return "";
}
std::string complaint(const std::string& text) { return complaint(Json::parse(text)); }
class LikeAnother : public testing::Test {
 protected:
  LikeAnother() { std::filesystem::create_directories(folder_); }
  ~LikeAnother() override { std::filesystem::remove_all(folder_); }
  std::string put(const std::string& name, const std::string& text) {
    const std::string file = folder_ + "/" + name + ".json";
    std::ofstream(file) << text;
    return file;
  }
  std::string error_of(const std::string& file) {
    try {
      (void)load_preset(file);
    } catch (const PresetError& error) {
      const std::string what = error.what();
      return what.substr(what.rfind('/', what.find(": ")) + 1);
    }
    return "none";
  }
  std::string folder_ = testing::TempDir() + "like-" + std::to_string(::getpid());
};

// The first names a value and a structure, the second takes a structure away: all else is that of
// simple, and where each value comes from as well.
TEST_F(LikeAnother, SaysOnlyWhatDiffers) {
  const Preset simple = load_preset(NESTWALK_PRESETS "/simple.json");
  std::filesystem::copy_file(NESTWALK_PRESETS "/simple.json", folder_ + "/simple.json");
  put("first", R"({"name": "first", "like": "simple", "cores": [7, "manual p. 3"],
                   "walker": {"slots": [3, "measured"]}})");
  const Preset second =
      load_preset(put("second", R"({"name": "second", "like": "first", "tlb": {"second": null}})"));
  EXPECT_EQ(second.shape.name, "second");
  EXPECT_EQ(second.shape.about, simple.shape.about);
  EXPECT_EQ(second.shape.cores, 7u);
  EXPECT_EQ(second.shape.mmu.walker.slots, 3u);
  EXPECT_TRUE(simple.shape.mmu.second_tlb.present());
  EXPECT_FALSE(second.shape.mmu.second_tlb.present());
  EXPECT_EQ(second.shape.memory.row_bytes, simple.shape.memory.row_bytes);
  const auto source = [](const Preset& preset, const std::string& path) {
    const auto row = std::find_if(preset.sources.begin(), preset.sources.end(),
                                  [&](const PresetSource& each) { return each.path == path; });
    return row == preset.sources.end() ? "none" : row->source;
  };
  EXPECT_EQ(source(second, "cores"), "manual p. 3");
  EXPECT_EQ(source(second, "memory.banks"), source(simple, "memory.banks"));
}

TEST_F(LikeAnother, ErrorsNameTheFileThatHasThem) {
  EXPECT_EQ(error_of(put("a", R"({"like": 7})")), "a.json: like is 7, not the name of a preset");
  EXPECT_EQ(error_of(put("a", R"({"like": "../a"})")),
            "a.json: like is \"../a\", not the name of a preset");
  EXPECT_EQ(error_of(put("a", R"({"like": "b"})")),
            "a.json: like is \"b\", but there is no preset of that name");
  put("b", R"({"like": "a"})");
  EXPECT_THAT(error_of(folder_ + "/a.json"),
              testing::AllOf(testing::StartsWith("b.json: like is \"a\", but "),
                             testing::EndsWith("a.json is like this preset itself")));
  EXPECT_THAT(error_of(put("c", R"({"like": "c"})")),
              testing::EndsWith("c.json is like this preset itself"));
  for (unsigned n = 0; n < 9; ++n) {
    const std::string next = R"({"like": "p)" + std::to_string(n + 1) + "\"}";
    put("p" + std::to_string(n), n == 8 ? "{}" : next.c_str());
  }
  EXPECT_THAT(error_of(folder_ + "/p0.json"),
              testing::EndsWith("expected at most 8 presets of which each is like the next one, "
                                "found more"));
  put("b", "[]");
  EXPECT_EQ(error_of(folder_ + "/a.json"), "b.json: is not an object");
  put("b", "{");
  EXPECT_THAT(error_of(folder_ + "/a.json"), testing::StartsWith("b.json: [json.exception"));
}

// An instruction set may have several; a preset that names none has the first.
TEST(Presets, NameAnExtensionOfTheirArchitecture) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  EXPECT_EQ(parse_preset(machine, "mine.json").shape.extension, &kVmx);
  machine["extension"] = {"vmx", "guess"};
  EXPECT_EQ(parse_preset(machine, "mine.json").shape.extension, &kVmx);
  machine["extension"] = {"svm", "guess"};
  EXPECT_EQ(parse_preset(machine, "mine.json").shape.extension, &kSvm);
  machine["extension"] = {"hext", "guess"};
  EXPECT_EQ(complaint(machine), "mine.json: extension is \"hext\", not one of vmx, svm");
}

TEST(Presets, HaveFenceInstructionsOfTheirExtension) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  machine["extension"] = {"svm", "guess"};
  machine["fence"]["batches"] = {"invlpgb", "guess"};
  EXPECT_EQ(parse_preset(machine, "mine.json").shape.fence.batches,
            &addrspace::svm::kInvlpgbTlbsync);
  machine["extension"] = {"vmx", "guess"};
  EXPECT_EQ(complaint(machine),
            "mine.json: fence.batches is invlpgb, which vmx has not; expected none");
  machine["extension"] = {"svm", "guess"};
  machine["fence"]["batches"] = {"svinval", "guess"};
  EXPECT_EQ(complaint(machine),
            "mine.json: fence.batches is svinval, which svm has not; expected none or invlpgb");
}

TEST(Presets, ErrorsNameThePlaceAndHelp) {
  const std::string head =
      R"({"name": "a", "about": "b", "architecture": ["x86-64", "guess"], "cores": [1, "guess"],)"
      R"( "clock_mhz": [1000, "guess"], "core": )" +
      Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"))["core"].dump() +
      R"(,)"
      R"( "tlb": {"data": {"latency_cycles": [1, "guess"], "arrays": [{"sets": )";
  EXPECT_EQ(complaint(head + R"([3, "guess"], "ways": [4, "guess"]}]}}})"),
            "mine.json: tlb.data.arrays[0].sets is 3, not a power of two");
  EXPECT_EQ(complaint(head + R"([4, "guess"], "wayz": [4, "guess"]}]}}})"),
            "mine.json: tlb.data.arrays[0].ways is missing; there is \"wayz\"");
  EXPECT_EQ(complaint(head + R"([4, "guess"], "ways": [0, "guess"]}]}}})"),
            "mine.json: tlb.data.arrays[0].ways is 0, not a number from 1 to 4096");
  EXPECT_EQ(complaint(head + R"([4, "rumour"]}]}}})"),
            "mine.json: tlb.data.arrays[0].sets has the source \"rumour\", which begins with none "
            "of cpuid, manual, measured, paper, guess");
  EXPECT_EQ(complaint(head + R"([4, "guess"], "ways": [4, "guess"], "sizes": [["4K"], "guess"], )"
                             R"("replacement": ["lru", "guess"], "replacment": 1}]}}})"),
            "mine.json: tlb.data.arrays[0].replacment is unknown; did you mean \"replacement\"?");
}

TEST(Presets, SayHowSureAGuessIs) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  Json& slots = machine["walker"]["slots"];
  const auto path = [](const PresetSource& each) { return each.path == "walker.slots"; };
  slots = Json::parse(R"([4, "guess of a similar core", 2, 6])");
  const Preset preset = parse_preset(machine, "mine.json");
  EXPECT_EQ(preset.shape.mmu.walker.slots, 4u);
  const auto source = std::find_if(preset.sources.begin(), preset.sources.end(), path);
  ASSERT_NE(source, preset.sources.end());
  ASSERT_TRUE(source->range.has_value());
  EXPECT_EQ(source->range->least, 2u);
  EXPECT_EQ(source->range->most, 6u);

  const std::string at = "mine.json: walker.slots is ";
  const std::string order =
      "; expected [number, \"guess\", least, most] with the number from least to most";
  for (const auto& [value, what] : {
           std::pair(R"([4,"guess",5,6])", order),
           std::pair(R"([4,"guess",2,3])", order),
           std::pair(R"([4,"guess",2,"six"])", order),
           std::pair(R"([4,"guess",2])", std::string(", not [value, \"source\"]")),
           std::pair(R"([4,"manual",2,6])", std::string("; expected a range only of a guess")),
       }) {
    slots = Json::parse(value);
    EXPECT_EQ(complaint(machine), at + value + what);
  }
  slots = Json::parse(R"([4,"guess",2,65])");  // as the value itself
  EXPECT_EQ(complaint(machine), at + "65, not a number from 1 to 64");
}

TEST(Presets, HaveLatenciesThatGrowFromLevelToLevel) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  machine["caches"]["l2"]["latency_cycles"][0] = 4u;
  EXPECT_EQ(
      complaint(machine),
      "mine.json: caches.l2.latency_cycles is 4; expected more than that of l1d, 4: it counts "
      "from the first lookup of a load");
  machine["caches"].erase("l1d");
  EXPECT_EQ(complaint(machine), "");
}
TEST(Presets, HaveGroupsOfAsManyBanks) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  machine["memory"]["bank_groups"][0] = 5u;
  EXPECT_EQ(complaint(machine),
            "mine.json: memory.banks is 16; expected a multiple of bank_groups, 5");
}

// `simple`, with two arrays of the data TLB for pages of these sizes.
Json simple_with_sizes(const std::string& one, const std::string& other) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  Json& arrays = machine["tlb"]["data"]["arrays"];
  arrays = {arrays[0], arrays[0]};
  arrays[0]["sizes"][0] = Json::parse(one);
  arrays[1]["sizes"][0] = Json::parse(other);
  return machine;
}

TEST(Presets, HaveEachSizeOnceInAnArray) {
  EXPECT_EQ(complaint(simple_with_sizes(R"(["4K", "2M"])", R"(["2M", "1G"])")), "");
  EXPECT_EQ(complaint(simple_with_sizes(R"(["4K", "2M"])", R"(["2M", "2M"])")),
            "mine.json: tlb.data.arrays[1].sizes have the size of 2097152 bytes twice; expected "
            "each size once, in_second_tlb included");
  Json machine = simple_with_sizes(R"(["4K"])", R"(["2M"])");
  Json& cache = machine["walker"]["guest_walk_cache"];
  cache["in_second_tlb"] = cache["arrays"][0]["sizes"];
  EXPECT_THAT(complaint(machine), testing::HasSubstr("guest_walk_cache.arrays[0].sizes have the"));
}
TEST(Presets, NameTheIndexOfAnArray) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  Json& array = machine["tlb"]["data"]["arrays"][0];
  EXPECT_EQ(parse_preset(machine, "mine.json").shape.mmu.data_tlb.arrays[0].index,
            SetIndex::Linear);
  array["index"] = {"xor", "guess"};
  EXPECT_EQ(parse_preset(machine, "mine.json").shape.mmu.data_tlb.arrays[0].index, SetIndex::Xor);
  array["index"] = {"crc", "guess"};
  EXPECT_EQ(complaint(machine),
            "mine.json: tlb.data.arrays[0].index is \"crc\", not one of linear, xor");
}
TEST(Presets, HaveAtMostEightSizesInOneStructure) {
  const std::string four = R"(["4K", "16K", "64K"])";
  const Preset preset =
      parse_preset(simple_with_sizes(four, R"(["2M", "32M", "512M", "1G", "64G"])"), "mine.json");
  const TranslationCache<int> built(preset.shape.mmu.data_tlb);
  EXPECT_EQ(built.held_shift(36), 36);
  EXPECT_EQ(complaint(simple_with_sizes(four, R"(["2M", "32M", "512M", "1G", "64G", "512G"])")),
            "mine.json: tlb.data.arrays have 9 sizes together, and a structure at most 8");
}

// Of `simple`, with prices for some operations.
Json simple_with(const std::string& cycles) {
  Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
  machine["fence"]["cycles"] = Json::parse("{" + cycles + "}");
  return machine;
}
TEST(Presets, NameWhatOperationsOfTheArchitectureCost) {
  const Preset preset = parse_preset(
      simple_with(R"("invlpg": [113, "measured somewhere"], "kick": [9, "guess"])"), "mine.json");
  const FenceShape& fence = preset.shape.fence;
  EXPECT_EQ(fence.cycles(&addrspace::x86_64::kInvlpgCost), 113u);
  EXPECT_EQ(fence.cycles(&addrspace::vmx::kInveptAllCost), 100u);  // local_cycles
  EXPECT_EQ(fence.cycles(&addrspace::stage2::kRangeBroadcastCost), 300u);
  EXPECT_EQ(fence.cycles(&addrspace::stage2::kDsbCost), 0u);
  EXPECT_EQ(fence.cycles_or(kKickCost, 500), 9u);
  EXPECT_EQ(fence.cycles_or(kAcknowledgeCost, 500), 500u);
  const auto named = [](const PresetSource& each) { return each.path == "fence.cycles.invlpg"; };
  const auto source = std::find_if(preset.sources.begin(), preset.sources.end(), named);
  ASSERT_NE(source, preset.sources.end());
  EXPECT_EQ(source->source, "measured somewhere");
}
TEST(Presets, KnowWhichOperationsThereAre) {
  EXPECT_EQ(complaint(simple_with(R"("invpeg": [1, "guess"])")),
            "mine.json: fence.cycles.invpeg is unknown; did you mean \"invlpg\"?");
  EXPECT_EQ(complaint(simple_with(R"("dsb": [1, "guess"])")),  // AArch64's
            "mine.json: fence.cycles.dsb is unknown");
  EXPECT_EQ(complaint(simple_with(R"("invlpg": 1)")),
            "mine.json: fence.cycles.invlpg is 1, not [value, \"source\"]");
}

}  // namespace
}  // namespace nestwalk::models::parts_test
