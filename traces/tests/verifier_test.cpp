// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Tiny traces with page tables made by hand. All map the page 0x401000 of the guest's virtual
// addresses: index 2 of the tables of 2 MiB, index 1 of those of 4 KiB, index 0 above.

#include "nestwalk/traces/verifier.hpp"

#include <gmock/gmock.h>

#include <map>

#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces::verifier_test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

using Entries = std::map<u64, u64>;  // by address

std::vector<TablePage> pages_of(const Entries& entries) {
  std::map<u64, std::vector<u8>> pages;
  for (const auto& [address, entry] : entries) {
    std::vector<u8>& page = pages[address & ~(kPageBytes - 1)];
    page.resize(kPageBytes);
    std::memcpy(page.data() + address % kPageBytes, &entry, sizeof entry);
  }
  std::vector<TablePage> result;
  for (const auto& [address, bytes] : pages) result.push_back({address, bytes});
  return result;
}

Access access(u64 gva, u64 gpa, u64 hpa = 0) {
  Access result{Gva(gva), Gpa(gpa), Hpa(hpa), 1, 8, AccessKind::Read, kGvaKnown | kGpaKnown};
  if (hpa != 0) result.flags |= kHpaKnown;
  return result;
}

/// What a trace begins with, records of the only vCPU, and what it ends with.
struct Tiny {
  Architecture architecture = Architecture::RiscV64;
  std::vector<std::pair<std::string, u64>> registers;
  Entries guest;
  Entries host;  ///< with them, the trace is nested
  std::vector<std::variant<Access, EventDetail>> records;
  Entries end;
  std::vector<MemoryRange> memory;
  std::vector<std::pair<std::string, u64>> end_registers = {};
};

Verification verify(const std::vector<u8>& file) {
  return verify_trace([&] { return std::make_unique<MemorySource>(file); }, 10,
                      [](u64, u64, u64) {});
}

void write(Writer& writer, u32 vcpu, const std::variant<Access, EventDetail>& record) {
  if (const auto* one = std::get_if<Access>(&record)) return writer.append(vcpu, *one);
  writer.append(vcpu, Event{1, std::get<EventDetail>(record)});
}

Verification verify(const Tiny& tiny) {
  Header header;
  header.architecture = tiny.architecture;
  header.mode = tiny.host.empty() ? Mode::FullSystem : Mode::Nested;
  header.memory = tiny.memory;
  MemorySink sink;
  Writer writer(sink, header);
  writer.append(SideData{When::Begin, Stage::Guest, 0, tiny.registers, pages_of(tiny.guest)});
  writer.append(SideData{When::Begin, Stage::Host, 0, {}, pages_of(tiny.host)});
  for (const auto& record : tiny.records) write(writer, 0, record);
  writer.append(SideData{When::End, Stage::Guest, 0, tiny.end_registers, pages_of(tiny.end)});
  writer.finish();
  return verify(sink.bytes());
}

u64 reads(const Verification& found, Verdict verdict) {
  return found.accesses[0][0][static_cast<std::size_t>(verdict)];
}

void expect_all_match(const Tiny& tiny) {
  const Verification found = verify(tiny);
  EXPECT_TRUE(found.good());
  EXPECT_EQ(reads(found, Verdict::Match), tiny.records.size());
}

// ---- each architecture ----

// PML4, PDPT, PD and PT at 0x1000 to 0x4000; present and writable is 3, PS is 0x80.
Tiny x86() {
  return {Architecture::X86_64,
          {{"CR0", 0x8000'0001}, {"CR3", 0x1000}, {"CR4", 0x20}},
          {{0x1000, 0x2003}, {0x2000, 0x3003}, {0x3010, 0x4003}, {0x4008, 0x5003}},
          {},
          {},
          {},
          {}};
}

// 39 bits in both halves (TxSZ 25), pages of 4 KiB (TG1 is 0b10). Tables and pages are 3 in the low
// bits, blocks 1; 0x400 is the access flag.
Tiny aarch64() {
  return {Architecture::AArch64,
          {{"SCTLR", 1},
           {"TCR_EL1", u64{2} << 30 | 25 << 16 | 25},
           {"TTBR0_EL1", 0x7'0000'0000'1000},
           {"TTBR1_EL1", 0x8000}},
          {{0x1000, 0x2003}, {0x2010, 0x3003}, {0x3008, 0x5403}, {0x8000, 0x4000'0401}},
          {},
          {},
          {},
          {}};
}

// Sv39. A table is V, a leaf V, R, W, X, A and D: 0xcf.
constexpr u64 table(u64 address) { return address >> 2 | 1; }
constexpr u64 leaf(u64 address) { return address >> 2 | 0xcf; }
constexpr u64 satp(u64 root) { return u64{8} << 60 | root >> 12; }

Tiny riscv() {
  return {Architecture::RiscV64,
          {{"satp", satp(0x1000)}},
          {{0x1000, table(0x2000)}, {0x2010, table(0x3000)}, {0x3008, leaf(0x5000)}},
          {},
          {},
          {},
          {}};
}

TEST(Verifier, WalksFourLevelsOfX86) {
  Tiny tiny = x86();
  tiny.guest[0x3018] = 0xa0'0083;  // 2 MiB from 0x600000
  tiny.records = {access(0x40'1234, 0x5234), access(0x61'2345, 0xa1'2345)};
  expect_all_match(tiny);
}

TEST(Verifier, WalksFiveLevelsOfX86) {
  Tiny tiny = x86();
  tiny.registers = {{"CR0", 0x8000'0001}, {"CR3", 0x9000}, {"CR4", 0x1020}};
  tiny.guest[0x9000] = 0x1003;
  tiny.records = {access(0x40'1234, 0x5234)};
  expect_all_match(tiny);
}

TEST(Verifier, WalksBothHalvesOfAArch64) {
  Tiny tiny = aarch64();
  tiny.registers[1].second |= u64{1} << 37;  // TCR_EL1.TBI0
  tiny.records = {access(0x40'1234, 0x5234), access(0xffff'ff80'0765'4321, 0x4765'4321),
                  access(0xab00'0000'0040'1234, 0x5234)};  // its top byte is a tag
  expect_all_match(tiny);
}

TEST(Verifier, WalksThreeLevelsOfRiscV) {
  Tiny tiny = riscv();
  tiny.records = {access(0x40'1234, 0x5234)};
  expect_all_match(tiny);
}

TEST(Verifier, WalksBothStagesOfX86) {
  Tiny tiny = x86();
  tiny.registers.emplace_back("NCR3", 0x1'0000);
  // Nested: 0x5000 has index 5 of the last level.
  tiny.host = {
      {0x1'0000, 0x2'0007}, {0x2'0000, 0x3'0007}, {0x3'0000, 0x4'0007}, {0x4'0028, 0x9007}};
  tiny.records = {access(0x40'1234, 0x5234, 0x9234)};
  expect_all_match(tiny);
}

TEST(Verifier, WalksConcatenatedTablesOfAArch64) {
  Tiny tiny = aarch64();
  // 40 bits from level 1 on: T0SZ 24, SL0 1. The first index has ten bits, so bit 39 leads to the
  // second page of the root.
  tiny.registers.emplace_back("VTCR_EL2", 1 << 6 | 24);
  tiny.registers.emplace_back("VTTBR_EL2", 0x1'0000);
  tiny.guest[0x3010] = 0x80'0000'5403;
  tiny.host = {{0x1'1000, 0x2'0003}, {0x2'0000, 0x3'0003}, {0x3'0028, 0x9403}};
  tiny.records = {access(0x40'2234, 0x80'0000'5234, 0x9234)};
  expect_all_match(tiny);
}

TEST(Verifier, WalksTheWiderRootOfRiscV) {
  Tiny tiny = riscv();
  // Sv39x4: bit 39 leads to the second page of the root.
  tiny.registers.emplace_back("hgatp", satp(0x1'0000));
  tiny.guest[0x3010] = leaf(0x80'0000'5000);
  tiny.host = {{0x1'1000, table(0x2'0000)}, {0x2'0000, table(0x3'0000)}, {0x3'0028, leaf(0x9000)}};
  tiny.records = {access(0x40'2234, 0x80'0000'5234, 0x9234)};
  expect_all_match(tiny);
}

// ---- what changes ----

TEST(Verifier, FollowsTableWritesAndSwitches) {
  Tiny tiny = riscv();
  tiny.guest[0x7000] = table(0x2000);
  tiny.guest[0x7008] = leaf(0x4000'0000);  // 1 GiB from 0x40000000
  tiny.records = {access(0x40'1000, 0x5000), TableWrite{Stage::Guest, 0x3008, leaf(0x6000)},
                  access(0x40'1000, 0x6000), SpaceSwitch{0x7000, 1, Precision::Exact},
                  access(0x4000'1000, 0x4000'1000)};
  const Verification found = verify(tiny);
  EXPECT_THAT(found.addresses, IsEmpty());
  EXPECT_EQ(reads(found, Verdict::Match), 3u);
}

TEST(Verifier, ControlRecordsTurnTranslationOnAndChangeItsLevels) {
  Tiny tiny = x86();
  tiny.registers = {{"CR0", 0x11}, {"CR3", 0}, {"CR4", 0}};
  // A table of the fifth level at 0x9000; CR4.LA57 is bit 12, CR0.PG bit 31.
  tiny.guest[0x9000] = 0x1003;
  tiny.records = {access(0x5000, 0x5000),       SpaceSwitch{0x1000, 0, Precision::Exact},
                  access(0x6000, 0x6000),       ControlWrite{"CR0", 0x8000'0011},
                  access(0x40'1000, 0x5000),    ControlWrite{"CR0", 0x11},
                  ControlWrite{"CR4", 0x1020},  SpaceSwitch{0x9000, 0, Precision::Exact},
                  access(0x40'1000, 0x40'1000), ControlWrite{"CR0", 0x8000'0011},
                  access(0x40'1008, 0x5008)};
  const Verification found = verify(tiny);
  EXPECT_THAT(found.addresses, IsEmpty());
  EXPECT_EQ(reads(found, Verdict::Untranslated), 3u);
  EXPECT_EQ(reads(found, Verdict::Match), 2u);
}

TEST(Verifier, ControlRecordsChangeTheUpperHalfOfAArch64) {
  Tiny tiny = aarch64();
  tiny.guest[0xb000] = 0x8000'0401;  // a block of 1 GiB at 2 GiB
  tiny.records = {access(0xffff'ff80'0000'1000, 0x4000'1000), ControlWrite{"TTBR1_EL1", 0xb000},
                  access(0xffff'ff80'0000'1000, 0x8000'1000), access(0x40'1000, 0x5000)};
  const Verification found = verify(tiny);
  EXPECT_THAT(found.addresses, IsEmpty());
  EXPECT_EQ(reads(found, Verdict::Match), 3u);
}

TEST(Verifier, ControlRecordsChangeTheRootOfTheSecondStage) {
  Tiny tiny = riscv();
  tiny.registers.emplace_back("hgatp", u64{8} << 60 | 0x10);
  // Blocks of 1 GiB: the first guest's is where it is, the second one's 1 GiB above.
  tiny.host = {{0x1'0000, leaf(0)}, {0x2'0000, leaf(0x4000'0000)}};
  tiny.records = {access(0x40'1000, 0x5000, 0x5000), ControlWrite{"hgatp", u64{8} << 60 | 0x20},
                  access(0x40'1000, 0x5000, 0x4000'5000)};
  const Verification found = verify(tiny);
  EXPECT_THAT(found.addresses, IsEmpty());
  EXPECT_EQ(reads(found, Verdict::Match), 2u);
}

TEST(Verifier, SaysWhatItCouldNotJudgeAndWhy) {
  Tiny tiny = riscv();
  tiny.records = {SpaceSwitch{0xf'0000, 0, Precision::Exact},
                  access(0x40'1000, 0x5000),
                  access(0x40'1000, 0x5000),
                  SpaceSwitch{0, 0, Precision::Widened},
                  access(0x40'1000, 0x5000),
                  SpaceSwitch{0x1000, 0, Precision::Exact},
                  access(0x40'1000, 0x5000)};
  const Verification found = verify(tiny);
  EXPECT_TRUE(found.good());
  EXPECT_EQ(reads(found, Verdict::UnknownTables), 3u);
  EXPECT_EQ(reads(found, Verdict::Match), 1u);
  ASSERT_EQ(found.unknown.size(), 2u);
  const auto expect_stretch = [&](std::size_t number, u64 first, u64 last, const char* reason) {
    EXPECT_EQ(found.unknown[number].first_record, first);
    EXPECT_EQ(found.unknown[number].last_record, last);
    EXPECT_EQ(found.unknown[number].accesses, last - first + 1);
    EXPECT_STREQ(found.unknown[number].reason, reason);
  };
  expect_stretch(0, 1, 2, "no tables were recorded at the root");
  expect_stretch(1, 4, 4, "the root that was switched to is not known");
}

TEST(RecordedTables, MorePagesThanMemoryIsThereForAreAnError) {
  RecordedTables tables("a.nwt", 2);
  tables.put(0x1000, 1);
  tables.put(0x2000, 1);
  tables.put(0x2008, 1);
  EXPECT_THAT([&] { tables.put(0x3000, 1); },
              testing::ThrowsMessage<InputError>(
                  "a.nwt: expected at most 2 pages of tables of one stage, found more"));
}

// RISC-V privileged spec, "Svnapot": N in bit 63, a page number that ends in 1000, in whose place
// the address has its own. 0x5000 is the entry at 0x3028, 0xb000 the one at 0x3058.
TEST(RecordedTables, NapotPagesTranslateBySixteens) {
  RecordedTables tables("a.nwt");
  tables.put(0x4000, 0x2000 >> 2 | 1);
  tables.put(0x2000, 0x3000 >> 2 | 1);
  for (u64 n = 0; n < 16; ++n) {
    tables.put(0x3000 + n * 8, u64{1} << 63 | 0x9'8000 >> 2 | 0xdf);
  }
  for (const TableRoot& root :
       {TableRoot{TableFormat::Sv, 0x4000, *addrspace::Sv::geometry(3)},
        TableRoot{TableFormat::GStage, 0x4000, *addrspace::GStage::geometry(3)}}) {
    EXPECT_EQ(tables.walk(root, 0x5123).address, 0x9'5123u);
    EXPECT_EQ(tables.walk(root, 0xb123).address, 0x9'b123u);
  }
}

TEST(Verifier, AGuestThatDoesNotTranslateHasEqualAddresses) {
  Tiny tiny = riscv();
  tiny.registers = {{"satp", 0}};
  tiny.records = {access(0x5000, 0x5000), access(0x5000, 0x6000)};
  const Verification found = verify(tiny);
  EXPECT_EQ(reads(found, Verdict::Untranslated), 1u);
  EXPECT_EQ(reads(found, Verdict::Mismatch), 1u);
}

TEST(Verifier, FirmwareOfRiscVDoesNotTranslate) {
  Tiny tiny = riscv();
  tiny.records = {access(0x8000'0000, 0x8000'0000), access(0x40'1000, 0x40'1000)};
  const Verification found = verify(tiny);
  EXPECT_EQ(reads(found, Verdict::Untranslated), 2u);
  EXPECT_EQ(reads(found, Verdict::Mismatch), 0u);
}

TEST(Verifier, BehindASwitchToNobodyKnowsWhereNothingIsKnown) {
  Tiny tiny = riscv();
  tiny.records = {SpaceSwitch{0, 0, Precision::Widened}, access(0x40'1000, 0x5000)};
  EXPECT_EQ(reads(verify(tiny), Verdict::UnknownTables), 1u);
}

TEST(Verifier, WhatLiesOutsideOfMemoryIsADevice) {
  Tiny tiny = riscv();
  tiny.memory = {{Stage::Guest, 0x1000, 0x3000, "ram"}, {Stage::Guest, 0x8000'0000, 0x1000, "ram"}};
  tiny.guest[0x3010] = leaf(0x8000'0000);
  tiny.records = {access(0x40'1000, 0x5000), access(0x40'2000, 0x8000'0000)};
  const Verification found = verify(tiny);
  EXPECT_EQ(reads(found, Verdict::Device), 1u);
  EXPECT_EQ(reads(found, Verdict::Match), 1u);
}

TEST(Verifier, AccessesWithoutPhysicalAddressAreCounted) {
  Tiny tiny = riscv();
  Access unknown = access(0x40'1000, 0);
  unknown.flags = kGvaKnown;
  tiny.records = {unknown};
  EXPECT_EQ(reads(verify(tiny), Verdict::NoAddress), 1u);
}

// ---- what differs ----

TEST(Verifier, AFlippedBitOfAnEntryIsFound) {
  Tiny tiny = riscv();
  tiny.guest[0x3008] ^= 1 << 10;  // the lowest bit of its page number: 0x4000
  tiny.records = {access(0x1000, 0x1000), access(0x40'1234, 0x5234)};
  tiny.guest[0x2000] = table(0x4000);
  tiny.guest[0x4008] = leaf(0x1000);
  const Verification found = verify(tiny);
  ASSERT_EQ(found.addresses.size(), 1u);
  const AddressMismatch& mismatch = found.addresses[0];
  EXPECT_EQ(mismatch.record, 1u);
  EXPECT_EQ(mismatch.gva, Gva(0x40'1234));
  EXPECT_EQ(mismatch.recorded, 0x5234u);
  EXPECT_EQ(mismatch.walked.address, 0x4234u);
  EXPECT_EQ(mismatch.walked.level, 0u);
  EXPECT_FALSE(found.good());
}

TEST(Verifier, AWalkThatEndsSaysWhere) {
  Tiny tiny = x86();
  tiny.guest[0x3010] = 0x4002;  // not present
  tiny.records = {access(0x40'1234, 0x5234), access(u64{1} << 47, 0x5000)};
  const Verification found = verify(tiny);
  ASSERT_EQ(found.addresses.size(), 2u);
  EXPECT_EQ(found.addresses[0].walked.address, std::nullopt);
  EXPECT_EQ(found.addresses[0].walked.level, 1u);
  EXPECT_EQ(found.addresses[1].walked.level, 4u);  // not canonical: nothing was read
}

TEST(Verifier, AHostAddressThatDiffersIsOfTheHostStage) {
  Tiny tiny = riscv();
  tiny.registers.emplace_back("hgatp", satp(0x1'0000));
  tiny.host = {{0x1'0000, table(0x2'0000)}, {0x2'0000, table(0x3'0000)}, {0x3'0028, leaf(0x9000)}};
  tiny.records = {access(0x40'1000, 0x5000, 0xa000)};
  const Verification found = verify(tiny);
  ASSERT_EQ(found.addresses.size(), 1u);
  EXPECT_EQ(found.addresses[0].stage, Stage::Host);
  EXPECT_EQ(found.addresses[0].walked.address, 0x9000u);
}

TEST(Verifier, OnlyAsManyMismatchesAreDescribedAsWanted) {
  Tiny tiny = riscv();
  tiny.records.assign(20, access(0x40'1000, 0x6000));
  const Verification found = verify(tiny);
  EXPECT_EQ(reads(found, Verdict::Mismatch), 20u);
  EXPECT_EQ(found.addresses.size(), 10u);
}

// ---- the tables at the end ----

TEST(Verifier, TablesAtTheEndAreComparedWithoutAccessedAndDirtyBits) {
  Tiny tiny = riscv();
  tiny.records = {TableWrite{Stage::Guest, 0x3010, leaf(0x6000)}};
  tiny.end = {{0x1000, table(0x2000)},
              {0x2010, table(0x3000)},
              {0x3008, leaf(0x5000) & ~u64{0xc0}},  // neither A nor D
              {0x3010, leaf(0x6000)}};
  const Verification found = verify(tiny);
  EXPECT_TRUE(found.good());
  EXPECT_EQ(found.entries[0].match, 4u);
}

TEST(Verifier, TablesThatDifferAtTheEndAreFound) {
  Tiny tiny = riscv();
  tiny.guest[0x3020] = 0x40;  // not valid: the bit is the guest's own
  tiny.end = {{0x3008, leaf(0x7000)}, {0x3018, leaf(0x8000)}};
  const Verification found = verify(tiny);
  EXPECT_EQ(found.entries[0].differ, 3u);
  ASSERT_EQ(found.tables.size(), 3u);
  EXPECT_EQ(found.tables[0].address, 0x3008u);
  EXPECT_EQ(found.tables[0].followed, leaf(0x5000));
  EXPECT_EQ(found.tables[0].recorded, leaf(0x7000));
  EXPECT_EQ(found.tables[1].followed, 0u);
  EXPECT_EQ(found.tables[2].recorded, 0u);
  EXPECT_FALSE(found.good());
}

TEST(Verifier, RegistersAtTheEndSayTheRootsThatWereFollowed) {
  const auto text = [](const std::optional<TableRoot>& root) {
    return root ? format_name(root) + " at " + std::to_string(root->address / kPageBytes) : "none";
  };
  const auto expect = [&](const Tiny& tiny, u64 match, const std::vector<std::string>& differ) {
    const Verification found = verify(tiny);
    EXPECT_EQ(found.roots.match, match);
    EXPECT_EQ(found.roots.differ, differ.size());
    EXPECT_EQ(found.good(), differ.empty());
    std::vector<std::string> said;
    for (const RootMismatch& each : found.root_mismatches) {
      said.push_back(std::string(kStageNames[static_cast<u8>(each.stage)]) + ": " +
                     text(each.followed) + ", not " + text(each.recorded));
    }
    EXPECT_EQ(said, differ);
  };
  Tiny tiny = riscv();
  expect(tiny, 0, {});
  tiny.end_registers = {{"satp", satp(0x1000)}};
  expect(tiny, 1, {});
  tiny.end_registers = {{"satp", satp(0x7000)}};
  expect(tiny, 0, {"guest: riscv64-3 at 1, not riscv64-3 at 7"});
  tiny.end_registers = {{"satp", 0}};
  expect(tiny, 0, {"guest: riscv64-3 at 1, not none"});
  // A switch, whose ASID is no part of the root; then a write of the register as a whole.
  tiny.records = {SpaceSwitch{0x7000, 5, Precision::Exact}};
  tiny.end_registers = {{"satp", satp(0x7000) | u64{5} << 44}};
  expect(tiny, 1, {});
  tiny.end_registers = {{"priv", 1}};
  expect(tiny, 1, {});
  tiny.records.emplace_back(ControlWrite{"satp", u64{9} << 60 | 0x8});
  tiny.end_registers = {{"satp", u64{9} << 60 | 0x8}};
  expect(tiny, 1, {});
  // Nobody knows where a lost operand led.
  tiny.records = {SpaceSwitch{0, 0, Precision::Widened}};
  expect(tiny, 0, {});

  tiny = riscv();
  tiny.registers.emplace_back("hgatp", satp(0x1'0000));
  tiny.host = {{0x1'0000, leaf(0)}};
  tiny.records = {ControlWrite{"hgatp", satp(0x2'0000)}};
  tiny.end_registers = {{"satp", satp(0x1000)}, {"hgatp", satp(0x1'0000)}};
  expect(tiny, 1, {"host: riscv64-3 at 32, not riscv64-3 at 16"});

  tiny = aarch64();
  tiny.records = {ControlWrite{"TTBR1_EL1", 0xb000}};
  tiny.end_registers = tiny.registers;
  expect(tiny, 1, {"guest: aarch64-3 at 11, not aarch64-3 at 8"});

  tiny = x86();
  tiny.records = {ControlWrite{"CR4", 0x1020}};
  tiny.end_registers = tiny.registers;
  expect(tiny, 0, {"guest: x86_64-5 at 1, not x86_64-4 at 1"});
}

// ---- several vCPUs ----

TEST(Verifier, TableWritesOfAnotherVcpuCountFromTheirTimeOn) {
  Header header;
  header.architecture = Architecture::RiscV64;
  header.mode = Mode::FullSystem;
  header.vcpus = 2;
  MemorySink sink;
  Writer writer(sink, header);
  const Tiny tiny = riscv();
  for (u32 vcpu = 0; vcpu < 2; ++vcpu) {
    writer.append(SideData{When::Begin, Stage::Guest, vcpu, tiny.registers, {}});
  }
  writer.append(SideData{When::Begin, Stage::Guest, 0, {}, pages_of(tiny.guest)});
  // vCPU 0 writes the entry at time 2; vCPU 1 reads at 1, and at 3, 4.
  write(writer, 0, access(0x40'1000, 0x5000));
  write(writer, 0, EventDetail(TableWrite{Stage::Guest, 0x3008, leaf(0x6000)}));
  write(writer, 1, access(0x40'1000, 0x5000));
  writer.append(1, Event{1, TimeSync{2}});
  write(writer, 1, access(0x40'1000, 0x6000));
  write(writer, 1, access(0x40'1000, 0x6000));
  writer.finish();
  const Verification found = verify(sink.bytes());
  EXPECT_THAT(found.addresses, IsEmpty());
  EXPECT_EQ(found.count(Verdict::Match), 4u);
}

// Blocks of 1 GiB: the first guest's is where it is, the second one's 1 GiB above.
TEST(Verifier, EachVcpuHasASecondStage) {
  Header header;
  header.architecture = Architecture::RiscV64;
  header.mode = Mode::Nested;
  header.vcpus = 2;
  MemorySink sink;
  Writer writer(sink, header);
  for (const u32 vcpu : {0u, 1u}) {
    Tiny tiny = riscv();
    tiny.registers.emplace_back("hgatp", satp(vcpu == 0 ? 0x1'0000 : 0x2'0000));
    writer.append(SideData{When::Begin, Stage::Guest, vcpu, tiny.registers, {}});
  }
  writer.append(SideData{When::Begin, Stage::Guest, 0, {}, pages_of(riscv().guest)});
  writer.append(SideData{
      When::Begin, Stage::Host, 0, {}, pages_of({{0x1'0000, leaf(0)}, {0x2'0000, leaf(1 << 30)}})});
  for (int n = 0; n < 2; ++n) {
    write(writer, 0, access(0x40'1000, 0x5000, 0x5000));
    write(writer, 1, access(0x40'1000, 0x5000, 0x4000'5000));
    write(writer, 1, EventDetail(SpaceSwitch{0x1000, 0, Precision::Exact}));
  }
  writer.finish();
  EXPECT_EQ(verify(sink.bytes()).count(Verdict::Match), 4u);
}

// ---- bad input ----

void expect_refused(const Header& header, const std::function<void(Writer&)>& fill,
                    const std::string& message) {
  MemorySink sink;
  Writer writer(sink, header, {.block_records = 1});
  fill(writer);
  writer.finish();
  try {
    verify(sink.bytes());
    FAIL() << "expected: " << message;
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(Verifier, RefusesWhatCannotBeVerified) {
  Header header;
  const auto one_access = [](Writer& writer) { writer.append(0, access(0x1000, 0x1000)); };
  expect_refused(header, one_access, "does not say its architecture");
  header.architecture = Architecture::X86_64;
  expect_refused(header, one_access, "holds no page tables");
  const SideData begin{When::Begin, Stage::Guest, 0, {{"CR0", 0}}, {}};
  SideData pages = begin;
  pages.registers.clear();
  const auto late = [&](const SideData& side) {
    return [&](Writer& writer) {
      writer.append(begin);
      for (int n = 0; n < 3; ++n) writer.append(0, access(0x1000, 0x1000));
      writer.append(side);
    };
  };
  expect_refused(header, late(begin),
                 "expected registers of the begin of vCPU 0 before the records that need them, "
                 "found them behind record 2 of vCPU 0");
  expect_refused(header, late(pages),
                 "expected page tables of the begin before the records that need them, found them "
                 "behind record 2 of vCPU 0");
}

// What one vCPU has, and its header lacks. Of two vCPUs, one may have come from another trace.
TEST(Verifier, RefusesRecordsOfWhatTheHeaderLacks) {
  const auto of_kind = [](AccessKind kind) {
    Access one = access(0x1000, 0x1000);
    one.instructions = 0;
    one.size = 0;
    one.kind = kind;
    return one;
  };
  Access sized = of_kind(AccessKind::Read), counted = sized, dependent = sized, nested = sized;
  sized.size = 8;
  counted.instructions = 1;
  dependent.flags |= kDependent;
  nested.flags |= kHpaKnown;
  const GuestFence fence{FenceScope::All, 0, {}, 0, 0, Precision::Exact};
  const std::pair<Lack, std::variant<Access, EventDetail>> all[] = {
      {kNoGva, of_kind(AccessKind::Read)},
      {kNoGpa, of_kind(AccessKind::Write)},
      {kNoHpa, nested},
      {kNoSize, sized},
      {kNoInstructions, counted},
      {kNoDependence, dependent},
      {kNoFetches, of_kind(AccessKind::Fetch)},
      {kNoSpaces, SpaceSwitch{0, 0, Precision::Exact}},
      {kNoFences, fence},
      {kNoHypervisor, HypervisorOperation{}}};
  std::size_t bit = 0;
  for (const auto& [lack, record] : all) {
    ASSERT_EQ(lack, u64{1} << bit);
    const std::string name(kLackNames[bit++]);
    const auto file = [&, lack = lack, &record = record](u32 vcpus, u32 with) {
      Header header;
      header.architecture = Architecture::X86_64;
      header.vcpus = vcpus;
      header.lacks = lack;
      MemorySink sink;
      Writer writer(sink, header);
      writer.append(SideData{When::Begin, Stage::Guest, 0, {{"CR0", 0}}, {}});
      for (u32 vcpu = 0; vcpu < with; ++vcpu) {
        writer.append(vcpu, Event{0, VmEntry{}});
        if (const auto* one = std::get_if<Access>(&record)) writer.append(vcpu, *one);
        if (const auto* one = std::get_if<EventDetail>(&record)) {
          writer.append(vcpu, Event{0, *one});
        }
      }
      writer.finish();
      return sink.bytes();
    };
    EXPECT_NO_THROW(verify(file(2, 1))) << name;
    const auto expect = [&](u32 vcpus, const std::string& place) {
      EXPECT_THAT([&] { verify(file(vcpus, vcpus)); },
                  testing::ThrowsMessage<InputError>(
                      HasSubstr("expected record 1 of vCPU " + place + ", found some")));
    };
    expect(1, "0 to have no '" + name + "', which the header lacks");
    expect(2, "1 to have no '" + name + "', which the header lacks and all other vCPUs have");
  }
}

TEST(Verifier, ASpaceThatWasInferredContradictsNoHeader) {
  Header header;
  header.architecture = Architecture::X86_64;
  header.lacks = kNoSpaces;
  MemorySink sink;
  Writer writer(sink, header);
  writer.append(SideData{When::Begin, Stage::Guest, 0, {{"CR0", 0}}, {}});
  for (const Precision precision : {Precision::Widened, Precision::Inferred}) {
    writer.append(0, Event{0, SpaceSwitch{0, 0, precision}});
  }
  writer.finish();
  EXPECT_NO_THROW(verify(sink.bytes()));
}

}  // namespace
}  // namespace nestwalk::traces::verifier_test
