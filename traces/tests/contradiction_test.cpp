// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Files whose checksums are right, and whose parts contradict each other: header, blocks, index and
// footer repeat some of what the others say.

#include <gmock/gmock.h>

#include "../testing/container_parts.hpp"
#include "random_trace.hpp"

namespace nestwalk::traces::contradiction_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// HEAD, SIDE, six blocks (of two vCPUs in turn: 6, 6 and 3 records of each), INDX, FOOT.
constexpr std::size_t kHead = 0, kSide = 1, kFirstBlock = 2, kIndex = 8, kFooter = 9;

Parts small_parts() {
  Random random(42);
  const std::vector<Stream> streams = {random_stream(random, 15, 30),
                                       random_stream(random, 15, 30)};
  const SideData side{When::Begin, Stage::Guest, 0, {{"cr3", 0x1000}}, {page_of(0x1000, 1)}};
  return parts_of(file_of(streams, {.block_records = 6}, {side}));
}

std::string error_by_vcpu(std::span<const u8> file) {
  try {
    const u32 vcpus = Reader(source_of(file)).header().vcpus;
    for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) {
      StreamReader reader(source_of(file), vcpu);
      for (Chunk chunk; reader.next(chunk);) continue;
    }
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

std::string error_by_time(std::span<const u8> file) {
  try {
    TimeOrderedReader reader([&] { return source_of(file); });
    for (Chunk chunk; reader.next(chunk);) continue;
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

void expect_error(const Parts& parts, const std::string& message) {
  const std::vector<u8> file = joined(parts);
  for (const std::string& error :
       {read_all(file).error, error_by_vcpu(file), error_by_time(file)}) {
    EXPECT_THAT(error, StartsWith("file: at byte "));
    EXPECT_THAT(error, HasSubstr(message));
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(Contradiction, FileWithoutOneIsWholeForEveryReader) {
  Parts parts = small_parts();
  ASSERT_EQ(parts.size(), 10U);
  const std::vector<u8> file = joined(parts);
  mend_index(parts);
  EXPECT_EQ(joined(parts), file);
  EXPECT_EQ(read_all(file).error, "");
  EXPECT_EQ(error_by_vcpu(file), "");
  EXPECT_EQ(error_by_time(file), "");
}

struct Field {
  const char* name;
  std::size_t offset;
  std::size_t bytes;
  const char* message;
};

void change(Part& part, std::size_t offset, std::size_t bytes, u64 by) {
  if (bytes == 4) {
    add(part, offset, static_cast<u32>(by));
  } else {
    add(part, offset, by);
  }
}

class IndexField : public testing::TestWithParam<Field> {};

TEST_P(IndexField, OfAnyBlockThatDiffersIsAnError) {
  const Field& field = GetParam();
  for (std::size_t block = 0; block < 6; ++block) {
    for (const u64 by : {u64{1}, ~u64{0}, u64{1} << 31}) {
      Parts parts = small_parts();
      change(parts[kIndex], block * sizeof(IndexEntry) + field.offset, field.bytes, by);
      expect_error(parts, std::string("in the index, ") + field.message + " of block " +
                              std::to_string(block) + " at byte ");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Contradiction, IndexField,
    testing::Values(Field{"Offset", offsetof(IndexEntry, offset), 8, "the offset"},
                    Field{"FirstRecord", offsetof(IndexEntry, first_record), 8, "the first record"},
                    Field{"Clock", offsetof(IndexEntry, time), 8, "the clock"},
                    Field{"Vcpu", offsetof(IndexEntry, vcpu), 4, "the vCPU"},
                    Field{"Records", offsetof(IndexEntry, records), 4, "the records"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Contradiction, IndexOfMoreOrFewerBlocksIsAnError) {
  Parts parts = small_parts();
  parts[kIndex].payload.clear();
  expect_error(parts, "expected an index of 6 blocks, found 0");
  parts = small_parts();
  parts[kIndex].payload.resize(5 * sizeof(IndexEntry));
  expect_error(parts, "expected an index of 6 blocks, found 5");
  parts = small_parts();
  parts[kIndex].payload.resize(7 * sizeof(IndexEntry));
  expect_error(parts, "expected the end of the index, found 32 bytes left");
}

TEST(Contradiction, SwappedEntriesOfTheIndexAreAnError) {
  Parts parts = small_parts();
  std::vector<u8>& index = parts[kIndex].payload;
  std::swap_ranges(index.begin(), index.begin() + sizeof(IndexEntry),
                   index.begin() + sizeof(IndexEntry));
  expect_error(parts, "in the index, the offset of block 0");
}

class FooterField : public testing::TestWithParam<Field> {};

TEST_P(FooterField, ThatDiffersIsAnError) {
  for (const u64 by : {u64{1}, ~u64{0}, u64{1} << 63}) {
    Parts parts = small_parts();
    change(parts[kFooter], GetParam().offset, 8, by);
    expect_error(parts, GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(Contradiction, FooterField,
                         testing::Values(Field{"IndexOffset", 0, 8, "the index at byte"},
                                         Field{"Blocks", 8, 8, "blocks:"},
                                         Field{"SideSections", 16, 8, "sections of side data:"},
                                         Field{"Accesses", 24, 8, "accesses:"},
                                         Field{"Events", 32, 8, "events:"}),
                         [](const auto& test) { return std::string(test.param.name); });

// The index agrees with what the blocks say; the stream's own records do not.
class BlockField : public testing::TestWithParam<Field> {};

TEST_P(BlockField, ThatTheRecordsBeforeContradictIsAnErrorThoughTheIndexAgrees) {
  for (std::size_t block = kFirstBlock; block < kIndex; ++block) {
    Parts parts = small_parts();
    change(parts[block], GetParam().offset, GetParam().bytes, 1);
    mend_index(parts);
    expect_error(parts, GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Contradiction, BlockField,
    testing::Values(
        Field{"FirstRecord", offsetof(BlockHeader, first_record), 8, "expected record "},
        Field{"Clock", offsetof(BlockHeader, time), 8, "expected the clock before record "},
        Field{"Root", offsetof(BlockHeader, root), 8, "expected the address space's root before "},
        Field{"Asid", offsetof(BlockHeader, asid), 8, "expected the ASID before record "},
        Field{"Events", offsetof(BlockHeader, events), 4, "expected "},
        Field{"Accesses", offsetof(BlockHeader, accesses), 4, " tokens, found "}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Contradiction, BlockOfAnotherVcpuIsAnErrorThoughTheIndexAgrees) {
  Parts parts = small_parts();
  add(parts[kFirstBlock], offsetof(BlockHeader, vcpu), u32{1});
  mend_index(parts);
  // vCPU 1 has two blocks of its first records now.
  expect_error(parts, "expected record 6 of vCPU 1, found record 0");
  add(parts[kFirstBlock], offsetof(BlockHeader, vcpu), u32{1});
  mend_index(parts);
  expect_error(parts, "expected a vCPU below 2, found 2");
}

TEST(Contradiction, MissingDoubledOrSwappedBlockIsAnErrorThoughTheIndexAgrees) {
  Parts parts = small_parts();
  parts.erase(parts.begin() + kFirstBlock);
  mend_index(parts);
  expect_error(parts, "expected record 0 of vCPU 0, found record 6");
  parts = small_parts();
  parts.insert(parts.begin() + kFirstBlock, Part(parts[kFirstBlock]));
  mend_index(parts);
  expect_error(parts, "expected record 6 of vCPU 0, found record 0");
  parts = small_parts();
  std::swap(parts[kFirstBlock], parts[kFirstBlock + 2]);
  mend_index(parts);
  expect_error(parts, "expected record 0 of vCPU 0, found record 6");
}

TEST(Contradiction, BlockThatTheIndexDoesNotListIsAnError) {
  Parts parts = small_parts();
  const Part last = parts[kIndex - 1];
  parts.insert(parts.begin() + kIndex + 1, last);
  add(parts[kIndex + 1], offsetof(BlockHeader, first_record), u64{3});
  expect_error(parts, "expected the footer after the index, found a block");
  // The last block, left out by the index and the footer.
  parts = small_parts();
  Parts fewer = parts;
  fewer.erase(fewer.begin() + kIndex - 1);
  mend_index(fewer);
  parts[kIndex] = fewer[kIndex - 1];
  parts[kFooter] = fewer[kFooter - 1];
  add(parts[kFooter], 0, u64{sizeof(SectionFrame) + last.payload.size()});
  expect_error(parts, "expected an index of 6 blocks, found 5");
}

TEST(Contradiction, SectionsInAnotherOrderOrNumberAreErrors) {
  Parts parts = small_parts();
  std::rotate(parts.begin() + kSide, parts.begin() + kSide + 1, parts.begin() + kFooter);
  expect_error(parts, "");  // the side data is behind the index, and the offsets are others
  parts = small_parts();
  parts.insert(parts.begin() + kIndex, Part(parts[kIndex]));
  expect_error(parts, "expected the footer after the index, found a second index");
  parts = small_parts();
  parts.erase(parts.begin() + kIndex);
  expect_error(parts, "expected an index before the footer, found none");
  parts = small_parts();
  parts.insert(parts.begin() + kFirstBlock, Part(parts[kHead]));
  expect_error(parts, "expected one header, found a second one");
  parts = small_parts();
  parts.insert(parts.begin() + kFooter, Part(parts[kFooter]));
  expect_error(parts, "expected the end of the file after the footer, found more bytes");
}

TEST(Contradiction, SideDataOfAVcpuThatTheHeaderDoesNotDeclareIsAnError) {
  const SideData side{When::Begin, Stage::Guest, 2, {{"cr3", 1}}, {}};
  const std::vector<u8> file = file_of(std::vector<Stream>(2), {}, {side});
  EXPECT_THAT(read_all(file).error, HasSubstr("expected a vCPU below 2, found 2"));
}

TEST(Contradiction, SalvageReportsAnIndexThatContradictsTheBlocksAndReadsAllOfThem) {
  Parts parts = small_parts();
  parts[kIndex].payload.clear();
  const std::vector<u8> file = joined(parts);
  const Contents contents = read_all(file, true);
  EXPECT_EQ(contents.records(), 30U);
  ASSERT_EQ(contents.losses.size(), 1U);
  EXPECT_THAT(contents.losses[0], HasSubstr("expected an index of 6 blocks, found 0"));
  std::vector<std::string> losses;
  TimeOrderedReader reader([&] { return source_of(file); },
                           [&](const std::string& loss) { losses.push_back(loss); });
  u64 records = 0;
  for (Chunk chunk; reader.next(chunk);) {
    records += chunk.accesses.size() + (chunk.event != nullptr);
  }
  EXPECT_EQ(records, 30U);
  EXPECT_EQ(losses, contents.losses);
}

TEST(Contradiction, SalvageByTimeLosesNothingBehindALostBlock) {
  // Without vCPU 0's first block, whose records 0 to 5 are missing; all others are read.
  Parts parts = small_parts();
  parts.erase(parts.begin() + kFirstBlock);
  const std::vector<u8> file = joined(parts);
  std::vector<std::string> losses;
  TimeOrderedReader reader([&] { return source_of(file); },
                           [&](const std::string& loss) { losses.push_back(loss); });
  u64 records = 0;
  for (Chunk chunk; reader.next(chunk);) {
    records += chunk.accesses.size() + (chunk.event != nullptr);
  }
  EXPECT_EQ(records, 24U);
  ASSERT_EQ(losses.size(), 1U);
  EXPECT_THAT(losses[0], HasSubstr("expected record 0 of vCPU 0, found record 6"));
}

// Architecture, mode, vCPUs, lacks, four texts, memory ranges, provenance.
struct BadHeader {
  const char* name;
  std::vector<u8> payload;
  const char* message;
};

class HeaderField : public testing::TestWithParam<BadHeader> {};

TEST_P(HeaderField, OutOfItsRangeIsAnError) {
  const std::vector<u8> file = joined(Parts{{kHeaderSection, GetParam().payload}});
  EXPECT_EQ(read_all(file).error, std::string("file: at byte 16: expected ") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Contradiction, HeaderField,
    testing::Values(
        BadHeader{
            "Architecture", {4, 0, 1, 0, 0, 0, 0, 0, 0, 0}, "an architecture below 4, found 4"},
        BadHeader{"Mode", {0, 4, 1, 0, 0, 0, 0, 0, 0, 0}, "a mode below 4, found 4"},
        BadHeader{
            "NoVcpus", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "a number of vCPUs from 1 to 4096, found 0"},
        BadHeader{"ManyVcpus",
                  {0, 0, 0x81, 0x20, 0, 0, 0, 0, 0, 0, 0},
                  "a number of vCPUs from 1 to 4096, found 4097"},
        BadHeader{"Lacks",
                  {0, 0, 1, 0x80, 0x10, 0, 0, 0, 0, 0, 0},
                  "a set of what is lacking below 2048, found 2048"},
        BadHeader{"Stage", {0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0}, "a stage below 2, found 2"},
        BadHeader{"Memory",
                  {0,    0,    1,    0,    0,    0,    0,    0, 1, 0, 0xff, 0xff,
                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0},
                  "bytes of a memory range from 0 to 0, found 1"},
        BadHeader{"More",
                  {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
                  "the end of the header, found 1 bytes left"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace nestwalk::traces::contradiction_test
