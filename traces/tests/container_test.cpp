// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The container: its bytes, its index, and the ways in which it can be read.

#include <gmock/gmock.h>
#include <lzma.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>

#include "nestwalk/traces/spool.hpp"
#include "random_trace.hpp"

namespace nestwalk::traces::container_test {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<u8>;

TEST(Crc32c, HasThePublishedCheckValue) {
  const std::string digits = "123456789";
  const Bytes bytes(digits.begin(), digits.end());
  EXPECT_EQ(crc32c(bytes), 0xE3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

/// Bytes one after the other, as FORMAT.md lists them.
class ByHand {
 public:
  ByHand& bytes(std::initializer_list<u8> values) {
    bytes_.insert(bytes_.end(), values);
    return *this;
  }
  ByHand& little(u64 value, unsigned width) {
    for (unsigned n = 0; n < width; ++n) bytes_.push_back(static_cast<u8>(value >> 8 * n));
    return *this;
  }
  /// The checksum of what was added since `start`.
  ByHand& checksum(std::size_t start) {
    return little(crc32c(std::span(bytes_).subspan(start)), 4);
  }
  ByHand& section(const char* type, const Bytes& payload) {
    const std::size_t start = bytes_.size();
    bytes({0xd4, 'N', 'W', 'S', 0x0d, 0x0a, 0x1a, 0x0a});
    for (int n = 0; n < 4; ++n) bytes({static_cast<u8>(type[n])});
    little(0, 4).little(payload.size(), 8).little(crc32c(payload), 4).checksum(start);
    bytes_.insert(bytes_.end(), payload.begin(), payload.end());
    return *this;
  }
  /// A zstd frame of one raw block (RFC 8878): magic, descriptor "single segment, one byte of
  /// size", size, block header (size * 8, last block), contents.
  ByHand& column(std::initializer_list<u8> values) {
    const auto size = static_cast<u8>(values.size());
    bytes({0x28, 0xb5, 0x2f, 0xfd, 0x20, size}).little(size * 8U + 1, 3);
    return bytes(values);
  }
  const Bytes& result() const { return bytes_; }

 private:
  Bytes bytes_;
};

// One read of 8 bytes at GVA 0x1000, GPA 0x5000, after 2 instructions; 5 instructions later, phase
// 7 with the name "x".
Bytes tiny_file_by_hand() {
  ByHand block;
  block.little(0, 4).little(1, 4).little(1, 4).little(1, 4);  // vCPU, accesses, events, shapes
  block.little(0, 8).little(0, 8).little(0, 8).little(0, 8);  // record, clock, root, ASID
  // Each column is stored in 9 bytes more than it has.
  for (const unsigned size : {4U, 1U, 2U, 2U}) block.little(size, 4).little(size + 9, 4);
  block.little(0, 8).little(6, 4).little(15, 4);
  // Read (0) with a new frame (16), scaled (64); 2 bytes of distance; size; instructions.
  block.column({0x50, 2, 8, 2});
  block.column({0});  // token
  // 0x1000 bytes are 0x200 units of 8; zigzag makes 0x400.
  block.column({0x00, 0x04});
  // GVA and GPA known; 0x4000 bytes are 4 pages; zigzag makes 8.
  block.column({3, 8});
  // After 1 access, 5 instructions, phase, number, length of the name, name.
  block.column({1, 5, 5, 7, 1, 'x'});

  ByHand file;
  file.bytes({0x89, 'N', 'W', 'T', 0x0d, 0x0a, 0x1a, 0x0a}).little(1, 2).little(0, 2).checksum(0);
  // Architecture, mode, vCPUs, lacks, four texts, memory ranges, notes.
  file.section("HEAD", {0, 0, 1, 0, 0, 0, 0, 0, 0, 0});
  // The block lies behind 16 bytes of preamble and 32 + 10 of HEAD.
  file.section("BLCK", block.result());
  ByHand index;
  index.little(58, 8).little(0, 8).little(0, 8).little(0, 4).little(2, 4);
  file.section("INDX", index.result());
  // INDX lies behind 58 + 32 + 96 + (13 + 10 + 11 + 11 + 0 + 15) bytes.
  ByHand footer;
  footer.little(246, 8).little(1, 8).little(0, 8).little(1, 8).little(1, 8);
  file.section("FOOT", footer.result());
  return file.result();
}

Stream tiny_stream() {
  return {Access{Gva(0x1000), Gpa(0x5000), Hpa(), 2, 8, AccessKind::Read, kGvaKnown | kGpaKnown},
          Event{5, PhaseMarker{7, "x"}}};
}

TEST(Container, BytesOfATinyFileAreThoseOfTheDescription) {
  EXPECT_EQ(file_of({tiny_stream()}), tiny_file_by_hand());
}

TEST(Container, FileMadeByHandIsRead) {
  const Contents contents = read_all(tiny_file_by_hand());
  EXPECT_EQ(contents.error, "");
  EXPECT_EQ(contents.streams[0], tiny_stream());
}

std::vector<Stream> some_streams() {
  Random random(7);
  return {random_stream(random, 1000, 5), random_stream(random, 300, 50), {}};
}

TEST(Container, BlocksReadInAnyOrderAreThoseReadInOrder) {
  const std::vector<Stream> streams = some_streams();
  const Bytes file = file_of(streams, {.block_records = 64});
  Reader reader(source_of(file));
  std::vector<IndexEntry> index = reader.read_index();
  ASSERT_EQ(index.size(), 16U + 5U);  // 1000 / 64 and 300 / 64, rounded up
  std::reverse(index.begin(), index.end());
  for (const IndexEntry& entry : index) {
    reader.seek(entry);
    Stream block;
    while (reader.next_of_block()) {
      ASSERT_EQ(reader.chunk().vcpu, entry.vcpu);
      append(block, reader.chunk());
    }
    const auto start =
        streams[entry.vcpu].begin() + static_cast<std::ptrdiff_t>(entry.first_record);
    EXPECT_EQ(block, Stream(start, start + entry.records));
  }
}

TEST(Container, FileWithoutFooterHasAnIndexAsWell) {
  const Bytes file = file_of(some_streams(), {.block_records = 64});
  const std::vector<IndexEntry> index = Reader(source_of(file)).read_index();
  const std::size_t footer_bytes = 72;
  const std::span<const u8> cut = std::span(file).first(file.size() - footer_bytes);
  EXPECT_EQ(Reader(source_of(cut)).read_index(), index);
}

TEST(Container, ReadingGoesOnWhereItWasAfterTheIndexWasRead) {
  const std::vector<Stream> streams = some_streams();
  const Bytes file = file_of(streams, {.block_records = 64});
  Reader reader(source_of(file));
  reader.read_index();
  std::vector<Stream> read(streams.size());
  while (reader.next() == Reader::Item::Records) {
    append(read[reader.chunk().vcpu], reader.chunk());
  }
  EXPECT_EQ(read, streams);
}

TEST(Container, StreamOfOneVcpuCanBeReadAlone) {
  const std::vector<Stream> streams = some_streams();
  const Bytes file = file_of(streams, {.block_records = 64});
  for (u32 vcpu = 0; vcpu < streams.size(); ++vcpu) {
    StreamReader reader(source_of(file), vcpu);
    Stream stream;
    Chunk chunk;
    while (reader.next(chunk)) append(stream, chunk);
    EXPECT_EQ(stream, streams[vcpu]);
  }
}

TEST(Container, WriterThatWasKilledLeavesItsWholeBlocks) {
  Random random(3);
  const Stream stream = random_stream(random, 25, 10);
  MemorySink sink;
  {
    Writer writer(sink, Header{}, {.block_records = 10});
    for (const Record& record : stream) append(writer, 0, record);
  }
  const Contents contents = read_all(sink.bytes());
  EXPECT_EQ(contents.streams[0], Stream(stream.begin(), stream.begin() + 20));
  EXPECT_THAT(contents.error, HasSubstr("expected a footer, found that the file ends early, after "
                                        "2 whole blocks"));
}

Access at_time(u32 instructions) {
  return {Gva(0x1000), Gpa(), Hpa(), instructions, 8, AccessKind::Read, kGvaKnown};
}

std::vector<std::pair<u32, u64>> order_of(const Bytes& file) {
  TimeOrderedReader reader([&] { return source_of(file); });
  std::vector<std::pair<u32, u64>> order;
  Chunk chunk;
  while (reader.next(chunk)) {
    u64 time = chunk.time;
    for (const Access& access : chunk.accesses) {
      order.emplace_back(chunk.vcpu, time = time_after(time, access));
    }
    if (chunk.event != nullptr) order.emplace_back(chunk.vcpu, time_after(time, *chunk.event));
  }
  return order;
}

TEST(Container, ManyVcpusHaveSmallerBlocks) {
  Header header;
  header.vcpus = kMaxVcpus;
  MemorySink sink;
  Writer writer(sink, header);
  // 16 blocks of 2^20 records are open at most: 4096 records of each of 4096 vCPUs.
  const Access access = {Gva(8), {}, {}, 0, 8, AccessKind::Read, kGvaKnown};
  for (int n = 0; n < 4095; ++n) writer.append(7, access);
  EXPECT_EQ(writer.totals().blocks, 0U);
  writer.append(7, access);
  EXPECT_EQ(writer.totals().blocks, 1U);
}

TEST(Container, StreamsAreMergedByTheirClocks) {
  // vCPU 0 at 10, 20, 30, 40; vCPU 1 at 5, 20, then its clock is set to 35, 36.
  const Bytes file = file_of({{at_time(10), at_time(10), at_time(10), at_time(10)},
                              {at_time(5), at_time(15), Event{0, TimeSync{35}}, at_time(1)}},
                             {.block_records = 3});
  const std::vector<std::pair<u32, u64>> expected = {{1, 5},  {0, 10}, {0, 20}, {1, 20},
                                                     {0, 30}, {1, 35}, {1, 36}, {0, 40}};
  EXPECT_EQ(order_of(file), expected);
}

TEST(Container, MergingKeepsEveryRecordOfRandomStreams) {
  Random random(11);
  std::vector<Stream> streams(4);
  for (Stream& stream : streams) {
    for (int n = 0; n < 500; ++n) stream.emplace_back(at_time(static_cast<u32>(random.below(9))));
  }
  const auto order = order_of(file_of(streams, {.block_records = 100}));
  EXPECT_EQ(order.size(), 2000U);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second < b.second : a.first < b.first;
  }));
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  Bytes packed(deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<u8*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

Bytes xz(const Bytes& bytes) {
  Bytes packed(lzma_stream_buffer_bound(bytes.size()));
  std::size_t size = 0;
  lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr, bytes.data(), bytes.size(), packed.data(),
                          &size, packed.size());
  packed.resize(size);
  return packed;
}

Bytes zstd(const Bytes& bytes) {
  Bytes packed(ZSTD_compressBound(bytes.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 1));
  return packed;
}

struct Packer {
  const char* name;
  Bytes (*pack)(const Bytes&);
};
class Packed : public testing::TestWithParam<Packer> {};

std::vector<Stream> read_packed(std::span<const u8> packed, std::string* error) {
  std::vector<Stream> streams(3);
  try {
    Reader reader(unpacked(source_of(packed)));
    while (reader.next() == Reader::Item::Records) {
      append(streams[reader.chunk().vcpu], reader.chunk());
    }
  } catch (const InputError& failure) {
    *error = failure.what();
  }
  return streams;
}

TEST_P(Packed, TraceIsUnpackedOnTheWay) {
  const std::vector<Stream> streams = some_streams();
  std::string error;
  EXPECT_EQ(read_packed(GetParam().pack(file_of(streams)), &error), streams);
  EXPECT_EQ(error, "");
}

TEST_P(Packed, SeveralMembersAreOneTrace) {
  const std::vector<Stream> streams = some_streams();
  const Bytes file = file_of(streams);
  const auto middle = file.begin() + static_cast<std::ptrdiff_t>(file.size() / 2);
  Bytes packed = GetParam().pack(Bytes(file.begin(), middle));
  const Bytes rest = GetParam().pack(Bytes(middle, file.end()));
  packed.insert(packed.end(), rest.begin(), rest.end());
  std::string error;
  EXPECT_EQ(read_packed(packed, &error), streams);
  EXPECT_EQ(error, "");
}

TEST_P(Packed, CutAnywhereIsAnError) {
  Random random(9);
  const Bytes packed = GetParam().pack(file_of({random_stream(random, 20, 10)}));
  for (std::size_t length = 0; length < packed.size(); ++length) {
    std::string error;
    read_packed(std::span(packed).first(length), &error);
    EXPECT_NE(error, "") << length;
  }
}

INSTANTIATE_TEST_SUITE_P(Container, Packed,
                         testing::Values(Packer{"Gzip", gzip}, Packer{"Xz", xz},
                                         Packer{"Zstd", zstd}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Container, IndexOfPackedInputIsRefused) {
  const Bytes packed = gzip(file_of(some_streams()));
  Reader reader(unpacked(source_of(packed)));
  EXPECT_THROW(reader.read_index(), InputError);
}

TEST(Container, DirectoriesAndMissingFilesAreInputErrors) {
  EXPECT_THROW(open_source("/"), InputError);
  EXPECT_THROW(open_source("/nowhere/at-all"), InputError);
}

TEST(Container, PipeIsRead) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Bytes file = file_of({tiny_stream()});
  ASSERT_EQ(write(ends[1], file.data(), file.size()), static_cast<ssize_t>(file.size()));
  close(ends[1]);
  Reader reader(open_source("/dev/fd/" + std::to_string(ends[0])));
  Stream stream;
  while (reader.next() == Reader::Item::Records) append(stream, reader.chunk());
  close(ends[0]);
  EXPECT_EQ(stream, tiny_stream());
}

/// A pipe that holds the bytes; its reading end, as a path.
std::string pipe_of(const Bytes& bytes) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  close(ends[1]);
  return "/dev/fd/" + std::to_string(ends[0]);
}

TEST(Container, PipeIsCopiedOnceAndThenCanSeek) {
  const Bytes file = file_of({tiny_stream()});
  const std::string path = pipe_of(file);
  const auto first = open_seekable(path, file.size());
  const auto second = open_seekable(path, file.size());
  for (const auto* const each : {&first, &second}) {  // each has a position of its own
    EXPECT_EQ((*each)->name(), path);
    EXPECT_EQ((*each)->seekable_size(), file.size());
    u8 byte = 0;
    EXPECT_EQ((*each)->read({&byte, 1}), 1u);
    EXPECT_EQ(byte, file[0]);
  }
}

TEST(Container, WhatIsCopiedOfAPipeIsBounded) {
  const Bytes file = file_of({tiny_stream()});
  const std::string path = pipe_of(file);
  try {
    open_seekable(path, file.size() - 1);
    ADD_FAILURE() << "was copied";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()),
              path +
                  ": is a pipe or compressed, and copied to a temporary file to be read from: "
                  "expected at most " +
                  std::to_string(file.size() - 1) + " bytes, found more");
  }
}

}  // namespace
}  // namespace nestwalk::traces::container_test
