// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What is written is what is read.

#include <gmock/gmock.h>

#include "random_trace.hpp"

namespace nestwalk::traces::codec_test {
namespace {

using testing::HasSubstr;

Access read_of(u64 gva, u16 size = 8) {
  return {Gva(gva), Gpa(), Hpa(), 1, size, AccessKind::Read, kGvaKnown};
}

Access nested_read(u64 gva, u64 gpa, u64 hpa, u16 size) {
  return {Gva(gva), Gpa(gpa), Hpa(hpa), 1, size, AccessKind::Read, kAddressesKnown};
}

TEST(Codec, EveryEventKindComesBack) {
  Random random(1);
  Stream stream;
  for (u64 kind = 0; kind < std::variant_size_v<EventDetail>; ++kind) {
    stream.emplace_back(Event{kind, random_detail(random, kind)});
    stream.emplace_back(read_of(0x1000 * kind));
  }
  EXPECT_EQ(read_all(file_of({stream})).streams[0], stream);
}

TEST(Codec, RandomStreamsWithExtremesComeBack) {
  for (u64 seed = 0; seed < 60; ++seed) {
    Random random(seed);
    std::vector<Stream> streams(1 + random.below(4));
    for (Stream& stream : streams) {
      stream = random_stream(random, random.below(3000), seed % 3 * 10);
    }
    const Writer::Options options{.block_records = static_cast<u32>(1 + random.below(1000))};
    const Contents contents = read_all(file_of(streams, options));
    ASSERT_EQ(contents.error, "") << "seed " << seed;
    ASSERT_EQ(contents.streams, streams) << "seed " << seed;
  }
}

TEST(Codec, MoreShapesThanTokensComeBack) {
  // Each instruction count makes a shape of its own: 1000 shapes, 255 of them with a token.
  Stream stream;
  for (u32 n = 0; n < 3000; ++n) {
    Access access = read_of(0x7000 + 8 * u64{n});
    access.instructions = n % 1000;
    stream.emplace_back(access);
  }
  EXPECT_EQ(read_all(file_of({stream})).streams[0], stream);
}

TEST(Codec, EveryKnownSizeAndDistanceLengthComesBack) {
  Stream stream;
  for (u32 size = 0; size <= kPageBytes; ++size) {
    stream.emplace_back(read_of(0x5000, static_cast<u16>(size)));
  }
  for (unsigned bits = 0; bits < 64; ++bits) {
    stream.emplace_back(read_of(0, 1));
    stream.emplace_back(read_of(u64{1} << bits, 1));
    stream.emplace_back(read_of(u64{0} - (u64{1} << bits), 1));
  }
  EXPECT_EQ(read_all(file_of({stream})).streams[0], stream);
}

TEST(Codec, PagesOfDifferentAddressSpacesMayHaveTheSameNumber) {
  Stream stream;
  for (u64 turn = 0; turn < 100; ++turn) {
    const u64 space = turn % 2;
    stream.emplace_back(Event{0, SpaceSwitch{0x1000 * space, space, Precision::Exact}});
    stream.emplace_back(nested_read(0x7000, 0x10000 * (space + 1), 0x90000 * (space + 1), 8));
  }
  EXPECT_EQ(read_all(file_of({stream})).streams[0], stream);
}

TEST(Codec, PageThatMovesIsFollowed) {
  Stream stream;
  for (u64 turn = 0; turn < 10; ++turn) {
    stream.emplace_back(nested_read(0x7010, 0x5010, 0x1000 * turn + 0x10, 8));
  }
  EXPECT_EQ(read_all(file_of({stream})).streams[0], stream);
}

TEST(Codec, AccessThatCrossesAPageBecomesTwoRecords) {
  MemorySink sink;
  Writer writer(sink, Header{});
  const Access second = nested_read(0, 0x9000, 0x3000, 0);
  writer.append(0, nested_read(0x1ffd, 0x5ffd, 0x8ffd, 8), &second);
  writer.finish();
  // 3 bytes up to the boundary at 0x2000, then 5, which belong to the same instruction.
  const Access head = nested_read(0x1ffd, 0x5ffd, 0x8ffd, 3);
  Access tail = nested_read(0x2000, 0x9000, 0x3000, 5);
  tail.instructions = 0;
  tail.flags |= kContinues;
  EXPECT_EQ(read_all(sink.bytes()).streams[0], (Stream{head, tail}));
}

TEST(Codec, AccessOfSeveralPagesWithOneAddressIsDivided) {
  MemorySink sink;
  Writer writer(sink, Header{});
  writer.append(0, read_of(0x1800, 0x2000));
  writer.finish();
  const Contents contents = read_all(sink.bytes());
  ASSERT_EQ(contents.streams[0].size(), 3U);
  // 0x800 bytes to 0x2000, 0x1000 to 0x3000, the other 0x800.
  const u16 sizes[] = {0x800, 0x1000, 0x800};
  for (unsigned n = 0; n < 3; ++n) {
    EXPECT_EQ(std::get<Access>(contents.streams[0][n]).size, sizes[n]);
  }
}

TEST(Codec, RecordsThatCannotBeAreRefused) {
  MemorySink sink;
  Writer writer(sink, header_for(2));
  Access access = nested_read(0x1000, 0x1001, 0x1000, 8);
  EXPECT_THROW(writer.append(0, access), RecordError);  // offsets in the page differ
  access = read_of(0x1000);
  access.flags = 0;
  EXPECT_THROW(writer.append(0, access), RecordError);  // no address at all
  access = read_of(0x1000);
  access.flags |= 0x80;
  EXPECT_THROW(writer.append(0, access), RecordError);  // a flag that there is not
  access = nested_read(0x1ffd, 0x5ffd, 0x8ffd, 8);
  EXPECT_THROW(writer.append(0, access), RecordError);  // where is the second page?
  EXPECT_THROW(writer.append(2, read_of(0)), RecordError);
  EXPECT_THROW(writer.append(0, Event{0, PhaseMarker{0, std::string(4097, 'x')}}), RecordError);
}

TEST(Codec, RefusedRecordLeavesTheStreamAsItWas) {
  MemorySink sink;
  Writer writer(sink, Header{});
  writer.append(0, read_of(0x1000));
  EXPECT_THROW(writer.append(0, nested_read(0x1000, 1, 2, 8)), RecordError);
  writer.append(0, read_of(0x1008));
  writer.finish();
  EXPECT_EQ(read_all(sink.bytes()).streams[0], (Stream{read_of(0x1000), read_of(0x1008)}));
}

TEST(Codec, HeaderComesBack) {
  Header header;
  header.architecture = Architecture::RiscV64;
  header.mode = Mode::Nested;
  header.vcpus = 3;
  header.lacks = kNoFences | kNoDependence;
  header.guest_tables = "riscv64-3";
  header.host_tables = "riscv64-5";
  header.producer = "test 1.0";
  header.command = "test --with \"quotes\"";
  header.memory = {{Stage::Guest, 0x80000000, u64{1} << 30, "ram"}, {Stage::Host, 0, ~u64{0}, ""}};
  header.provenance = {{"kernel", "6.1"}, {"", ""}};
  MemorySink sink;
  Writer(sink, header).finish();
  EXPECT_EQ(Reader(source_of(sink.bytes())).header(), header);
}

TEST(Codec, SideDataComesBack) {
  SideData side{When::End, Stage::Host, 0, {{"ncr3", 0x1000}, {"asid", 7}}, {}};
  Random random(5);
  // 40 MiB do not fit into one section.
  for (u64 n = 0; n < 10240; ++n) {
    side.pages.push_back(page_of(n * kPageBytes, static_cast<u8>(random.next())));
  }
  const Contents contents = read_all(file_of({{}}, {}, {side}));
  ASSERT_GT(contents.side.size(), 1U);
  SideData joined = contents.side[0];
  for (std::size_t n = 1; n < contents.side.size(); ++n) {
    EXPECT_TRUE(contents.side[n].registers.empty());
    joined.pages.insert(joined.pages.end(), contents.side[n].pages.begin(),
                        contents.side[n].pages.end());
  }
  EXPECT_EQ(joined, side);
}

TEST(Codec, ClockCountsInstructionsAndObeysTimeSync) {
  Stream stream = {read_of(0), Event{4, TimeSync{100}}, read_of(0), Event{1, TimeSync{50}},
                   read_of(0)};
  const std::vector<u8> file = file_of({stream});
  Reader reader(source_of(file));
  std::vector<u64> times;
  while (reader.next() == Reader::Item::Records) {
    u64 time = reader.chunk().time;
    for (const Access& access : reader.chunk().accesses) {
      times.push_back(time = time_after(time, access));
    }
    if (reader.chunk().event != nullptr) times.push_back(time_after(time, *reader.chunk().event));
  }
  // 1; 5 becomes 100; 101; 102 is later than 50 and stays; 103.
  EXPECT_EQ(times, (std::vector<u64>{1, 100, 101, 102, 103}));
}

TEST(Codec, CompressionLevelsOutsideOfZstdAreRefused) {
  MemorySink sink;
  EXPECT_THROW(Writer(sink, Header{}, {.level = 100}), RecordError);
  EXPECT_THROW(Writer(sink, Header{}, {.block_records = 0}), RecordError);
  EXPECT_THROW(Writer(sink, Header{}, {.block_records = kMaxBlockRecords + 1}), RecordError);
}

}  // namespace
}  // namespace nestwalk::traces::codec_test
