// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the stream of a recording says, and what it converts to.

#include "recording_fixture.hpp"

namespace nestwalk::traces::recording_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Recording, AccessesOfAProgramHaveVirtualAddressesOnly) {
  const Folder folder;
  // A read of 8 bytes at 0x1000 after one instruction: kind 0, size 3, frame follows, and 1 << 6.
  // zigzag(0x1000) is 0x2000: 0x80 0x40. The frame is 0, none.
  // A write of 4 bytes at 0xff8: 8 back is zigzag 15, in a page that is new: frame 0.
  // A fetch of 12 bytes at 0x20, after 300 instructions (0xac 0x02): sizes follow those.
  folder.write(
      "stream",
      header(kX86, 2) +
          chunk(0, 3, bytes({0x6c, 0x80, 0x40, 0, 0x29, 15, 0, 0xfe, 0xac, 0x02, 12, 0x40, 0})) +
          last_chunk({.reads = 1, .writes = 1, .fetches = 1}));
  const Converted converted = convert(folder);
  EXPECT_THAT(converted.lines, ElementsAre("0 0 1 read gva=0x1000 size=8 instructions=1",
                                           "0 1 1 write gva=0xff8 size=4 instructions=0",
                                           "0 2 301 fetch gva=0x20 size=12 instructions=300"));
  EXPECT_EQ(converted.header.mode, Mode::User);
  EXPECT_EQ(converted.header.lacks,
            kNoGpa | kNoHpa | kNoDependence | kNoSpaces | kNoFences | kNoHypervisor);
  EXPECT_TRUE(converted.losses.empty());
}

TEST(Recording, AFrameHoldsForItsPageUntilTheChunkEnds) {
  const Folder folder;
  // Reads of 1 byte at 0x1000 and 0x1001; page number 5 in memory: (5 << 1) + 1 is 11.
  const std::string payload = bytes({0x20, 0x80, 0x40, 11, 0x00, 2});
  folder.write("registers.begin", kX86Registers);
  // In the next chunk addresses begin at 0 again.
  folder.write("stream", header(kX86, 1) + chunk(0, 2, payload) +
                             chunk(0, 1, bytes({0x20, 0x80, 0x40, 0}), 1) +
                             last_chunk({.chunks = 2, .reads = 3}));
  EXPECT_THAT(convert(folder).lines,
              ElementsAre("0 0 0 read gva=0x1000 gpa=0x5000 size=1 instructions=0",
                          "0 1 0 read gva=0x1001 gpa=0x5001 size=1 instructions=0",
                          "0 2 0 read gva=0x1000 size=1 instructions=0"));
}

// RISC-V with Sv39: satp is mode 8, the root's page number. A leaf with V, R and W is page number
// << 10 | 7, a table page number << 10 | 1.
constexpr u64 table_of(u64 page) { return page << 10 | 1; }
constexpr u64 leaf_of(u64 page) { return page << 10 | 7; }

TEST(Recording, AnAccessAcrossPagesGetsItsSecondFrameFromTheTables) {
  const Folder folder;
  folder.write("registers.begin", "satp 0x8000000000000100\n");
  folder.write("tables.begin.guest",
               tables({{0x100000, {{0, table_of(0x101)}}},
                       {0x101000, {{0, table_of(0x102)}}},
                       {0x102000, {{1, leaf_of(0x200)}, {2, leaf_of(0x300)}}}}));
  // A read of 8 bytes at 0x1ffc, which lies at 0x200ffc: (0x200 << 1) + 1 is 0x401: 0x81 0x08.
  folder.write("stream", header(kRiscv, 1 | 8) +
                             chunk(0, 1, bytes({0x2c, 0xf8, 0x7f, 0x81, 0x08})) +
                             last_chunk({.reads = 1}));
  const Converted converted = convert(folder);
  EXPECT_THAT(converted.lines,
              ElementsAre("0 0 0 read gva=0x1ffc gpa=0x200ffc size=4 instructions=0",
                          "0 1 0 read gva=0x2000 gpa=0x300000 size=4 instructions=0 continues"));
  EXPECT_EQ(converted.header.guest_tables, "riscv64-3");
}

TEST(Recording, ANestedAccessGetsItsGuestPhysicalAddressFromTheTables) {
  const Folder folder;
  folder.write("registers.begin", "satp 0x8000000000000100\nhgatp 0x8000700000000400\n");
  folder.write("tables.begin.guest", tables({{0x100000, {{0, table_of(0x101)}}},
                                             {0x101000, {{0, table_of(0x102)}}},
                                             {0x102000, {{1, leaf_of(0x200)}}}}));
  folder.write("tables.begin.host", tables({}));
  // Entry, a read at 0x1008 that ends at host page 9, the leaf's change to 0x201 (the address of
  // the entry is 0x102008: 0x88 0xc0 0x40), the read again, and the exit.
  const std::string read = bytes({0x2c, 0x90, 0x40, 19}), again = bytes({0x0c, 0});
  const std::string entry = bytes({0x1b, 12, 0, 0x88, 0xc0, 0x40}) + raw(leaf_of(0x201));
  folder.write("stream",
               header(kRiscv, 1 | 4 | 8) +
                   chunk(0, 5, bytes({0x0b, 1, 0}) + read + entry + again + bytes({0x0f, 0})) +
                   last_chunk({.reads = 2, .events = 3}));
  const Converted converted = convert(folder);
  EXPECT_THAT(converted.lines,
              ElementsAre("0 0 0 entry vmid=0x7 instructions=0",
                          "0 1 0 read gva=0x1008 gpa=0x200008 hpa=0x9008 size=8 instructions=0",
                          "0 2 0 table stage=guest address=0x102008 value=0x80407 instructions=0",
                          "0 3 0 read gva=0x1008 gpa=0x201008 hpa=0x9008 size=8 instructions=0",
                          "0 4 0 exit reason=0x0 info=0x0 gpa=0x0 instructions=0"));
  EXPECT_EQ(converted.header.mode, Mode::Nested);
  EXPECT_EQ(converted.header.host_tables, "riscv64-3");
}

TEST(Recording, AnExitTellsWhatTheHypervisorFound) {
  const Folder folder;
  folder.write("registers.begin", "satp 0\nhgatp 0x8000000000000000\n");
  const std::string entry = bytes({0x0b, 1, 0}), exit = bytes({0x0f, 0});
  // A guest-page fault of a load (21) at 0x5000: scause is 51, htval 52 has the address >> 2, and
  // htinst 53 is 0x2003. Then one of which nothing is known.
  const std::string states = bytes({0x1f, 2, 51, 21}) + bytes({0x1f, 3, 52, 0x80, 0x28}) +
                             bytes({0x1f, 3, 53, 0x83, 0x40});
  folder.write("stream", header(kRiscv, 1 | 4) + chunk(0, 7, entry + exit + states + entry + exit) +
                             last_chunk({.events = 7}));
  EXPECT_THAT(convert(folder).lines,
              ElementsAre("0 0 0 entry vmid=0x0 instructions=0",
                          "0 1 0 exit reason=0x15 info=0x2003 gpa=0x5000 instructions=0",
                          "0 2 0 entry vmid=0x0 instructions=0",
                          "0 3 0 exit reason=0x0 info=0x0 gpa=0x0 instructions=0"));
}

TEST(Recording, SeveralVcpusHaveRegistersOfTheirOwnAndAnOrder) {
  const Folder folder;
  folder.write("registers.begin", "satp 0x8000000000000001\n");
  folder.write("registers.begin.1", "satp 0x8000000000000002\n");
  constexpr u32 kOrdered = 16;
  // vCPU 1 goes on at clock 5 and switches to ASID 1; what it had before is its own register.
  const std::string time = bytes({0x23, 1, 5});
  const std::string to_satp = bytes({0x03, 12, 32, 1}) +
                              bytes({0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x84, 0x80, 0x80, 0x01});
  folder.write("stream", header(kRiscv, 1 | kOrdered, 2) + chunk(0, 1, bytes({0x60, 2, 0})) +
                             chunk(1, 2, time + to_satp, 1) +
                             last_chunk({.chunks = 2, .reads = 1, .events = 2}));
  const Converted converted = convert(folder);
  EXPECT_THAT(
      converted.lines,
      ElementsAre("0 0 1 read gva=0x1 size=1 instructions=1", "1 0 5 time time=0x5 instructions=0",
                  "1 1 5 space root=0x2000 asid=0x1 precision=exact instructions=0"));
  EXPECT_EQ(converted.header.lacks & kNoOrder, 0u);
}

TEST(Recording, ATableEventWritesOnlyWhatDiffers) {
  const Folder folder;
  folder.write("registers.begin", "satp 0\n");
  folder.write("tables.begin.guest", tables({{0x1000, {{1, 0x11}, {2, 0x22}}}}));
  // The page 0x1000 (0x80 0x20) as a table of level 0 with entry 2 as before and entry 5 new.
  const std::string payload =
      bytes({0, 0x80, 0x20, 0, 2}) + raw<u64>(0x22) + bytes({3}) + raw<u64>(0x55);
  folder.write("stream",
               header(kRiscv, 1 | 8) +
                   chunk(0, 1, bytes({0x17, static_cast<int>(payload.size())}) + payload) +
                   last_chunk({.events = 1}));
  EXPECT_THAT(convert(folder).lines,
              ElementsAre("0 0 0 table stage=guest address=0x1008 value=0x0 instructions=0",
                          "0 1 0 table stage=guest address=0x1028 value=0x55 instructions=0"));
}

TEST(Recording, SwitchesAndFencesOfX86) {
  const Folder folder;
  // PCIDE (bit 17) is on: the low twelve bits of CR3 are the PCID.
  folder.write("registers.begin", "CR0 0x80000001\nCR3 0x1000\nCR4 0x20020\n");
  const std::string to_cr3 = bytes({0x03, 4, 3, 1, 0x83, 0x40});  // CR3 = 0x2003
  const std::string keep =                                        // bit 63 and 0x3004
      bytes({0x03, 12, 3, 1, 0x84, 0xe0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01});
  const std::string invlpg = bytes({0x07, 5, 1, 1, 0x80, 0x40, 0});  // of 0x2000
  const std::string lost = bytes({0x07, 3, 1, 2, 0});                // of what, is lost
  folder.write("stream", header(kX86, 1) + chunk(0, 4, to_cr3 + keep + invlpg + lost) +
                             last_chunk({.events = 4}));
  EXPECT_THAT(
      convert(folder).lines,
      ElementsAre(
          "0 0 0 space root=0x2000 asid=0x3 precision=exact instructions=0",
          "0 1 0 fence scope=asid flags=0x0 gva=0x0 bytes=0x0 asid=0x3 precision=exact "
          "instructions=0",
          "0 2 0 space root=0x3000 asid=0x4 precision=exact instructions=0",
          "0 3 0 fence scope=address+asid flags=0x1 gva=0x2000 bytes=0x0 asid=0x4 precision=exact "
          "instructions=0",
          "0 4 0 fence scope=all flags=0x1 gva=0x0 bytes=0x0 asid=0x0 precision=widened "
          "instructions=0"));
}

TEST(Recording, RegistersThatControlTranslationAreControlRecords) {
  const Folder folder;
  folder.write("registers.begin", "CR0 0x80000011\nCR3 0x1000\nCR4 0x20\n");
  // CR4 (register 4) = 0x1020, twice: only the first changes it. CR0 = 0x11 flushes.
  const std::string to_cr4 = bytes({0x03, 4, 4, 1, 0xa0, 0x20});
  const std::string to_cr0 = bytes({0x03, 3, 0, 1, 0x11});
  const std::string newer = bytes({0x3b, 0});  // kind 14
  folder.write("stream", header(kX86, 1) + chunk(0, 4, to_cr4 + to_cr4 + to_cr0 + newer) +
                             last_chunk({.events = 4}));
  const Converted converted = convert(folder);
  EXPECT_THAT(converted.lines,
              ElementsAre("0 0 0 control name=\"CR4\" value=0x1020 instructions=0",
                          "0 1 0 control name=\"CR0\" value=0x11 instructions=0",
                          "0 2 0 fence scope=all flags=0x1 gva=0x0 bytes=0x0 asid=0x0 "
                          "precision=exact instructions=0"));
  EXPECT_THAT(converted.losses, ElementsAre(HasSubstr("events of unknown kinds: 1")));
}

TEST(Recording, AnotherRootOfTheSecondStageIsAControlRecord) {
  const Folder folder;
  folder.write("registers.begin", "satp 0\nhgatp 0x10\n");
  const std::string exit = bytes({0x0f, 0}), entry = bytes({0x0b, 1, 0});
  // Behind the exit: satp (32) is the hypervisor's own; hgatp (34) is 0 between guests, then 0x20.
  const std::string satp = bytes({0x03, 3, 32, 1, 5}), none = bytes({0x03, 3, 34, 1, 0});
  const std::string other = bytes({0x03, 3, 34, 1, 0x20});
  folder.write("stream", header(kRiscv, 1 | 4) +
                             chunk(0, 6, exit + satp + none + other + other + entry) +
                             last_chunk({.events = 6}));
  EXPECT_THAT(convert(folder).lines,
              ElementsAre("0 0 0 exit reason=0x0 info=0x0 gpa=0x0 instructions=0",
                          "0 1 0 control name=\"hgatp\" value=0x20 instructions=0",
                          "0 2 0 entry vmid=0x0 instructions=0"));
}

// The code of a TLBI is op1:CRn:CRm:op2, and CRn is 8.
constexpr u64 tlbi(u64 op1, u64 crm, u64 op2) { return op1 << 11 | 8 << 7 | crm << 3 | op2; }

std::string fence(u64 code, const std::string& operand) {
  const std::string payload = varint(code) + operand + bytes({0});
  return bytes({0x07, static_cast<int>(payload.size())}) + payload;
}

TEST(Recording, FencesOfAArch64) {
  const Folder folder;
  folder.write("registers.begin", kAarch64Registers);
  const std::string exact = bytes({1}), none = bytes({0});
  // vae1is of ASID 5 and address 0xffff'8000'0000'1000: bits 55:12 are 0xff8'0000'0001.
  const std::string page = exact + varint(u64{5} << 48 | 0xff8'0000'0001);
  // rvae1is (CRm 2) from 0x7000: base 7, NUM 1, SCALE 1: (1 + 1) << 6 pages are 0x80 pages.
  const std::string range = exact + varint(u64{5} << 48 | u64{1} << 44 | u64{1} << 39 | 7);
  folder.write("stream", header(kAarch64, 1) +
                             chunk(0, 5,
                                   fence(tlbi(0, 3, 0), none) + fence(tlbi(0, 3, 1), page) +
                                       fence(tlbi(0, 2, 1), range) +
                                       fence(tlbi(4, 0, 1), page) +  // ipas2e1is: not the guest's
                                       fence(tlbi(0, 7, 2), exact + varint(u64{9} << 48))) +
                             last_chunk({.events = 5}));
  EXPECT_THAT(
      convert(folder).lines,
      ElementsAre("0 0 0 fence scope=all flags=0x5 gva=0x0 bytes=0x0 asid=0x0 precision=exact "
                  "instructions=0",
                  "0 1 0 fence scope=address+asid flags=0x5 gva=0xffff800000001000 bytes=0x0 "
                  "asid=0x5 precision=exact instructions=0",
                  "0 2 0 fence scope=address+asid flags=0x5 gva=0x7000 bytes=0x80000 asid=0x5 "
                  "precision=exact instructions=0",
                  "0 3 0 fence scope=asid flags=0x0 gva=0x0 bytes=0x0 asid=0x9 precision=exact "
                  "instructions=0"));
}

TEST(Recording, AStreamThatWasCutOffIsGoodUpToItsLastWholeChunk) {
  const Folder folder;
  const std::string whole = header(kX86, 0) + chunk(0, 1, bytes({0x20, 2, 0}));
  const std::string next = chunk(0, 1, bytes({0x20, 4, 0}), 1);
  for (std::size_t kept = 0; kept < next.size(); ++kept) {
    folder.write("stream", whole + next.substr(0, kept));
    const Converted converted = convert(folder);
    EXPECT_THAT(converted.lines, ElementsAre("0 0 0 read gva=0x1 size=1 instructions=0"));
    EXPECT_THAT(converted.losses, ElementsAre(HasSubstr("cut off")));
  }
}

TEST(Recording, DamageIsAnErrorWithItsPlace) {
  expect_refused("", "at byte 0: expected a recording stream");
  expect_refused(header(9, 0), "expected architecture 1 to 3, found 9");
  expect_refused(header(kX86, 0, 0), "expected 1 to 4096 vCPUs, found 0");
  expect_refused(header(kX86, 0) + std::string(32, 'x'), "at byte 64: expected a chunk");
  expect_refused(header(kX86, 0) + chunk(0, 2, bytes({0x20, 2, 0})),
                 "at byte 96: expected a record");
  expect_refused(header(kX86, 0) + chunk(0, 1, bytes({0x20, 2, 0, 0})),
                 "expected the end of a chunk");
  expect_refused(header(kX86, 0) + chunk(7, 1, bytes({0x20, 2, 0})),
                 "expected a vCPU below 1, found 7");
}

TEST(Recording, AStreamThatContradictsItselfIsAnError) {
  // Two reads, the second after 3 instructions, in chunks of their own.
  const std::string first = header(kX86, 0) + chunk(0, 1, bytes({0x60, 2, 0}), 0, 7);
  const auto second = [](u64 number, u64 instructions) {
    return chunk(0, 1, bytes({0x60, 4, 0}), number, instructions);
  };
  expect_refused(first + second(2, 8),
                 "at byte 99: expected the number of chunks before this one: 1, found 2");
  expect_refused(first + second(1, 9), "expected the vCPU's instruction count 8, found 9");
  const std::string both = first + second(1, 8);
  expect_refused(both + last_chunk({.chunks = 3, .reads = 2}),
                 "chunks before this one: 2, found 3");
  expect_refused(both + last_chunk({.chunks = 2, .reads = 1}),
                 "expected records in all: 1, found 2");
  expect_refused(both + last_chunk({.chunks = 2, .writes = 2}),
                 "expected reads in all: 0, found 2");
  expect_refused(both + last_chunk({.chunks = 2, .reads = 2}) + "x",
                 "expected the end of the stream after its last chunk");
}

TEST(Recording, AStreamThatHoldsMoreThanItsLastChunkSaysWasSeenIsAnError) {
  // Two reads and a write, which ends at instruction 7 + 1 + 1 + 1.
  const auto stream = [](u32 flags) {
    return header(kX86, flags) + chunk(0, 3, bytes({0x60, 2, 0, 0x40, 2, 0x41, 2}), 0, 7);
  };
  const Counts counts{.reads = 2, .writes = 1, .instructions = 10};
  Counts fewer = counts;
  fewer.not_recorded = ~u64{0};  // one less than was recorded
  expect_refused(stream(0) + last_chunk(fewer),
                 "at byte 103: expected at least 3 data accesses seen, found 2");
  fewer = counts;
  fewer.instructions = 9;
  expect_refused(stream(0) + last_chunk(fewer),
                 "at byte 103: expected at least 10 instructions in all, found 9");

  const Folder folder;
  folder.write("registers.begin", kX86Registers);
  Counts more = counts;
  more.not_recorded = 5;
  folder.write("stream", stream(1) + last_chunk(more));
  EXPECT_EQ(convert(folder).lines.size(), 3u);
  // A guest's events can be in an instruction of its hypervisor, which does not count.
  folder.write("stream", stream(1 | 4) + last_chunk(fewer));
  EXPECT_EQ(convert(folder).lines.size(), 3u);
}

TEST(Recording, AClockThatGoesBackIsAnError) {
  constexpr u32 kOrdered = 16;
  // A read after 2 instructions, then a time event after one more: the clock was 2 before it.
  const auto stream = [&](int clock) {
    return header(kX86, kOrdered, 2) + chunk(0, 2, bytes({0xa0, 2, 0, 0x63, 1}) + bytes({clock})) +
           last_chunk({.reads = 1, .events = 1});
  };
  expect_refused(stream(1), "at byte 101: expected a clock of at least 2, found 1");
  const Folder folder;
  folder.write("stream", stream(2));
  EXPECT_THAT(convert(folder).lines, ElementsAre("0 0 2 read gva=0x1 size=1 instructions=2",
                                                 "0 1 3 time time=0x2 instructions=1"));
}

TEST(Recording, AProgramHasNoRegistersOfItsMachine) {
  const std::string stream = header(kX86, 0) + last_chunk({.chunks = 0});
  for (const std::string name : {"registers.begin", "registers.end", "registers.begin.1"}) {
    expect_refused(stream,
                   name +
                       ": line 1: expected the recording of a program, without registers, found "
                       "'CR0'",
                   {{name, "CR0 0x80000011\n"}});
  }
  // invlpg of 0x2000.
  expect_refused(header(kX86, 0) + chunk(0, 1, bytes({0x07, 5, 1, 1, 0x80, 0x40, 0})),
                 "at byte 98: expected the recording of a program, found a fence of a kernel");
  // A program on AArch64 can wait for its stores: dsb is 0x8000 and its option.
  const Folder folder;
  folder.write("registers.begin", "");
  folder.write("stream", header(kAarch64, 0) +
                             chunk(0, 1, bytes({0x07, 5, 0x8b, 0x80, 0x02, 0, 0})) +
                             last_chunk({.events = 1}));
  EXPECT_TRUE(convert(folder).lines.empty());
}

TEST(Recording, RegistersOfAnotherArchitectureAreAnError) {
  const std::string nothing = last_chunk({.chunks = 0});
  expect_refused(header(kX86, 1) + nothing,
                 "registers.begin: line 2: expected a register of x86_64, found 'TCR_EL1'",
                 {{"registers.begin", "CR0 0\nTCR_EL1 0x10\n"}});
  expect_refused(header(kAarch64, 1) + nothing,
                 "registers.end: line 1: expected a register of aarch64, found 'satp'",
                 {{"registers.begin", kAarch64Registers}, {"registers.end", "satp 0\n"}});
  expect_refused(header(kRiscv, 1, 2) + nothing,
                 "registers.begin.1: line 1: expected a register of riscv64, found 'CR3'",
                 {{"registers.begin", "satp 0\n"}, {"registers.begin.1", "CR3 0x1000\n"}});
  // 16 is TTBR0_EL1, 33 is vsatp; 51 is scause, of an exit.
  const std::pair<std::string, std::string> events[] = {
      {bytes({0x03, 3, 16, 1, 0}), "found 'TTBR0_EL1'"},
      {bytes({0x03, 3, 33, 1, 0}), "found 'vsatp'"},
      {bytes({0x1f, 2, 51, 21}), "found 'scause'"}};
  for (const auto& [event, found] : events) {
    expect_refused(header(kX86, 1 | 4) + chunk(0, 1, event) + last_chunk({.events = 1}),
                   "at byte 98: expected a register of x86_64, " + found,
                   {{"registers.begin", kX86Registers}});
  }
}

TEST(Recording, AFrameIsInTheMachinesMemoryUnlessItIsADevices) {
  // A read of 1 byte at 0x1: zigzag 2. The frame is one more than `page << 1 | device`.
  const auto stream = [&](u64 page, u64 device, u32 flags = 1) {
    return header_with_memory(flags) +
           chunk(0, 1, bytes({0x20, 2}) + varint((page << 1 | device) + 1)) +
           last_chunk({.reads = 1});
  };
  const std::map<std::string, std::string> files = {{"registers.begin", kRiscvRegisters}};
  const std::string expected =
      "at byte 96: expected a frame in the machine's memory, 1048576 bytes from 0x40000000 on, "
      "found ";
  // 1 MiB are 256 pages: 0x40000 to 0x400ff.
  expect_refused(stream(0x3ffff, 0), expected + "0x3ffff000", files);
  expect_refused(stream(0x40100, 0), expected + "0x40100000", files);
  expect_refused(stream(0x40100, 0, 1 | 4), expected + "0x40100000", files);
  expect_refused(stream(u64{1} << 52 | 0x40000, 0), "expected a frame below", files);
  const Folder folder;
  folder.write("registers.begin", kRiscvRegisters);
  const auto line = [](const std::string& gpa) {
    return ElementsAre("0 0 0 read gva=0x1 gpa=" + gpa + " size=1 instructions=0");
  };
  folder.write("stream", stream(0x40000, 0));
  EXPECT_THAT(convert(folder).lines, line("0x40000001"));
  folder.write("stream", stream(0x400ff, 0));
  EXPECT_THAT(convert(folder).lines, line("0x400ff001"));
  for (const u64 page : {u64{0x10000}, u64{0x40100}}) {
    folder.write("stream", stream(page, 1));
    EXPECT_THAT(convert(folder).lines, line(in_hex(page << 12 | 1)));
  }
}

TEST(Recording, TablesAreInTheMachinesMemory) {
  const std::map<std::string, std::string> files = {{"registers.begin", kRiscvRegisters},
                                                    {"tables.begin.guest", tables({})}};
  std::map<std::string, std::string> nested = files;
  nested["tables.begin.host"] = tables({});
  const std::string memory = " in the machine's memory, 1048576 bytes from 0x40000000 on, found ";
  // A table event, kind 5: stage, address (0x40100000 is 0x80 0x80 0xc0 0x80 0x04), level; an
  // entry event, kind 6: stage, address, value.
  const auto with = [](u32 flags, const std::string& event) {
    return header_with_memory(flags) + chunk(0, 1, event) + last_chunk({.events = 1});
  };
  const auto table = [&](int stage) {
    return bytes({0x17, 7, stage, 0x80, 0x80, 0xc0, 0x80, 0x04, 0});
  };
  const auto entry = [&](int stage) {
    return bytes({0x1b, 14, stage, 0x80, 0x80, 0xc0, 0x80, 0x04}) + raw<u64>(1);
  };
  const std::string of_table = "expected a page of tables" + memory + "0x40100000";
  const std::string of_entry = "expected an entry of a table" + memory + "0x40100000";
  expect_refused(with(1 | 8, table(0)), of_table, files);
  expect_refused(with(1 | 8, entry(0)), of_entry, files);
  expect_refused(with(1 | 4 | 8, table(1)), of_table, nested);
  expect_refused(with(1 | 4 | 8, entry(1)), of_entry, nested);
  // Tables of a nested guest have its own addresses.
  {
    const Folder folder;
    for (const auto& [name, text] : nested) folder.write(name, text);
    folder.write("stream", with(1 | 4 | 8, entry(0)));
    EXPECT_EQ(convert(folder).lines.size(), 1u);
  }
  for (const std::string moment : {"begin", "end"}) {
    std::map<std::string, std::string> all = files;
    all["registers." + moment] = kRiscvRegisters;
    all["tables." + moment + ".guest"] = tables({{0x3ffff000, {}}});
    const std::string stream = header_with_memory(1 | 8) + last_chunk({.chunks = 0});
    expect_refused(
        stream,
        "tables." + moment + ".guest: at byte 0: expected a page of tables" + memory + "0x3ffff000",
        all);
  }
}

// What a recorder cannot write.

const std::string kEntry = bytes({0x0b, 1, 0}), kExit = bytes({0x0f, 0});
// A read of 1 byte at 0x1, and a phase.
const std::string kRead = bytes({0x20, 2, 0}), kPhase = bytes({0x13, 1, 3});
// The exit states scause (51) = 21 and satp, which is none.
const std::string kScause = bytes({0x1f, 2, 51, 21}), kNoState = bytes({0x1f, 2, 32, 0});

void expect_events_refused(u32 architecture, u32 flags, const std::vector<std::string>& records,
                           const std::string& message, u32 vcpus = 1) {
  std::string payload;
  for (const std::string& record : records) payload += record;
  const std::string registers[] = {kX86Registers, kAarch64Registers, kRiscvRegisters};
  std::map<std::string, std::string> files;
  if ((flags & 1) != 0) files["registers.begin"] = registers[architecture - 1];
  if ((flags & 8) != 0) files["tables.begin.guest"] = tables({});
  if ((flags & 12) == 12) files["tables.begin.host"] = tables({});
  expect_refused(
      header(architecture, flags, vcpus) + chunk(0, static_cast<u32>(records.size()), payload),
      message, files);
}

TEST(Recording, GuestsAreEnteredAndLeftInTurns) {
  const auto refused = [](const std::vector<std::string>& records, const std::string& message) {
    expect_events_refused(kRiscv, 1 | 4, records, message);
  };
  // The payload begins at 96; an exit has 2 bytes, an entry and a read have 3.
  refused({kExit, kRead}, "at byte 98: expected a guest entry before an access, found none");
  refused({kExit, kPhase}, "at byte 100: expected a guest entry before a phase, found none");
  refused({kExit, kExit}, "at byte 100: expected a guest entry before another guest exit");
  refused({kEntry, kEntry}, "at byte 101: expected a guest exit before another guest entry");
  refused({kRead, kEntry}, "at byte 101: expected a guest exit before another guest entry");
  refused({kRead, kScause}, "at byte 101: expected a guest exit before an exit state");
  refused({kExit, kScause, kScause}, "at byte 104: expected the exit state scause once, found two");
  refused({kExit, kNoState}, "expected a register that explains an exit, found 'satp'");
  refused({bytes({0x03, 3, 51, 1, 0})}, "expected a register that is written, found 'scause'");
  refused({bytes({0x03, 2, 32, 0})}, "expected the value that satp gets, found none");
  // A recording may begin on either side, and does not say which.
  for (const std::string& first : {kEntry + kExit + kEntry, kExit + kEntry + kExit}) {
    const Folder folder;
    folder.write("registers.begin", kRiscvRegisters);
    folder.write("stream", header(kRiscv, 1 | 4) + chunk(0, 3, first) + last_chunk({.events = 3}));
    EXPECT_EQ(convert(folder).lines.size(), 3u);
  }
}

TEST(Recording, AnEventNeedsItsFlagInTheHeader) {
  const std::string table = bytes({0x17, 3, 0, 0, 0});
  const std::string entry = bytes({0x1b, 10, 0, 8}) + raw<u64>(1);
  const std::string time = bytes({0x23, 1, 5});
  // A fetch of 1 byte at 0x1: kind 2.
  const std::string fetch = bytes({0x22, 2, 0});
  const auto refused = [](u32 flags, const std::string& record, const std::string& expected,
                          u32 vcpus = 1) {
    expect_events_refused(kRiscv, flags, {record},
                          "expected " + expected + ", found flags " + std::to_string(flags), vcpus);
  };
  const std::string guests = "flag 4 (nested guests) in the stream's header, for ";
  refused(1, kEntry, guests + "a guest entry");
  refused(1, kExit, guests + "a guest exit");
  refused(1, kScause, guests + "an exit state");
  refused(1 | 8, bytes({0x17, 3, 1, 0, 0}), guests + "tables of a second stage");
  const std::string followed = "flag 8 (page tables) in the stream's header, for ";
  refused(1, table, followed + "a table");
  refused(1 | 4, entry, followed + "an entry of a table");
  refused(0, bytes({0x03, 3, 32, 1, 0}),
          "flag 1 (whole system) in the stream's header, for a switch");
  refused(0, bytes({0x20, 2, 11}), "flag 1 (whole system) in the stream's header, for a frame");
  refused(0, time, "flag 16 (order of vCPUs) in the stream's header, for a time", 2);
  refused(1, fetch, "flag 2 (fetches) in the stream's header, for a fetch");
  expect_events_refused(kRiscv, 16, {time}, "expected several vCPUs, which times order, found one");
}

TEST(Recording, AnEventHasNothingBehindIt) {
  // As they are, of which the byte before the payload is its size; and with one more byte.
  const std::string events[] = {
      bytes({0x03, 3, 32, 1, 0}), bytes({0x07, 3, 16, 0, 0}),           kEntry, kExit, kPhase,
      bytes({0x17, 3, 0, 0, 0}),  bytes({0x1b, 10, 0, 8}) + raw<u64>(1)};
  for (std::string event : events) {
    ++event[1];
    event += '\0';
    const bool table = event[0] == 0x17;  // it takes the byte for an index
    expect_events_refused(kRiscv, 1 | 4 | 8, {event},
                          table ? "expected an entry" : "expected the end of an event");
  }
  expect_events_refused(kRiscv, 1 | 4, {kExit, bytes({0x1f, 3, 51, 21, 0})},
                        "expected the end of an event");
  expect_events_refused(kRiscv, 16, {bytes({0x23, 2, 5, 0})}, "expected the end of an event", 2);
}

TEST(Recording, TablesAreChecked) {
  const auto refused = [](const std::string& event, const std::string& message) {
    expect_events_refused(kRiscv, 1 | 4 | 8, {event}, message);
  };
  const auto table = [](const std::string& payload) {
    return bytes({0x17, static_cast<int>(payload.size())}) + payload;
  };
  refused(table(bytes({2, 0, 0})), "expected a stage below 2, found 2");
  refused(bytes({0x1b, 10, 3, 8}) + raw<u64>(1), "expected a stage below 2, found 3");
  refused(bytes({0x1b, 10, 0, 12}) + raw<u64>(1),
          "expected the address of an entry, a multiple of 8, found 0xc");
  // 0x1008 is 0x88 0x20.
  refused(table(bytes({0, 0x88, 0x20, 0})),
          "expected the address of a table, a multiple of 4096, found 0x1008");
  // Of Sv57, level 4 is the highest from the leaves.
  refused(table(bytes({0, 0, 5})), "expected a level below 5, found 5");
  // Index 7, then a step of 0.
  refused(table(bytes({0, 0, 0, 7}) + raw<u64>(1) + bytes({0}) + raw<u64>(2)),
          "expected each index of a table once, found 7 twice");
}

TEST(Recording, FencesAreTheArchitectures) {
  const auto refused = [](u32 architecture, const std::string& event, const std::string& message) {
    expect_events_refused(architecture, 1, {event}, message);
  };
  const std::string none = bytes({0});
  refused(kX86, fence(16, none), "expected a fence of x86_64, found 0x10");
  refused(kX86, fence(tlbi(0, 3, 0), none), "expected a fence of x86_64, found 0x418");
  refused(kAarch64, fence(1, none), "expected a fence of aarch64, found 0x1");
  refused(kRiscv, fence(0x800b, none), "expected a fence of riscv64, found 0x800b");
  // invlpg of 0 with a second operand; sfence.w.inval with one; a dsb with one.
  refused(kX86, bytes({0x07, 5, 1, 1, 0, 1, 0}), "expected at most 1 operands of fence 1, found 2");
  refused(kRiscv, fence(22, bytes({1, 0})), "expected at most 0 operands of fence 22, found 1");
  refused(kAarch64, fence(0x800b, bytes({2})), "expected at most 0 operands of fence 32779");
}

TEST(Recording, AccessesAreWhole) {
  // Size 7 says that the size follows: 0 and 8192. 8192 is 0x80 0x40.
  const std::string sizes = "expected the size of an access from 1 to 8191, found ";
  expect_events_refused(kRiscv, 0, {bytes({0x3c, 0, 2, 0})}, sizes + "0");
  expect_events_refused(kRiscv, 0, {bytes({0x3c, 0x80, 0x40, 2, 0})}, sizes + "8192");
  // Nothing is said about the frame of 0x2000 (zigzag of a step of 0x2000 - 1: 0xfe 0x7f).
  expect_events_refused(kRiscv, 0, {kRead, bytes({0x00, 0xfe, 0x7f})},
                        "at byte 96: expected the frame of the page at 0x2000 at its first access "
                        "in the chunk, found none");
}

TEST(Recording, AHeaderThatContradictsItselfIsRefused) {
  expect_refused(header(kRiscv, 8), "expected page tables to be those of a whole system");
  expect_refused(header(kRiscv, 1).replace(56, 1, "x"),
                 "expected zeros in the header's last 16 bytes");
  expect_refused(header(kRiscv, 1).replace(32, 16, raw<u64>(0x1000) + raw<u64>(0x1800)),
                 "expected memory of whole pages, found 6144 bytes from 0x1000 on");
}

TEST(Recording, WhatHasNoPlaceInTheTraceIsCounted) {
  const Folder folder;
  folder.write("registers.begin", kRiscvRegisters);
  // Register 60 and fence 99 are a newer recorder's. hgatp (34) is lost. scause stands behind the
  // record of a switch.
  const std::string newer = bytes({0x03, 3, 60, 1, 0}) + bytes({0x07, 3, 99, 0, 0});
  const std::string lost = bytes({0x03, 2, 34, 2});
  const std::string hgatp = bytes({0x03, 3, 34, 1, 1});
  folder.write("stream", header(kRiscv, 1 | 4) +
                             chunk(0, 6, newer + kExit + lost + hgatp + kScause) +
                             last_chunk({.events = 6}));
  const Converted converted = convert(folder);
  EXPECT_THAT(converted.losses,
              ElementsAre(HasSubstr("events about unknown registers or fences: 2"),
                          HasSubstr("exit states that do not follow their exit: 1"),
                          HasSubstr("writes of second-stage registers whose value is lost: 1")));
  EXPECT_THAT(converted.lines,
              ElementsAre("0 0 0 exit reason=0x0 info=0x0 gpa=0x0 instructions=0",
                          "0 1 0 control name=\"hgatp\" value=0x1 instructions=0"));
}

}  // namespace
}  // namespace nestwalk::traces::recording_test
