// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Writes the first inputs of the fuzzer: container_fuzz_seeds FOLDER.

#include <cstdio>
#include <cstring>
#include <string>

#include "nestwalk/traces/generator.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {
namespace {

void save(const std::string& path, std::initializer_list<u8> before, std::span<const u8> bytes) {
  const auto sink = create_sink(path);
  sink->write({before.begin(), before.size()});
  sink->write(bytes);
  sink->finish();
}

std::vector<u8> small_trace(const char* name, std::initializer_list<const char*> settings) {
  const Generator& generator = generator_of(name);
  Values values(generator.parameters);
  for (const char* setting : settings) values.set(setting);
  MemorySink sink;
  generate(generator, values, sink, {.block_records = 32});
  return sink.bytes();
}

// The payload of a file's first section of a type.
std::vector<u8> payload_of(std::span<const u8> file, u32 type) {
  MemorySource source(file);
  SectionReader sections(source, {});
  Section section;
  while (sections.next(section) && section.type != type) continue;
  return {section.payload.begin(), section.payload.end()};
}

std::vector<u8> unpacked_block(std::span<const u8> payload) {
  const Place place{"seed", 0};
  const BlockHeader header = BlockDecoder::read_header(payload, payload.size(), place);
  std::vector<u8> bytes(payload.begin(), payload.begin() + sizeof header);
  payload = payload.subspan(sizeof header);
  Zstd zstd;
  for (const BlockHeader::Size& size : header.columns) {
    std::vector<u8> column(size.raw);
    zstd.decompress(payload.first(size.stored), column, place);
    bytes.insert(bytes.end(), column.begin(), column.end());
    payload = payload.subspan(size.stored);
  }
  return bytes;
}

std::vector<u8> trace_with_side_data() {
  MemorySink sink;
  Writer writer(sink, Header{});
  const TablePage page{0x1000, std::vector<u8>(kPageBytes, 3)};
  writer.append(SideData{When::Begin, Stage::Guest, 0, {{"cr3", 0x1000}}, {page}});
  writer.append(0, Event{1, PhaseMarker{1, "boot"}});
  writer.finish();
  return sink.bytes();
}

void save_seeds(const std::string& folder) {
  const std::vector<u8> fork = small_trace("fork", {"accesses=60", "slice=20", "bytes=16K"});
  const std::vector<u8> storm = small_trace("unmap-storm", {"accesses=40", "period=20", "burst=3"});
  const std::vector<u8> side = trace_with_side_data();
  save(folder + "/file-fork", {0}, fork);
  save(folder + "/file-side", {0}, side);
  save(folder + "/section-head", {1, 0}, payload_of(fork, kHeaderSection));
  save(folder + "/section-block", {1, 1}, payload_of(fork, kBlockSection));
  save(folder + "/section-side", {1, 2}, payload_of(side, kSideSection));
  save(folder + "/section-index", {1, 3}, payload_of(fork, kIndexSection));
  save(folder + "/section-footer", {1, 4}, payload_of(fork, kFooterSection));
  save(folder + "/block-fork", {2}, unpacked_block(payload_of(fork, kBlockSection)));
  save(folder + "/block-storm", {2}, unpacked_block(payload_of(storm, kBlockSection)));
  save(folder + "/block-phase", {2}, unpacked_block(payload_of(side, kBlockSection)));
}

}  // namespace
}  // namespace nestwalk::traces

int main(int count, char** arguments) {
  if (count != 2) {
    std::fputs("usage: container_fuzz_seeds FOLDER\n", stderr);
    return 2;
  }
  nestwalk::traces::save_seeds(arguments[1]);
  return 0;
}
