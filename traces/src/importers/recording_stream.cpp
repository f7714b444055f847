// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "importers/recording_stream.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace nestwalk::traces::recording {
namespace {

constexpr u32 kVersion = 1;
constexpr u32 kEndOfStream = 0xffffffff;
constexpr u32 kMaxPayloadBytes = 1 << 24;
constexpr unsigned kFetchTag = 2, kEventTag = 3, kInstructionsFollow = 3, kSizeFollows = 7,
                   kFrameFollows = 0x20;

struct FileHeader {
  char magic[8];
  u32 version, header_bytes, architecture, flags, vcpus, page_shift;
  u64 memory_base, memory_bytes, reserved[2];
};
static_assert(sizeof(FileHeader) == 64);

struct ChunkHeader {
  char magic[4];
  u32 vcpu, payload_bytes, records;
  u64 chunks_before, instructions;
};
static_assert(sizeof(ChunkHeader) == 32);

// What the last chunk holds; instructions and accesses are also those that were not recorded.
struct LastChunk {
  RecordCounts counts;
  u64 instructions, accesses_seen;
};
static_assert(sizeof(LastChunk) == 56);

constexpr u32 kFlags = kSystem | kFetches | kGuestOnly | kTables | kOrdered;
constexpr std::pair<Flag, const char*> kFlagNames[] = {{kSystem, "whole system"},
                                                       {kFetches, "fetches"},
                                                       {kGuestOnly, "nested guests"},
                                                       {kTables, "page tables"},
                                                       {kOrdered, "order of vCPUs"}};

template <class T>
std::span<u8> bytes_of(T& value) {
  return {reinterpret_cast<u8*>(&value), sizeof value};
}

// 0 is none; otherwise one more than the page's number and whether it is a device's.
constexpr u64 kFrames = u64{2} << (64 - kPageShift);
constexpr u64 frame_address(u64 frame) { return (frame - 1) >> 1 << kPageShift; }

void expect_same(const Place& place, const char* what, u64 expected, u64 found) {
  if (expected == found) return;
  place.fail(what + std::to_string(expected), std::to_string(found));
}

void expect_least(const Place& place, const char* what, u64 least, u64 found) {
  if (found >= least) return;
  place.fail("at least " + std::to_string(least) + what, std::to_string(found));
}

Architecture architecture_of(const Place& place, u32 number) {
  if (number < 1 || number > 3) place.fail("architecture 1 to 3", std::to_string(number));
  return static_cast<Architecture>(number - 1);
}

}  // namespace

std::optional<Breach> StreamHeader::breach_without(Flag flag, const char* what) const {
  if (has(flag)) return {};
  const auto* const row = std::find_if(std::begin(kFlagNames), std::end(kFlagNames),
                                       [&](const auto& each) { return each.first == flag; });
  return Breach{
      "flag " + std::to_string(flag) + " (" + row->second + ") in the stream's header, for " + what,
      "flags " + std::to_string(flags)};
}

void StreamHeader::check_in_memory(const Place& place, u64 address, const char* what) const {
  if (memory_bytes == 0 || address - memory_base < memory_bytes) return;
  place.fail(what + std::string(" in the machine's memory, ") + std::to_string(memory_bytes) +
                 " bytes from " + in_hex(memory_base) + " on",
             in_hex(address));
}

StreamReader::StreamReader(ByteSource& source) : source_(&source) {
  FileHeader file{};
  const Place place{source.name(), 0};
  if (!fill(bytes_of(file)) || std::memcmp(file.magic, "nwrecord", sizeof file.magic) != 0) {
    place.fail("a recording stream (nwrecord)", "something else");
  }
  if (file.version != kVersion) place.fail("version 1", std::to_string(file.version));
  if (file.header_bytes != sizeof file || file.page_shift != kPageShift) {
    place.fail("a header of 64 bytes for pages of 4 KiB", "another header");
  }
  if (file.vcpus == 0 || file.vcpus > kMaxStreamVcpus) {
    place.fail("1 to 4096 vCPUs", std::to_string(file.vcpus));
  }
  if ((file.flags & ~kFlags) != 0) {
    place.fail("flags below " + std::to_string(kFlags + 1), std::to_string(file.flags));
  }
  if ((file.flags & (kGuestOnly | kSystem)) == kGuestOnly) {
    place.fail("a recording of guests to be of a whole system", "flags without 1");
  }
  if ((file.flags & (kTables | kSystem)) == kTables) {
    place.fail("page tables to be those of a whole system", "flags without 1");
  }
  if ((file.reserved[0] | file.reserved[1]) != 0) {
    place.fail("zeros in the header's last 16 bytes", "others");
  }
  if ((file.memory_base | file.memory_bytes) % kPageBytes != 0) {
    place.fail("memory of whole pages", std::to_string(file.memory_bytes) + " bytes from " +
                                            in_hex(file.memory_base) + " on");
  }
  if (file.memory_bytes > ~file.memory_base) {
    place.fail("memory that ends below 2^64", std::to_string(file.memory_bytes) + " bytes from " +
                                                  in_hex(file.memory_base) + " on");
  }
  header_ = {architecture_of(place, file.architecture), file.flags, file.vcpus, file.memory_base,
             file.memory_bytes};
  instructions_.resize(file.vcpus);
}

// False when the source ends before.
bool StreamReader::fill(std::span<u8> to) {
  while (!to.empty()) {
    const std::size_t got = source_->read(to);
    if (got == 0) return false;
    offset_ += got;
    to = to.subspan(got);
  }
  return true;
}

bool StreamReader::next(const OnCut& on_cut) {
  const Place place{source_->name(), offset_};
  ChunkHeader chunk{};
  if (!fill(bytes_of(chunk))) {
    on_cut("it was cut off: no last chunk at byte " + std::to_string(place.offset));
    return false;
  }
  if (std::memcmp(chunk.magic, "NWCK", sizeof chunk.magic) != 0) {
    place.fail("a chunk (NWCK)", "something else");
  }
  if (chunk.payload_bytes > kMaxPayloadBytes) {
    place.fail("a chunk of at most 16 MiB", std::to_string(chunk.payload_bytes) + " bytes");
  }
  payload_.resize(chunk.payload_bytes);
  if (!fill(payload_)) {
    on_cut("it was cut off in the chunk at byte " + std::to_string(place.offset));
    return false;
  }
  expect_same(place, "the number of chunks before this one: ", chunks_, chunk.chunks_before);
  if (chunk.vcpu == kEndOfStream) {
    check_end(place);
    return false;
  }
  if (chunk.vcpu >= header_.vcpus) {
    place.fail("a vCPU below " + std::to_string(header_.vcpus), std::to_string(chunk.vcpu));
  }
  ++chunks_;
  vcpu_ = chunk.vcpu;
  records_ = chunk.records;
  // A vCPU counts from its first instruction on, which is not number 0.
  u64& instructions = instructions_[vcpu_];
  if (instructions != 0) {
    expect_same(place, "the vCPU's instruction count ", instructions, chunk.instructions);
  }
  instructions = chunk.instructions;
  return true;
}

void StreamReader::check_end(const Place& place) {
  constexpr std::pair<const char*, u64 RecordCounts::*> kCounts[] = {
      {"records in all: ", &RecordCounts::records}, {"reads in all: ", &RecordCounts::reads},
      {"writes in all: ", &RecordCounts::writes},   {"fetches in all: ", &RecordCounts::fetches},
      {"events in all: ", &RecordCounts::events},
  };
  ByteReader from(payload_, place);
  const auto said = from.take<LastChunk>("the counts of the last chunk");
  from.expect_end("the last chunk");
  for (const auto& [what, count] : kCounts) {
    expect_same(place, what, said.counts.*count, counts_.*count);
  }
  expect_least(place, " data accesses seen", counts_.reads + counts_.writes, said.accesses_seen);
  // What happens to a guest inside an instruction of its hypervisor seems to lie ahead of the
  // guest's own instructions.
  const u64 passed = std::accumulate(instructions_.begin(), instructions_.end(), u64{0});
  if ((header_.flags & kGuestOnly) == 0) {
    expect_least(place, " instructions in all", passed, said.instructions);
  }
  u8 more = 0;
  if (fill({&more, 1})) place.fail("the end of the stream after its last chunk", "more bytes");
}

void StreamReader::visit(Visitor& visitor) {
  constexpr u64 RecordCounts::*kCountOfKind[] = {&RecordCounts::reads, &RecordCounts::writes,
                                                 &RecordCounts::fetches, &RecordCounts::events};
  const Place place{source_->name(), offset_ - payload_.size()};
  ByteReader from(payload_, place);
  frames_.clear();
  last_address_[0] = last_address_[1] = 0;
  RawAccess access;
  for (u32 n = 0; n < records_; ++n) {
    access.offset = place.offset + payload_.size() - from.left();
    const u8 tag = from.take<u8>("a record");
    u64 instructions = tag >> 6;
    if (instructions == kInstructionsFollow) instructions = from.take_varint("instructions");
    instructions_[vcpu_] += instructions;
    ++counts_.records;
    ++(counts_.*kCountOfKind[tag & 3]);
    if ((tag & 3) == kFetchTag && !header_.has(kFetches)) {
      place.expect_no(header_.breach_without(kFetches, "a fetch"));
    }
    if ((tag & 3) != kEventTag) {
      read_access(from, place, tag, instructions, access);
      visitor.access(vcpu_, access);
      continue;
    }
    const u64 size = from.take_varint("the size of an event");
    const u64 offset = place.offset + payload_.size() - from.left();
    const auto kind = static_cast<EventKind>(tag >> 2 & 15);
    visitor.event(vcpu_, {instructions, kind, from.take_bytes(size, "an event"), offset});
  }
  from.expect_end("a chunk");
}

void StreamReader::read_access(ByteReader& from, const Place& place, u8 tag, u64 instructions,
                               RawAccess& access) {
  access.instructions = instructions;
  access.kind = static_cast<AccessKind>(tag & 3);
  const unsigned size = tag >> 2 & 7;
  access.bytes = size == kSizeFollows
                     ? from.take_from(1, 2 * kPageBytes - 1, "the size of an access")
                     : u64{1} << size;
  u64& last = last_address_[access.kind == AccessKind::Fetch];
  last += unzigzag(from.take_varint("an address"));
  access.address = last;
  const auto [known, is_new] = frames_.try_emplace(last >> kPageShift);
  u64& frame = known->second;
  if ((tag & kFrameFollows) != 0) {
    frame = from.take_below(kFrames, "a frame");
    if (frame != 0) place.expect_no(header_.breach_without(kSystem, "a frame"));
    const bool is_memory = (frame & 1) != 0;
    if (is_memory) header_.check_in_memory(place, frame_address(frame), "a frame");
  } else if (is_new) {
    place.fail("the frame of the page at " + in_hex(last & ~(kPageBytes - 1)) +
                   " at its first access in the chunk",
               "none");
  }
  access.physical_known = frame != 0;
  access.physical = frame == 0 ? 0 : frame_address(frame) | (last & (kPageBytes - 1));
}

Operand take_operand(ByteReader& from) {
  Operand operand;
  const u8 state = from.take<u8>("the state of an operand");
  from.check_below(state, 3, "the state of an operand");
  operand.state = static_cast<Operand::State>(state);
  if (operand.exact()) operand.value = from.take_varint("an operand");
  return operand;
}

}  // namespace nestwalk::traces::recording
