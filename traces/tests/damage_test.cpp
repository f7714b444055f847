// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What happens when a file is cut, damaged or not a trace at all.

#include <gmock/gmock.h>

#include "random_trace.hpp"

namespace nestwalk::traces::damage_test {
namespace {

using testing::HasSubstr;

constexpr u64 kBlockRecords = 6;

// Two vCPUs of 15 records each: 6 blocks, 6, 6 and 3 records of each.
std::vector<Stream> small_streams() {
  Random random(42);
  return {random_stream(random, 15, 30), random_stream(random, 15, 30)};
}

SideData small_side() {
  return {When::Begin, Stage::Guest, 0, {{"cr3", 0x1000}}, {page_of(0x1000, 1)}};
}

std::vector<u8> small_file() {
  return file_of(small_streams(), {.block_records = kBlockRecords}, {small_side()});
}

/// The records that were read are those that were written, up to a block's end.
void expect_whole_blocks(const Contents& contents, const std::vector<Stream>& written) {
  for (std::size_t vcpu = 0; vcpu < contents.streams.size(); ++vcpu) {
    const Stream& stream = contents.streams[vcpu];
    EXPECT_TRUE(stream.size() % kBlockRecords == 0 || stream.size() == written[vcpu].size());
    ASSERT_LE(stream.size(), written[vcpu].size());
    EXPECT_TRUE(std::equal(stream.begin(), stream.end(), written[vcpu].begin()));
  }
}

TEST(Damage, CutAnywhereGivesTheWholeBlocksBeforeAndAnError) {
  const std::vector<u8> file = small_file();
  const std::vector<Stream> written = small_streams();
  u64 most = 0;
  for (std::size_t length = 0; length < file.size(); ++length) {
    SCOPED_TRACE(length);
    const Contents contents = read_all(std::span(file).first(length));
    EXPECT_NE(contents.error, "");
    expect_whole_blocks(contents, written);
    EXPECT_GE(contents.records(), most);
    most = std::max(most, contents.records());
  }
  EXPECT_EQ(most, 30U);
}

TEST(Damage, CutFileCanBeSalvaged) {
  const std::vector<u8> file = small_file();
  const std::vector<Stream> written = small_streams();
  for (std::size_t length = 200; length < file.size(); ++length) {
    SCOPED_TRACE(length);
    const Contents strict = read_all(std::span(file).first(length));
    const Contents contents = read_all(std::span(file).first(length), true);
    EXPECT_EQ(contents.error, "");
    EXPECT_EQ(contents.streams, strict.streams);
    EXPECT_FALSE(contents.losses.empty());
  }
}

TEST(Damage, FlippedBitAnywhereIsDetected) {
  // One stream: there are many bits.
  Random random(43);
  const std::vector<Stream> written = {random_stream(random, 9, 30)};
  std::vector<u8> file = file_of(written, {.block_records = kBlockRecords}, {small_side()});
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    SCOPED_TRACE(bit);
    const u8 mask = static_cast<u8>(1 << bit % 8);
    file[bit / 8] ^= mask;
    const Contents contents = read_all(file);
    EXPECT_NE(contents.error, "");
    expect_whole_blocks(contents, written);
    file[bit / 8] ^= mask;
  }
}

TEST(Damage, SalvageLosesOneBlockAtMostForAFlippedBit) {
  std::vector<u8> file = small_file();
  for (std::size_t byte = 0; byte < file.size(); ++byte) {
    SCOPED_TRACE(byte);
    file[byte] ^= 0x10;
    const Contents contents = read_all(file, true);
    EXPECT_EQ(contents.error, "");
    EXPECT_GE(contents.records(), 24U);
    EXPECT_FALSE(contents.losses.empty());
    file[byte] ^= 0x10;
  }
}

TEST(Damage, SalvageFindsTheNextSectionAfterAHole) {
  const std::vector<u8> file = small_file();
  for (std::size_t hole = 200; hole + 90 < file.size(); hole += 7) {
    SCOPED_TRACE(hole);
    std::vector<u8> holed = file;
    const auto at = holed.begin() + static_cast<std::ptrdiff_t>(hole);
    holed.erase(at, at + 5);
    const Contents contents = read_all(holed, true);
    EXPECT_EQ(contents.error, "");
    EXPECT_GE(contents.records(), 18U);  // a hole between two blocks takes both
    EXPECT_FALSE(contents.losses.empty());
  }
}

TEST(Damage, MissingBlockIsNoticed) {
  // Without the third section, which is the first block (header, side data, blocks).
  const std::vector<u8> file = small_file();
  MemorySource source(file);
  SectionReader sections(source, {});
  Section section;
  for (int n = 0; n < 3; ++n) ASSERT_TRUE(sections.next(section));
  ASSERT_EQ(section.type, kBlockSection);
  std::vector<u8> shorter = file;
  const auto at = shorter.begin() + static_cast<std::ptrdiff_t>(section.offset);
  shorter.erase(at, at + static_cast<std::ptrdiff_t>(sections.next_offset() - section.offset));
  EXPECT_THAT(read_all(shorter).error, HasSubstr("expected record 0 of vCPU 0, found record 6"));
}

TEST(Damage, TwoFilesInOneAreNoticed) {
  std::vector<u8> file = small_file();
  const std::vector<u8> copy = file;
  file.insert(file.end(), copy.begin(), copy.end());
  EXPECT_THAT(read_all(file).error,
              HasSubstr("at byte " + std::to_string(copy.size()) +
                        ": expected the end of the file after the footer, found more bytes"));
}

struct Foreign {
  const char* name;
  std::string bytes;
  const char* message;
};

class ForeignFile : public testing::TestWithParam<Foreign> {};

TEST_P(ForeignFile, IsRefusedWithOneLineThatSaysWhatWasExpected) {
  const std::string& text = GetParam().bytes;
  const std::vector<u8> bytes(text.begin(), text.end());
  const std::string error = read_all(bytes).error;
  EXPECT_EQ(error, std::string("file: at byte 0: expected ") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Damage, ForeignFile,
    testing::Values(Foreign{"Empty", "",
                            "a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), found an empty file"},
                    Foreign{"Text", "0 read 0x1000\n",
                            "a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), found '0 read 0'"},
                    Foreign{"Short",
                            "\x7f"
                            "ELF",
                            "a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), found 7f 45 4c 46"},
                    Foreign{"MagicAlone",
                            {"\x89NWT\r\n\x1a\n", 8},
                            "16 bytes of preamble, found the end of the file after 8"}),
    [](const auto& test) { return std::string(test.param.name); });

std::vector<u8> with_version(u16 major, u16 minor) {
  std::vector<u8> file = small_file();
  Preamble preamble;
  std::memcpy(&preamble, file.data(), sizeof preamble);
  preamble.major = major;
  preamble.minor = minor;
  preamble.checksum = crc32c({reinterpret_cast<const u8*>(&preamble), 12});
  std::memcpy(file.data(), &preamble, sizeof preamble);
  return file;
}

TEST(Damage, NewerMajorVersionIsRefusedAndNewerMinorVersionIsRead) {
  EXPECT_EQ(read_all(with_version(2, 3)).error,
            "file: at byte 0: expected version 1 of the format, found version 2.3");
  EXPECT_EQ(read_all(with_version(1, 9)).error, "");
}

/// A file of one section with the right checksums.
std::vector<u8> file_with(u32 type, u32 flags, u64 payload_bytes, std::span<const u8> payload) {
  MemorySink sink;
  SectionWriter writer(sink);
  ByteBuffer header;
  put(header, Header{});
  writer.write(kHeaderSection, header.bytes());
  std::vector<u8> file = sink.bytes();
  SectionFrame frame{{}, type, flags, payload_bytes, crc32c(payload), 0};
  std::memcpy(frame.marker, kMarker, sizeof kMarker);
  frame.checksum = crc32c({reinterpret_cast<const u8*>(&frame), 28});
  ByteBuffer bytes;
  bytes.put(frame);
  bytes.put_bytes(payload);
  file.insert(file.end(), bytes.bytes().begin(), bytes.bytes().end());
  return file;
}

TEST(Damage, AbsurdSectionSizeIsRefusedBeforeItIsAllocated) {
  EXPECT_THAT(read_all(file_with(kBlockSection, 0, u64{1} << 60, {})).error,
              HasSubstr("expected a section of at most 67108864 bytes, found 1152921504606846976"));
}

TEST(Damage, UnknownSectionIsRefusedUnlessOptional) {
  constexpr u32 kFuture = section_type("WHAT");
  EXPECT_THAT(read_all(file_with(kFuture, 0, 0, {})).error,
              HasSubstr("expected a section of a known type, found 'WHAT'"));
  EXPECT_THAT(read_all(file_with(kFuture, kOptionalSection, 0, {})).error,
              HasSubstr("expected a footer"));
}

TEST(Damage, SalvageFindsASectionBehindAnyAmountOfRubbish) {
  // The search looks at 64 KiB at a time; the marker may lie across their boundary.
  const std::vector<u8> file = small_file();
  const auto header_end = file.begin() + 16 + 32 + 10;
  for (std::size_t length = 65'500; length < 65'600; ++length) {
    std::vector<u8> rubbish(file.begin(), header_end);
    rubbish.insert(rubbish.end(), length, 0xd4);  // the marker's first byte
    rubbish.insert(rubbish.end(), header_end, file.end());
    const Contents contents = read_all(rubbish, true);
    EXPECT_EQ(contents.records(), 30U) << length;
    EXPECT_EQ(contents.losses.size(), 1U) << length;
  }
}

TEST(Damage, AbsurdCountInTheHeaderIsRefusedBeforeItIsAllocated) {
  // Architecture, mode, vCPUs, lacks, four texts; then 2^42 - 1 memory ranges and no more bytes.
  const std::vector<u8> header = {0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
  MemorySink sink;
  SectionWriter(sink).write(kHeaderSection, header);
  EXPECT_THAT(read_all(sink.bytes()).error,
              HasSubstr("expected a number of memory ranges from 0 to 4096, found 4398046511103"));
}

struct AbsurdBlock {
  const char* name;
  void (*change)(BlockHeader&);
  const char* message;
};

class AbsurdBlockHeader : public testing::TestWithParam<AbsurdBlock> {};

TEST_P(AbsurdBlockHeader, IsRefused) {
  BlockHeader block;
  GetParam().change(block);
  const std::span<const u8> payload(reinterpret_cast<const u8*>(&block), sizeof block);
  EXPECT_THAT(read_all(file_with(kBlockSection, 0, payload.size(), payload)).error,
              HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Damage, AbsurdBlockHeader,
    testing::Values(
        AbsurdBlock{"Vcpu", [](BlockHeader& b) { b.vcpu = 1; }, "a vCPU below 1, found 1"},
        AbsurdBlock{"Accesses", [](BlockHeader& b) { b.accesses = ~0U; },
                    "at most 1048576 accesses in a block, found 4294967295"},
        AbsurdBlock{"Events", [](BlockHeader& b) { b.events = 1 << 21; },
                    "at most 1048576 events in a block"},
        AbsurdBlock{"Shapes", [](BlockHeader& b) { b.shapes = 256; },
                    "at most 255 shapes in a block"},
        AbsurdBlock{"Tokens", [](BlockHeader& b) { b.accesses = 5; }, "5 tokens, found 0"},
        AbsurdBlock{"Distances", [](BlockHeader& b) { b.columns[kDeltas].raw = ~0U; },
                    "at most 0 bytes of distances"},
        AbsurdBlock{"EventBytes", [](BlockHeader& b) { b.columns[kEvents].raw = 1; },
                    "at most 0 bytes of events"},
        AbsurdBlock{"Stored", [](BlockHeader& b) { b.columns[kFrames].stored = ~0U; },
                    "columns of 4294967295 bytes, found 0"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Damage, AbsurdSideDataSizeIsRefusedBeforeItIsAllocated) {
  const u8 payload[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
  EXPECT_THAT(read_all(file_with(kSideSection, 0, 8, payload)).error,
              HasSubstr("a size of side data below"));
}

}  // namespace
}  // namespace nestwalk::traces::damage_test
