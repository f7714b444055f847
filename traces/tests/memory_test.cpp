// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reading takes the memory of one block, however long the trace is.

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "nestwalk/traces/generator.hpp"
#include "nestwalk/traces/reader.hpp"

namespace {

std::size_t live_bytes = 0;
std::size_t peak_bytes = 0;
constexpr std::size_t kSizeRoom = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t size) {
  void* const block = std::malloc(size + kSizeRoom);
  if (block == nullptr) throw std::bad_alloc();
  *static_cast<std::size_t*>(block) = size;
  live_bytes += size;
  peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
  return static_cast<char*>(block) + kSizeRoom;
}

void operator delete(void* pointer) noexcept {
  if (pointer == nullptr) return;
  void* const block = static_cast<char*>(pointer) - kSizeRoom;
  live_bytes -= *static_cast<std::size_t*>(block);
  std::free(block);
}
void operator delete(void* pointer, std::size_t) noexcept { operator delete(pointer); }

namespace nestwalk::traces::memory_test {
namespace {

constexpr u32 kBlockRecords = 20'000;

std::vector<u8> trace_of(u64 blocks) {
  const Generator& generator = generator_of("random");
  Values values(generator.parameters);
  values.set("accesses=" + std::to_string(blocks * kBlockRecords));
  MemorySink sink;
  generate(generator, values, sink, {.block_records = kBlockRecords});
  return sink.bytes();
}

std::size_t bytes_to_read(u64 blocks) {
  const std::vector<u8> trace = trace_of(blocks);
  const std::size_t before = live_bytes;
  peak_bytes = before;
  Reader reader(std::make_unique<MemorySource>(trace));
  u64 records = 0;
  while (reader.next() == Reader::Item::Records) records += reader.chunk().accesses.size();
  EXPECT_EQ(records, blocks * kBlockRecords);
  return peak_bytes - before;
}

TEST(Memory, LongTraceTakesNoMoreThanAShortOne) {
  const std::size_t of_few = bytes_to_read(5);
  const std::size_t of_many = bytes_to_read(100);
  // Columns grow to the largest block, and zstd's output varies by a few bytes.
  EXPECT_LE(of_many, of_few + of_few / 20);
}

}  // namespace
}  // namespace nestwalk::traces::memory_test
