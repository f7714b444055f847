// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How fast traces are written and read, and how large they are. The item of each benchmark is an
// access. `mix` stands for a program without randomness: NESTWALK_BENCH_TRACE names a recorded
// trace to use instead of the generated one; it is repeated, so that what a reader or writer needs
// once (memory, page tables of the begin and end) counts as in a long trace.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <optional>

#include "nestwalk/traces/generator.hpp"
#include "nestwalk/traces/random.hpp"
#include "nestwalk/traces/reader.hpp"

namespace nestwalk::traces {
namespace {

std::vector<u8> bytes_of(ByteSource& source) {
  std::vector<u8> bytes;
  std::vector<u8> part(1 << 20);
  for (std::size_t count = source.read(part); count != 0; count = source.read(part)) {
    bytes.insert(bytes.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return bytes;
}

std::vector<u8> generated(const char* name, std::initializer_list<const char*> settings) {
  const Generator& generator = generator_of(name);
  Values values(generator.parameters);
  for (const char* setting : settings) values.set(setting);
  MemorySink sink;
  generate(generator, values, sink);
  return sink.bytes();
}

// Loops of a program: a few hundred instructions, each with a stride or a small table of its own.
std::vector<u8> program() {
  MemorySink sink;
  Writer writer(sink, Header{});
  Random random(1);
  for (u64 loop = 0; loop < 400; ++loop) {
    const u64 body = 4 + random.below(24);
    const u64 rounds = 100 + random.below(900);
    std::vector<Access> accesses(body);
    std::vector<u64> strides(body);
    for (u64 n = 0; n < body; ++n) {
      const u64 page = random.below(660);
      const u64 offset = random.below(200) * 8;
      accesses[n] = {Gva(0x7f0000000000 + page * kPageBytes + offset),
                     Gpa((page * 7919 % 1024) * kPageBytes + offset),
                     Hpa(),
                     static_cast<u32>(1 + random.below(6)),
                     8,
                     random.percent(30) ? AccessKind::Write : AccessKind::Read,
                     kGvaKnown | kGpaKnown};
      strides[n] = random.percent(50) ? 8 * random.below(3) : 0;
    }
    for (u64 round = 0; round < rounds; ++round) {
      for (u64 n = 0; n < body; ++n) {
        Access access = accesses[n];
        const u64 step = strides[n] * (round % 100);
        access.gva += step;
        access.gpa += step;
        writer.append(0, access);
      }
    }
  }
  writer.finish();
  return sink.bytes();
}

std::vector<u8> repeated(const char* path) {
  constexpr u64 kLeastAccesses = 20'000'000;
  const std::vector<u8> recorded = bytes_of(*open_source(path));
  MemorySink sink;
  std::optional<Writer> writer;
  while (!writer || writer->totals().accesses < kLeastAccesses) {
    Reader reader(std::make_unique<MemorySource>(recorded));
    if (!writer) writer.emplace(sink, reader.header());
    for (auto item = reader.next(); item != Reader::Item::End; item = reader.next()) {
      if (item != Reader::Item::Records) continue;
      const Chunk& chunk = reader.chunk();
      for (const Access& access : chunk.accesses) writer->append(chunk.vcpu, access);
      if (chunk.event != nullptr) writer->append(chunk.vcpu, *chunk.event);
    }
    if (writer->totals().accesses == 0) throw InputError(path, "has no accesses");
  }
  writer->finish();
  return sink.bytes();
}

const std::vector<u8>& mix() {
  static const std::vector<u8> bytes = [] {
    const char* const path = std::getenv("NESTWALK_BENCH_TRACE");
    return path == nullptr ? program() : repeated(path);
  }();
  return bytes;
}

const std::vector<u8>& uniform() {
  static const std::vector<u8> bytes = generated("random", {"accesses=4000000", "bytes=64M"});
  return bytes;
}

u64 read_all(const std::vector<u8>& bytes) {
  Reader reader(std::make_unique<MemorySource>(bytes));
  while (reader.next() != Reader::Item::End) benchmark::DoNotOptimize(&reader.chunk());
  return reader.totals().accesses;
}

void report(benchmark::State& state, const std::vector<u8>& bytes, u64 accesses) {
  state.SetItemsProcessed(static_cast<std::int64_t>(accesses) * state.iterations());
  state.counters["bytes/access"] =
      static_cast<double>(bytes.size()) / static_cast<double>(accesses);
}

void decode(benchmark::State& state, const std::vector<u8>& (*trace)()) {
  const std::vector<u8>& bytes = trace();
  u64 accesses = 0;
  for (auto _ : state) accesses = read_all(bytes);
  report(state, bytes, accesses);
}

void encode(benchmark::State& state, const std::vector<u8>& (*trace)()) {
  std::vector<Access> accesses;
  Reader reader(std::make_unique<MemorySource>(trace()));
  while (reader.next() != Reader::Item::End && accesses.size() < 4'000'000) {
    accesses.insert(accesses.end(), reader.chunk().accesses.begin(), reader.chunk().accesses.end());
  }
  std::vector<u8> bytes;
  for (auto _ : state) {
    MemorySink sink;
    Writer writer(sink, Header{});
    for (const Access& access : accesses) writer.append(0, access);
    writer.finish();
    bytes = sink.bytes();
  }
  report(state, bytes, accesses.size());
}

BENCHMARK_CAPTURE(decode, mix, mix)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, uniform, uniform)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, mix, mix)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, uniform, uniform)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace nestwalk::traces
