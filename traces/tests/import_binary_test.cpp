// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The importers of gem5's packets and of DynamoRIO's records, and zip archives. samples/make says
// what the samples hold.

#include <cstring>

#include "import_fixture.hpp"

namespace nestwalk::traces::import_binary_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr u64 kDynamoRioLacks = kNoHpa | kNoDependence | kNoFences | kNoHypervisor;

TEST(Gem5Import, SampleGivesItsRecords) {
  const Imported imported = import_sample(request_for("gem5"), "gem5.gz");
  EXPECT_EQ(imported.stream(), (Stream{gpa(kRead, 0x1f02a4d0, 8), gpa(kWrite, 0x1f02a4f8, 64),
                                       gpa(kFetch, 0x80000100, 4)}));
  EXPECT_EQ(imported.header.lacks, kNoGva | kNoHpa | kNoInstructions | kNoDependence | kNoSpaces |
                                       kNoFences | kNoHypervisor);
  EXPECT_EQ(imported.header.mode, Mode::GuestPhysical);
  EXPECT_THAT(imported.reports, ElementsAre("not in the trace: packets of command 5 (1)"));
}

TEST(Gem5Import, OtherCommandsCanBeReadsAndWrites) {
  ImportRequest request = request_for("gem5");
  request.options = {"reads=1,5"};
  EXPECT_EQ(import_sample(request, "gem5.gz").stream().size(), 4U);
  EXPECT_THROW(import_text("gem5", "gem5", {"reads=x"}), RecordError);
}

TEST(Gem5Import, CutAnywhereIsAnErrorOrEndsAfterAWholePacket) {
  const std::string whole = read_sample("gem5.gz");
  std::size_t good = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string error = import_error("gem5", whole.substr(0, length));
    if (error.empty())
      ++good;
    else
      EXPECT_THAT(error, testing::AnyOf(HasSubstr("expected"), HasSubstr("has no access")));
  }
  EXPECT_EQ(good, 3U);  // After the first, second and third of four packets.
}

TEST(Gem5Import, AbsurdPacketsAreNamed) {
  const std::string header("gem5\x02\x10\x00", 7);
  const auto error = [&](std::string_view packet) {
    return import_error("gem5", header + std::string(packet));
  };
  using namespace std::string_view_literals;
  EXPECT_THAT(error("\xff\xff\x03"sv), HasSubstr("expected a message of at most 32 KiB"));
  EXPECT_THAT(error("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"sv), HasSubstr("the length"));
  EXPECT_THAT(error("\x02\x08\x01"sv), HasSubstr("at byte 8: expected a packet with tick"));
  EXPECT_THAT(error("\x02\x0f\x01"sv), HasSubstr("bytes that are no protobuf"));
  EXPECT_THAT(error("\x09\x08\x01\x10\x01\x18\x01\x20\x81\x20"sv),
              HasSubstr("expected a packet of at most 4096 bytes, found 4097"));
  // Ticks 5 and 4: a read of 8 bytes at address 1 each.
  EXPECT_THAT(error("\x08\x08\x05\x10\x01\x18\x01\x20\x08\x08\x08\x04\x10\x01\x18\x01\x20\x08"sv),
              HasSubstr("expected a packet of tick 5 or later, found tick 4"));
  EXPECT_THAT(import_error("gem5", "gem6"), HasSubstr("expected the magic number gem5"));
}

TEST(DynamoRioImport, RealRecordsGiveTheirAccesses) {
  const Imported imported = import_sample(request_for("dynamorio"), "dynamorio.bin");
  EXPECT_EQ(imported.stream(),
            (Stream{happens(SpaceSwitch{0, 0x1233, Precision::Inferred}),
                    gva(kFetch, 0x402465, 1, 1), gva(kRead, 0x7ffd90c148b0, 8)}));
  EXPECT_EQ(imported.header.lacks, kDynamoRioLacks | kNoGpa);
  EXPECT_EQ(imported.header.architecture, Architecture::X86_64);
}

TEST(DynamoRioImport, MarkersGivePhysicalAddressesThatMayChange) {
  const Imported imported = import_sample(request_for("dynamorio"), "dynamorio.zip");
  Access rest = both(kWrite, 0x501000, 0x3000, 8);
  rest.flags |= kContinues;
  EXPECT_EQ(imported.stream(),
            (Stream{happens(SpaceSwitch{0, 0x1233, Precision::Inferred}),
                    both(kFetch, 0x402465, 0x8465, 1, 1), gva(kRead, 0x7ffd90c148b0, 8),
                    both(kFetch, 0x402466, 0x8466, 2, 1), both(kWrite, 0x500ff8, 0x9ff8, 8), rest,
                    both(kFetch, 0x402468, 0xa468, 3, 1)}));
  EXPECT_EQ(imported.header.lacks, kDynamoRioLacks);
  EXPECT_THAT(imported.reports,
              ElementsAre("not in the trace: physical addresses that were not available (1)",
                          "not in the trace: prefetches (1)"));
}

std::string entry(u16 type, u16 size, u64 value) {
  std::string record(12, '\0');
  std::memcpy(record.data(), &type, 2);
  std::memcpy(record.data() + 2, &size, 2);
  std::memcpy(record.data() + 4, &value, 8);
  return record;
}
// A header, and what every stream says next: thread 5, of process 50.
const std::string kHeader = entry(25, 0, 7), kThread = entry(22, 0, 5), kProcess = entry(24, 0, 50);
const std::string kStart = kHeader + kThread + kProcess;
const std::string kEnd = entry(26, 0, 0);
const Event kSpace = happens(SpaceSwitch{0, 50, Precision::Inferred});

TEST(DynamoRioImport, ThreadsCanBecomeVcpusAndKeepTheirProcess) {
  const std::string trace = kStart + entry(22, 0, 5) + entry(24, 0, 50) + entry(0, 8, 0x1000) +
                            entry(22, 0, 6) + entry(24, 0, 60) + entry(1, 8, 0x2000) +
                            entry(22, 0, 5) + entry(0, 8, 0x1008) + kEnd;
  const Imported threads = import_text("dynamorio", trace, {"streams=threads"});
  ASSERT_EQ(threads.streams.size(), 2U);
  EXPECT_EQ(threads.streams[0],
            (Stream{happens(SpaceSwitch{0, 50, Precision::Inferred}), gva(kRead, 0x1000, 8),
                    happens(TimeSync{2}), gva(kRead, 0x1008, 8)}));
  EXPECT_EQ(threads.streams[1],
            (Stream{happens(TimeSync{1}), happens(SpaceSwitch{0, 60, Precision::Inferred}),
                    gva(kWrite, 0x2000, 8)}));
  EXPECT_EQ(import_text("dynamorio", trace).stream(),
            (Stream{happens(SpaceSwitch{0, 50, Precision::Inferred}), gva(kRead, 0x1000, 8),
                    happens(SpaceSwitch{0, 60, Precision::Inferred}), gva(kWrite, 0x2000, 8),
                    happens(SpaceSwitch{0, 50, Precision::Inferred}), gva(kRead, 0x1008, 8)}));
}

TEST(DynamoRioImport, FileTypeTellsMachineAndMode) {
  // AArch64, instructions filtered, whole system.
  const Imported imported =
      import_text("dynamorio", kStart + entry(28, 9, 0x40088) + entry(0, 8, 0x1000) + kEnd);
  EXPECT_EQ(imported.header.architecture, Architecture::AArch64);
  EXPECT_EQ(imported.header.mode, Mode::FullSystem);
  EXPECT_THAT(imported.reports, ElementsAre(HasSubstr("the tracer filtered some out")));
}

TEST(DynamoRioImport, FileTypeIsTheSameAgain) {
  const std::string access = entry(0, 8, 0x1000);
  // 0x200 says nothing of what is read.
  EXPECT_EQ(
      import_text("dynamorio", kStart + entry(28, 9, 0x40) + entry(28, 9, 0x240) + access + kEnd)
          .stream(),
      (Stream{kSpace, gva(kRead, 0x1000, 8)}));
  for (const u64 other : std::initializer_list<u64>{0xc0, 0x50, 0x140, 0x40040}) {
    EXPECT_THAT(
        import_error("dynamorio",
                     kStart + entry(28, 9, 0x40) + access + entry(28, 9, other) + kEnd),
        testing::EndsWith("expected the file type 0x40, as before, found " + in_hex(other)));
  }
}

TEST(DynamoRioImport, PageWhoseFrameIsNotKnownLosesIt) {
  const std::string markers = entry(28, 15, 0x9000) + entry(28, 17, 0x500000);
  const Imported imported =
      import_text("dynamorio", kStart + markers + entry(10, 10, 0x500ff8) + kEnd);
  EXPECT_EQ(imported.stream(), (Stream{kSpace, both(kFetch, 0x500ff8, 0x9ff8, 8, 1),
                                       gva(kFetch, 0x501000, 2, 0, kContinues)}));
  EXPECT_THAT(imported.reports,
              ElementsAre(HasSubstr("frames of the second page of accesses that cross pages (1)")));
}

TEST(DynamoRioImport, PageThatIsNoLongerAvailableLosesItsFrame) {
  const std::string known = entry(28, 15, 0x9000) + entry(28, 17, 0x500000);
  const std::string gone = entry(28, 16, 0x500008);
  EXPECT_EQ(import_text("dynamorio", kStart + known + entry(0, 8, 0x500008) + gone +
                                         entry(0, 8, 0x500008) + kEnd)
                .stream(),
            (Stream{kSpace, both(kRead, 0x500008, 0x9008, 8), gva(kRead, 0x500008, 8)}));
}

TEST(DynamoRioImport, InstructionsOfAFilteredTraceAreNotCounted) {
  const std::string records = entry(10, 4, 0x1000) + entry(0, 8, 0x2000) + kEnd;
  // Bit 7: the fetches were filtered; bit 8: only the data accesses were.
  const Imported filtered = import_text("dynamorio", kStart + entry(28, 9, 0x80) + records);
  EXPECT_EQ(filtered.stream(), (Stream{kSpace, gva(kFetch, 0x1000, 4, 0), gva(kRead, 0x2000, 8)}));
  EXPECT_EQ(filtered.header.lacks & kNoInstructions, u64{kNoInstructions});
  const Imported whole = import_text("dynamorio", kStart + entry(28, 9, 0x100) + records);
  EXPECT_EQ(whole.stream(), (Stream{kSpace, gva(kFetch, 0x1000, 4, 1), gva(kRead, 0x2000, 8)}));
  EXPECT_EQ(whole.header.lacks & kNoInstructions, 0U);
}

TEST(DynamoRioImport, CutOrAbsurdRecordsAreNamed) {
  const std::string read = entry(0, 8, 0x1000);
  EXPECT_THAT(import_error("dynamorio", kStart + read),
              HasSubstr("at byte 36: expected a footer record"));
  EXPECT_THAT(import_error("dynamorio", kStart + read + "abc"),
              HasSubstr("at byte 48: expected a record of 12 bytes"));
  EXPECT_THAT(import_error("dynamorio", read), HasSubstr("expected a header record (type 25)"));
  EXPECT_THAT(import_error("dynamorio", entry(25, 0, 101)), HasSubstr("expected a version"));
  EXPECT_THAT(import_error("dynamorio", kStart + entry(50, 0, 0)),
              HasSubstr("a type from 0 to 49"));
  EXPECT_THAT(import_error("dynamorio", kStart + entry(17, 0, 0)), HasSubstr("no bundles"));
  EXPECT_THAT(import_error("dynamorio", kStart + entry(0, 65535, 0x1000)),
              HasSubstr("expected an access of at most 16384 bytes, found 65535 bytes"));
  EXPECT_THAT(import_error("dynamorio", kStart + entry(28, 18, 4097)), HasSubstr("a page size"));
}

// Each would make up guest-physical addresses, or accesses of nobody.
TEST(DynamoRioImport, RecordsThatContradictEachOtherAreAnError) {
  const auto error = [](const std::string& records) {
    return import_error("dynamorio", kStart + records + entry(0, 8, 0x7008) + kEnd);
  };
  const auto at = [](u64 physical, u64 address) {
    return entry(28, 15, physical) + entry(28, 17, address);
  };
  EXPECT_EQ(error(entry(28, 18, 2 << 20) + at(0x600123, 0x400123) + entry(28, 18, 2 << 20)), "");
  EXPECT_THAT(error(entry(28, 17, 0x7000)),
              HasSubstr("expected a physical address before its virtual one"));
  EXPECT_THAT(error(at(0x5000, 0x7000) + entry(28, 17, 0x8000)),
              HasSubstr("expected a physical address before its virtual one"));
  EXPECT_THAT(error(entry(28, 15, 0x5000) + at(0x6000, 0x7000)),
              HasSubstr("expected the virtual address of the physical one before"));
  // clients/drcachesim/tools/invariant_checker.cpp: a physical address is "immediately prior" to
  // its virtual one.
  EXPECT_THAT(
      error(entry(28, 15, 0x5000) + entry(0, 8, 0x7000) + entry(28, 17, 0x7000)),
      HasSubstr("expected the virtual address of the physical one before, found type 0 with "
                "value 28672"));
  EXPECT_THAT(error(entry(28, 15, 0x5000) + entry(28, 2, 100)),
              HasSubstr("expected the virtual address of the physical one before, found type 28"));
  EXPECT_THAT(
      import_error("dynamorio", kStart + entry(0, 8, 0x7008) + entry(28, 15, 0x5000) + kEnd),
      HasSubstr("expected the virtual address of the physical one before, found type 26"));
  EXPECT_THAT(error(at(0x55123, 0x7456)),
              HasSubstr("expected a physical address with the offset of 0x7456 in its page, found "
                        "0x55123"));
  EXPECT_THAT(error(entry(28, 18, 4096) + entry(28, 18, 2 << 20)),
              HasSubstr("expected one page size, 4096, found 2097152 as well"));
  EXPECT_THAT(error(at(0x5000, 0x7000) + entry(28, 18, 2 << 20)), HasSubstr("one page size"));
  EXPECT_THAT(error(entry(28, 9, 0x48)), HasSubstr("a file type of one architecture"));
  EXPECT_THAT(error(entry(28, 9, 0x40) + entry(28, 9, 0x08)),
              HasSubstr("expected a trace of x86_64, as --architecture or the input says, found "
                        "aarch64"));
  EXPECT_THAT(error(entry(22, 4, 100) + entry(23, 4, 100)),
              HasSubstr("expected another thread after a thread's exit"));
  EXPECT_THAT(error(kEnd), HasSubstr("expected a header record (type 25)"));
}

// Chunks of 2 instructions, as raw2trace writes them (clients/drcachesim/tracer/raw2trace.cpp):
// each but the last ends with a footer (marker 21) that has its number, from 0 on; the next one
// begins with the ordinal of the record there (22), and the last timestamp (2) and processor (3)
// again. Ordinals count the markers that tools see, but not what begins a chunk; no headers,
// threads, processes and encodings.
const std::string kChunked = kHeader + entry(28, 12, 7) + entry(28, 9, 0x40) + kThread + kProcess;
const std::string kSizeOfChunks = entry(28, 20, 2);
const std::string kTime = entry(28, 2, 100) + entry(28, 3, 1);
const std::string kInstruction = entry(47, 1, 0x90) + entry(10, 1, 0x1000);
const std::string kTwo = kInstruction + kInstruction;
std::string footer(u64 number) { return entry(28, 21, number); }
std::string ordinal(u64 number) { return entry(28, 22, number) + kTime; }
const std::string kFinish = entry(23, 0, 5) + kEnd;

TEST(DynamoRioImport, ChunksThatAreAsTheirMarkersSayAreTaken) {
  // Versions, file type, size, timestamp, processor, two instructions, footer: 8. Then a read, two
  // instructions and a footer: 12.
  const std::string first = kChunked + kSizeOfChunks + kTime + kTwo + footer(0);
  const std::string second = ordinal(8) + entry(0, 8, 0x2000) + kTwo + footer(1);
  EXPECT_EQ(import_error("dynamorio", first + second + ordinal(12) + kInstruction + kFinish), "");
  EXPECT_EQ(import_error("dynamorio", first + second + ordinal(12) + kTwo + kFinish), "");
  EXPECT_EQ(import_error("dynamorio", first + second + kFinish), "");
  // Without an archive there are no chunks: the size is 0, and need not be there.
  EXPECT_EQ(import_error("dynamorio", kChunked + entry(28, 20, 0) + kTwo + kTwo + kFinish), "");
  EXPECT_EQ(import_error("dynamorio", kChunked + kTwo + kTwo + kFinish), "");
  // One stream after another begins anew.
  const std::string whole = first + ordinal(8) + kInstruction + kFinish;
  EXPECT_EQ(import_error("dynamorio", whole + whole), "");
  // Filters take instructions out: fetches (0x80), or data alone (0x100).
  const std::string filtered = kStart + entry(28, 9, 0x1c0) + kSizeOfChunks + kInstruction;
  EXPECT_EQ(import_error("dynamorio", filtered + footer(0) + ordinal(900) + kInstruction + kEnd),
            "");
}

TEST(DynamoRioImport, ChunksThatAreNotAsTheirMarkersSayAreAnError) {
  const std::string start = kChunked + kSizeOfChunks + kTime;
  const std::string first = start + kTwo + footer(0), second = ordinal(8) + kTwo + footer(1);
  const std::string third = ordinal(11) + kTwo + footer(2);
  const std::string last = ordinal(14) + kInstruction + kFinish;
  const auto error = [](const std::string& trace) { return import_error("dynamorio", trace); };
  ASSERT_EQ(error(first + second + third + last), "");
  // A chunk that is missing in the middle, at the begin, before the last; one that is there twice.
  EXPECT_THAT(error(first + third + last),
              HasSubstr("expected a record ordinal from 2 to 8, found 11"));
  EXPECT_THAT(error(first + footer(2)), HasSubstr("expected the footer of chunk 1, found that of "
                                                  "chunk 2"));
  EXPECT_THAT(error(start + second + third + last),
              HasSubstr("expected a record ordinal from 0 to 5, found 8"));
  EXPECT_THAT(error(start + kTwo + footer(1)),
              HasSubstr("expected the footer of chunk 0, found that of chunk 1"));
  // Of seven records since the ordinal 8 the two encodings have none.
  EXPECT_THAT(error(first + second + last),
              HasSubstr("expected a record ordinal from 10 to 13, found 14"));
  EXPECT_THAT(error(first + second + second + last), HasSubstr("expected a record ordinal from "));
  // Instructions that are missing, or too many.
  EXPECT_THAT(error(start + kInstruction + footer(0)),
              HasSubstr("expected 2 instructions in chunk 0, found 1"));
  EXPECT_THAT(error(start + kTwo + kInstruction + footer(0)),
              HasSubstr("expected 2 instructions in chunk 0, found 3"));
  EXPECT_THAT(error(first + ordinal(8) + kTwo + kInstruction + kFinish),
              HasSubstr("expected at most 2 instructions in chunk 1, found 3"));
  EXPECT_THAT(error(kChunked + kTwo + footer(0)),
              HasSubstr("expected the size of chunks before a chunk's footer, found none"));
  EXPECT_THAT(error(start + kTwo + entry(28, 20, 3)),
              HasSubstr("expected chunks of one size, 2 instructions, found 3 as well"));
  // The only footer is lost, alone or with what follows it up to the next instruction.
  EXPECT_THAT(error(start + kTwo + ordinal(7) + kInstruction + kFinish),
              HasSubstr("expected the footer of chunk 0 before a record ordinal, found none"));
  EXPECT_THAT(error(start + kTwo + kInstruction + kFinish),
              HasSubstr("expected at most 2 instructions in chunk 0, found 3"));
  // Data accesses, which count as well.
  const std::string read = entry(0, 8, 0x2000);
  EXPECT_THAT(error(start + kTwo + read + read + footer(0) + entry(28, 22, 3)),
              HasSubstr("expected a record ordinal from 4 to "));
}

// Their accesses would be of nobody, or of the process before.
TEST(DynamoRioImport, AccessesOfAThreadOrProcessThatIsNotToldAreAnError) {
  const auto error = [](const std::string& records) {
    return import_error("dynamorio", records + kEnd);
  };
  const std::string read = entry(0, 8, 0x1000), other = entry(22, 0, 6), exit = entry(23, 0, 5);
  ASSERT_EQ(error(kHeader + kThread + kProcess + read + exit), "");
  EXPECT_THAT(error(kHeader + read + kThread + kProcess + read),
              HasSubstr("expected the record of a thread (type 22) before accesses, found type 0"));
  EXPECT_THAT(error(kHeader + kProcess + read),
              HasSubstr("expected the record of a thread (type 22) before its process"));
  EXPECT_THAT(error(kHeader + exit),
              HasSubstr("expected the record of a thread (type 22) before its exit"));
  EXPECT_THAT(error(kHeader + kThread + read),
              HasSubstr("expected the process of thread 5 before its accesses, found none"));
  EXPECT_THAT(error(kHeader + kThread + kProcess + read + other + read),
              HasSubstr("expected the process of thread 6 before its accesses, found none"));
  // The number 0 is like others.
  EXPECT_THAT(error(kHeader + entry(22, 0, 0) + kProcess + read + exit),
              HasSubstr("expected the exit of thread 0, found that of thread 5"));
  // One stream's thread is not the next one's.
  EXPECT_THAT(error(kHeader + kThread + kProcess + read + exit + kEnd + kHeader + read),
              HasSubstr("expected the record of a thread (type 22) before accesses"));
}

TEST(DynamoRioImport, ThreadsThatContradictThemselvesAreAnError) {
  const auto error = [](const std::string& records) {
    return import_error("dynamorio", kChunked + records + kInstruction + kFinish);
  };
  const auto time = [](u64 value) { return entry(28, 2, value); };
  const auto window = [](u64 number) { return entry(28, 14, number); };
  const auto thread = [](u64 number) { return entry(22, 0, number); };
  // The same time again, and another thread's, which is earlier.
  EXPECT_EQ(error(time(100) + time(100) + thread(6) + time(50) + thread(5) + time(101)), "");
  EXPECT_THAT(error(time(100) + thread(6) + thread(5) + time(99)),
              HasSubstr("expected a timestamp of thread 5 of at least 100, found 99"));
  // Of 32 bits, after 71 minutes.
  EXPECT_EQ(import_error("dynamorio", kStart + entry(28, 9, 0x20) + time(0xffffffff) + time(1) +
                                          kInstruction + kEnd),
            "");
  EXPECT_EQ(error(window(0) + window(3) + thread(6) + window(1) + thread(5)), "");
  EXPECT_THAT(error(window(3) + window(2)),
              HasSubstr("expected a window of thread 5 of at least 3, found 2"));
  EXPECT_EQ(error(entry(24, 0, 50)), "");
  EXPECT_THAT(error(entry(24, 0, 51)),
              HasSubstr("expected process 50 of thread 5, as before, found 51"));
  EXPECT_THAT(error(entry(23, 0, 6)),
              HasSubstr("expected the exit of thread 5, found that of thread 6"));
  // A number that is used again is another thread's.
  EXPECT_EQ(error(time(100) + entry(23, 0, 5) + thread(5) + entry(24, 0, 51) + time(7)), "");
}

TEST(Gem5Import, AFieldOrACommandWithTwoMeaningsIsAnError) {
  const std::string header("gem5\x02\x10\x00", 7);
  // Fields 1 to 4, then field 3, the address, again.
  EXPECT_THAT(import_error("gem5", header + "\x0a\x08\x01\x10\x01\x18\x01\x20\x08\x18\x02"),
              HasSubstr("expected each field of a packet once, found field 3 twice"));
  EXPECT_THROW(import_text("gem5", header, {"reads=1,4"}), RecordError);
}

TEST(ZipSource, MembersAreReadOneAfterTheOther) {
  EXPECT_EQ(import_sample(request_for(""), "lackey.zip").streams,
            import_sample(request_for(""), "lackey.txt").streams);
}

TEST(ZipSource, DamageIsAnError) {
  const std::string deflated = read_sample("dynamorio.zip");
  const std::string stored = read_sample("lackey.zip");
  for (std::size_t length = 4; length < 200; ++length) {
    EXPECT_NE(import_error("dynamorio", deflated.substr(0, length)), "") << length;
    EXPECT_NE(import_error("lackey", stored.substr(0, length)), "") << length;
  }
  std::string flipped = stored;
  flipped[45] ^= 1;  // A letter of the first line.
  EXPECT_THAT(import_error("lackey", flipped), HasSubstr("expected a member with its CRC-32"));
}

// What a tool that reads the directory first would make of it.
TEST(ZipSource, DirectoryThatContradictsTheMembersIsAnError) {
  const std::string archive = read_sample("lackey.zip");
  const std::size_t directory = archive.find("PK\x01\x02"), end = archive.rfind("PK\x05\x06");
  EXPECT_EQ(import_error("lackey", archive), "");
  const auto with = [&](std::size_t offset, char value) {
    std::string changed = archive;
    changed[offset] = value;
    return import_error("lackey", changed);
  };
  EXPECT_THAT(with(22, 1), HasSubstr("expected a member of "));
  EXPECT_THAT(with(directory + 16, static_cast<char>(archive[directory + 16] ^ 1)),
              HasSubstr("expected a member's CRC-32 in the directory, found another one"));
  EXPECT_THAT(with(directory + 24, 1), HasSubstr("bytes when unpacked in the directory, found "));
  EXPECT_THAT(with(directory + 42, 1),
              HasSubstr("expected an entry of the directory for each member, found one more"));
  EXPECT_THAT(with(end + 10, 9), HasSubstr("expected a directory of 1 members, found 9"));
  EXPECT_THAT(import_error("lackey", archive.substr(0, directory) + archive.substr(end)),
              HasSubstr("expected a directory of 1 members, found 0"));
  EXPECT_THAT(import_error("lackey", archive.substr(0, end) + archive.substr(directory)),
              HasSubstr("expected an entry of the directory for each member, found one more"));
  EXPECT_THAT(import_error("lackey", archive.substr(0, end)),
              HasSubstr("expected the end of the directory"));
  EXPECT_THAT(import_error("lackey", archive + "x"), HasSubstr("expected the end of the archive"));
}

}  // namespace
}  // namespace nestwalk::traces::import_binary_test
