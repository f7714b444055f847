// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Recorded tables of both stages, made by hand, as AMD's processors have them.

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::recorded_tables_test {
namespace {

using namespace traces;
using Json = nlohmann::json;

constexpr u64 kPage = 4096;
constexpr u64 kSupervisor = 0x63;  // present, writable, accessed, dirty
constexpr u64 kFlags = kSupervisor | 4;
// The guest's tables are its pages 1 to 4, and translate its page at 0 to its page 5. Guest page n
// is page 0x100 + n of the host; page 5 may be in another place.
constexpr u64 kGuestTables = kPage;
constexpr u64 kGuestPage = 5 * kPage;
constexpr u64 kPlace = 0x100 * kPage, kOtherPlace = 0x200 * kPage;
constexpr u64 kNested = 0x10'0000 * kPage;

class RecordedTablesRun : public Program {
 protected:
  void begin(std::vector<TablePage> nested, u32 vcpus = 1) {
    sink_ = create_sink((folder() / "t.nwt").string());
    Header header;
    header.architecture = addrspace::Architecture::X86_64;
    header.mode = Mode::Nested;
    header.vcpus = vcpus;
    writer_ = std::make_unique<Writer>(*sink_, header);
    SideData guest{When::Begin, Stage::Guest, 0, {}, {}};
    guest.registers = {
        {"CR0", 0x8005'0033}, {"CR3", kGuestTables}, {"CR4", 0x20}, {"NCR3", kNested}};
    for (u64 level = 0; level < 4; ++level) {
      const u64 to = level == 3 ? kGuestPage : kGuestTables + (level + 1) * kPage;
      guest.pages.push_back(page_of(kGuestTables + level * kPage, {to | kFlags}));
    }
    writer_->append(guest);
    writer_->append(SideData{When::Begin, Stage::Host, 0, {}, std::move(nested)});
  }
  static TablePage page_of(u64 address, const std::vector<u64>& entries) {
    TablePage page{address, std::vector<u8>(kPage)};
    std::memcpy(page.bytes.data(), entries.data(), entries.size() * sizeof(u64));
    return page;
  }
  /// The three tables below a root, and where they lead page 5.
  static std::vector<TablePage> nested_tables(u64 first, u64 place, u64 table_flags = kFlags,
                                              u64 leaf_flags = kFlags) {
    std::vector<u64> leaves;
    for (u64 page = 0; page < 16; ++page) leaves.push_back((kPlace + page * kPage) | leaf_flags);
    leaves[5] = (place + kGuestPage) | leaf_flags;
    return {page_of(first, {(first + kPage) | table_flags}),
            page_of(first + kPage, {(first + 2 * kPage) | kFlags}),
            page_of(first + 2 * kPage, leaves)};
  }
  /// Four tables from kNested on.
  static std::vector<TablePage> one_tree(u64 table_flags = kFlags, u64 leaf_flags = kFlags) {
    std::vector<TablePage> pages = nested_tables(kNested + kPage, kPlace, table_flags, leaf_flags);
    pages.push_back(page_of(kNested, {(kNested + kPage) | kFlags}));
    return pages;
  }
  void read(u64 place = kPlace) {
    writer_->append(0, Access{Gva(8), Gpa(kGuestPage + 8), Hpa(place + kGuestPage + 8), 1, 8,
                              AccessKind::Read, kAddressesKnown});
  }
  void event(const EventDetail& detail) { writer_->append(0, Event{1, detail}); }
  Json statistics(const std::string& options = {}) {
    writer_->finish();
    const Result result = run(kCommand + " -o d " + options + " 2>&1");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::ifstream file(folder() / "d/stats.json");
    return Json::parse(file)["statistics"];
  }
  const std::string kCommand =
      "nestwalk run t.nwt -p zen4 --set guest.tables=replayed --set hypervisor.backing=replayed "
      "--set host.memory=8G";
  const std::string kInOrder = " --set core.kind=in-order";
  std::unique_ptr<ByteSink> sink_;
  std::unique_ptr<Writer> writer_;
};

// All of the host's memory is the recorded hypervisor's, from its first byte on.
TEST_F(RecordedTablesRun, StoresOfTheHostMayGoAnywhere) {
  begin(one_tree());
  read();
  for (u64 address = 0; address < 64 * kPage; address += kPage) {
    event(TableWrite{Stage::Host, address, 0xffff'ffff'ffff'ffff});
  }
  read();
  const Json values = statistics();
  EXPECT_EQ(values["replay.agreed"], 2);
  EXPECT_EQ(values["replay.host_stores"], 64);
}

// RISC-V privileged spec, "Svnapot": in both stages, 16 pages whose entries say that they are one.
// Kunminghu holds these in one entry: one walk, in the order of the accesses.
TEST_F(RecordedTablesRun, NapotPagesAreOneTranslation) {
  constexpr u64 kGuestGroup = 16 * kPage, kHostGroup = kPlace + kGuestGroup;
  constexpr u64 kMode = u64{8} << 60;  // Sv39, Sv39x4
  const auto table = [](u64 at) { return at >> 2 | 1; };
  const auto napot = [](u64 at) { return u64{1} << 63 | at >> 2 | u64{8} << 10 | 0xdf; };
  sink_ = create_sink((folder() / "t.nwt").string());
  Header header;
  header.architecture = addrspace::Architecture::RiscV64;
  header.mode = Mode::Nested;
  header.vcpus = 1;
  writer_ = std::make_unique<Writer>(*sink_, header);
  SideData guest{When::Begin, Stage::Guest, 0, {}, {}};
  guest.registers = {{"satp", kMode | kGuestTables / kPage}, {"hgatp", kMode | kNested / kPage}};
  guest.pages = {page_of(kGuestTables, {table(kGuestTables + kPage)}),
                 page_of(kGuestTables + kPage, {table(kGuestTables + 2 * kPage)}),
                 page_of(kGuestTables + 2 * kPage, std::vector<u64>(16, napot(kGuestGroup)))};
  writer_->append(guest);
  std::vector<u64> leaves(16, napot(kPlace));
  leaves.insert(leaves.end(), 16, napot(kHostGroup));
  writer_->append(SideData{When::Begin,
                           Stage::Host,
                           0,
                           {},
                           {page_of(kNested, {table(kNested + 4 * kPage)}),
                            page_of(kNested + 4 * kPage, {table(kNested + 5 * kPage)}),
                            page_of(kNested + 5 * kPage, leaves)}});
  for (const u64 page : std::initializer_list<u64>{5, 3, 0, 15, 8, 7}) {
    const u64 at = page * kPage + 8;
    writer_->append(0, Access{Gva(at), Gpa(kGuestGroup + at), Hpa(kHostGroup + at), 1, 8,
                              AccessKind::Read, kAddressesKnown});
  }
  writer_->finish();
  const Result result =
      run("nestwalk run t.nwt -p kunminghu --set guest.tables=replayed "
          "--set hypervisor.backing=replayed --set host.memory=8G --set tlb.prefetcher.policy=none "
          "-o d" +
          kInOrder + " 2>&1");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::ifstream file(folder() / "d/stats.json");
  const Json values = Json::parse(file)["statistics"];
  EXPECT_EQ(values["replay.agreed"], 6);
  EXPECT_EQ(values["walk.count"], 1);
}

// Every access of a nested walk is a user's: what U/S does not permit, at any level, faults (APM
// vol. 2, "Nested Page Table Walk").
TEST_F(RecordedTablesRun, NestedPagesOfTheSupervisorFault) {
  struct Case {
    u64 table_flags, leaf_flags;
  };
  for (const Case& each : {Case{kFlags, kFlags}, {kFlags, kSupervisor}, {kSupervisor, kFlags}}) {
    begin(one_tree(each.table_flags, each.leaf_flags));
    read();
    const Json values = statistics();
    const bool is_users = (each.table_flags & each.leaf_flags & 4) != 0;
    EXPECT_EQ(values["replay.agreed"], is_users ? 1 : 0);
    EXPECT_EQ(values["replay.host_faults"], is_users ? 0 : 1);
    run("rm -r d");
  }
}

// A second processor whose CR3 has the same PCID, 0, and leads elsewhere: what the first one's
// tables translated is none of its business where both are put on one core.
TEST_F(RecordedTablesRun, ProcessorsOnOneCoreHavePcidsOfTheirOwn) {
  constexpr u64 kOtherTables = 8 * kPage, kOtherPage = 6 * kPage;
  begin(one_tree(), 2);
  SideData other{When::Begin, Stage::Guest, 1, {}, {}};
  other.registers = {{"CR0", 0x8005'0033}, {"CR3", kOtherTables}, {"CR4", 0x20}, {"NCR3", kNested}};
  for (u64 level = 0; level < 4; ++level) {
    const u64 to = level == 3 ? kOtherPage : kOtherTables + (level + 1) * kPage;
    other.pages.push_back(page_of(kOtherTables + level * kPage, {to | kFlags}));
  }
  writer_->append(other);
  for (u64 n = 0; n < 100; ++n) {
    read();
    writer_->append(1, Access{Gva(8), Gpa(kOtherPage + 8), Hpa(kPlace + kOtherPage + 8), 1, 8,
                              AccessKind::Read, kAddressesKnown});
  }
  const Json values = statistics(kInOrder + " --set host.cores=1 --set host.time_slice=200");
  EXPECT_GT(values["host.departures"], 2);
  EXPECT_EQ(values["replay.stale"], 0);
  EXPECT_EQ(values["replay.agreed"], 200);
}

// A root takes four of the 16383 tags: of both stages together, with the guest's PCID and without
// paging, of its globals, and of the second stage alone; and another one for each PCID more. Here
// these are 0 to 4 in turn, so that 5 roots take 30 tags, and 2730 have some at a time. 6000 roots
// need two rounds more, and none of them finds what another one left under its tags: every third
// leads elsewhere.
TEST_F(RecordedTablesRun, ThereMayBeMoreRootsThanTheCachesTellApart) {
  constexpr u64 kRoots = 6000;
  constexpr u64 kFirstRoot = kNested + 16 * kPage;
  std::vector<TablePage> nested = one_tree();
  const u64 other = kNested + 8 * kPage;
  for (TablePage& page : nested_tables(other, kOtherPlace)) nested.push_back(std::move(page));
  for (u64 n = 0; n < kRoots; ++n) {
    const u64 to = n % 3 == 0 ? other : kNested + kPage;
    nested.push_back(page_of(kFirstRoot + n * kPage, {to | kFlags}));
  }
  begin(std::move(nested));
  for (u64 n = 0; n < kRoots; ++n) {
    event(ControlWrite{"NCR3", kFirstRoot + n * kPage});
    for (u64 pcid = 0; pcid <= n % 5; ++pcid) {
      event(SpaceSwitch{kGuestTables, pcid});
      read(n % 3 == 0 ? kOtherPlace : kPlace);
    }
    event(SpaceSwitch{kGuestTables, 0});
  }
  const Json values = statistics();
  EXPECT_EQ(values["replay.agreed"], 3 * kRoots);
  EXPECT_EQ(values["replay.fences"], 2);
}

// Nothing lies between entries, and a store there would be half in one and half in the next.
TEST_F(RecordedTablesRun, RefusesStoresBetweenEntries) {
  for (const Stage stage : {Stage::Guest, Stage::Host}) {
    const u64 table = stage == Stage::Guest ? kGuestTables : kNested;
    begin(one_tree());
    read();
    event(TableWrite{stage, table + 5, kOtherPlace | kFlags});
    read();
    writer_->finish();
    const Result result = run(kCommand + " 2>&1");
    EXPECT_EQ(result.exit_code, 4);
    EXPECT_TRUE(std::regex_match(
        result.output,
        std::regex("nestwalk: t.nwt: at byte [0-9]+: expected the address of an entry, a multiple "
                   "of 8, found 0x[0-9a-f]+5\n")))
        << result.output;
  }
}

// Cut to the 12 bits of a PCID, the second address space would have the first one's translations.
TEST_F(RecordedTablesRun, RefusesAsidsThatNoMachineHas) {
  GuestFence fence;
  fence.scope = FenceScope::Asid;
  fence.asid = 0x1001;
  for (const EventDetail& detail :
       {EventDetail(SpaceSwitch{kGuestTables, 0x1001, Precision::Exact}), EventDetail(fence)}) {
    begin(one_tree());
    read();
    event(detail);
    read();
    writer_->finish();
    for (const std::string& command : {kCommand, std::string("nestwalk run -p simple t.nwt"),
                                       std::string("nestwalk trace stats t.nwt")}) {
      const Result result = run(command + " 2>&1");
      EXPECT_EQ(result.exit_code, 4) << command;
      EXPECT_THAT(result.output, testing::StartsWith("nestwalk: t.nwt: at byte "));
      EXPECT_THAT(result.output, testing::EndsWith("expected an ASID of 12 bits, found 0x1001\n"));
    }
  }
}

// The second stage has no page for any of them. They are played all the same, two of the three
// after the warm-up.
TEST_F(RecordedTablesRun, WhatIsLeftOutAfterAWarmUpIsPlayed) {
  begin(one_tree(kFlags, 0));
  for (int n = 0; n < 3; ++n) read();
  writer_->finish();
  const Result part = run(kCommand + kInOrder + " --warmup 1 -o d 2>&1");
  EXPECT_EQ(part.exit_code, 0) << part.output;
  std::ifstream file(folder() / "d/stats.json");
  EXPECT_EQ(Json::parse(file)["statistics"]["access.untranslatable"], 2);
  const Result none = run(kCommand + kInOrder + " --warmup 3 2>&1");
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.output,
              testing::HasSubstr("run.warmup is 3, and no vCPU plays more accesses than that\n"));
}

// The guest's lowest table lies in the frame of the host's lowest: what walks find there is not
// what the trace says of one of the two.
TEST_F(RecordedTablesRun, RefusesTablesThatDifferInOneFrame) {
  constexpr u64 kLowest = kNested + 3 * kPage;
  std::vector<TablePage> pages = one_tree();
  const u64 to_itself = kLowest | kFlags;
  ASSERT_EQ(pages[2].address, kLowest);
  std::memcpy(pages[2].bytes.data() + 4 * sizeof(u64), &to_itself, sizeof to_itself);
  begin(pages);
  read();
  writer_->finish();
  for (const std::string& command :
       {kCommand, std::string("nestwalk run t.nwt -p zen4"),
        std::string("nestwalk explain t.nwt -p zen4"), std::string("nestwalk trace verify t.nwt"),
        std::string("nestwalk trace info t.nwt")}) {
    const Result result = run(command + " 2>&1");
    EXPECT_EQ(result.exit_code, 4) << command;
    EXPECT_THAT(result.output, testing::StartsWith("nestwalk: t.nwt: at byte ")) << command;
    EXPECT_THAT(result.output,
                testing::EndsWith("expected tables of the begin that lie in one host frame, "
                                  "0x100003000, to have the same contents, the host's at "
                                  "0x100003000 and the guest's at 0x4000, found other contents\n"))
        << command;
  }
}

}  // namespace
}  // namespace nestwalk::sim::recorded_tables_test
