// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Records for the tests: random ones with every kind and every extreme, and files made of them.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "nestwalk/traces/random.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {

using Record = std::variant<Access, Event>;
using Stream = std::vector<Record>;

inline u64 extreme_or_random(Random& random) {
  constexpr u64 kExtremes[] = {0,
                               1,
                               0x7f,
                               0x80,
                               0xfff,
                               0x1000,
                               ~u64{0},
                               u64{1} << 63,
                               (u64{1} << 63) - 1,
                               0xffffffff80000000};
  const u64 choice = random.below(2 * std::size(kExtremes));
  return choice < std::size(kExtremes) ? kExtremes[choice] : random.next() >> random.below(64);
}

inline Access random_access(Random& random) {
  Access access{};
  const u64 address = extreme_or_random(random);
  const u64 offset = address % kPageBytes;
  const auto elsewhere = [&] { return (extreme_or_random(random) & ~(kPageBytes - 1)) | offset; };
  constexpr u8 kKnown[] = {kGvaKnown,
                           kGpaKnown,
                           kGvaKnown | kGpaKnown,
                           kGvaKnown | kHpaKnown,
                           kGpaKnown | kHpaKnown,
                           kAddressesKnown};
  access.flags = kKnown[random.below(std::size(kKnown))];
  if (access.has(kGvaKnown)) access.gva = Gva(address);
  if (access.has(kGpaKnown)) access.gpa = Gpa(elsewhere());
  if (access.has(kHpaKnown)) access.hpa = Hpa(elsewhere());
  access.size = static_cast<u16>(random.below(kPageBytes - offset + 1));
  access.instructions = static_cast<u32>(extreme_or_random(random));
  access.kind = static_cast<AccessKind>(random.below(3));
  if (random.percent(20)) access.flags |= kDependent;
  if (random.percent(10)) {
    access.flags |= kContinues;
    access.instructions = 0;
  }
  return access;
}

struct FillRandomly {
  Random& random;
  void operator()(const char*, u64& value) const { value = extreme_or_random(random); }
  void operator()(const char*, Gva& value) const { value = Gva(extreme_or_random(random)); }
  void operator()(const char*, Gpa& value) const { value = Gpa(extreme_or_random(random)); }
  void operator()(const char*, std::string& value) const {
    value.resize(random.percent(5) ? kMaxEventText : random.below(20));
    for (char& letter : value) letter = static_cast<char>(random.next());
  }
  template <class Enum>
  requires std::is_enum_v<Enum>
  void operator()(const char*, Enum& value) const {
    value = static_cast<Enum>(random.below(std::size(names_of(value))));
  }
};

template <std::size_t kIndex = 0>
EventDetail default_detail(u64 index) {
  if constexpr (kIndex + 1 < std::variant_size_v<EventDetail>) {
    if (index != kIndex) return default_detail<kIndex + 1>(index);
  }
  return EventDetail(std::in_place_index<kIndex>);
}

/// With fields that the format allows.
inline EventDetail random_detail(Random& random, u64 kind) {
  EventDetail detail = default_detail(kind);
  std::visit([&](auto& fields) { for_each_field(fields, FillRandomly{random}); }, detail);
  if (auto* write = std::get_if<TableWrite>(&detail)) write->address &= ~u64{7};
  if (auto* operation = std::get_if<HypervisorOperation>(&detail)) operation->flags &= 7;
  if (auto* fence = std::get_if<GuestFence>(&detail)) {
    fence->flags &= 7;
    if (fence->scope == FenceScope::All || fence->scope == FenceScope::Asid) {
      fence->address = {};
      fence->bytes = 0;
    }
    if (fence->scope == FenceScope::All || fence->scope == FenceScope::Address) fence->asid = 0;
  }
  return detail;
}

inline Event random_event(Random& random) {
  const u64 instructions = extreme_or_random(random);
  return {instructions, random_detail(random, random.below(std::variant_size_v<EventDetail>))};
}

/// The clock stays below 2^64: what would bring it there takes no instructions.
inline Stream random_stream(Random& random, u64 records, u64 event_percent) {
  Stream stream;
  u64 clock = 0;
  bool begins = true;
  const auto fit = [&](auto& instructions) {
    if (instructions > ~clock) instructions = 0;
  };
  for (u64 n = 0; n < records; ++n) {
    if (random.percent(event_percent)) {
      Event event = random_event(random);
      // Most leave room for those after them.
      if (auto* sync = std::get_if<TimeSync>(&event.detail); sync && !random.percent(2)) {
        sync->time >>= 16;
      }
      if (!random.percent(2)) event.instructions >>= 16;
      fit(event.instructions);
      clock = time_after(clock, event);
      stream.emplace_back(event);
    } else {
      Access access = random_access(random);
      if (std::exchange(begins, false)) access.flags &= static_cast<u8>(~kContinues);
      fit(access.instructions);
      clock = time_after(clock, access);
      stream.emplace_back(access);
    }
  }
  return stream;
}

inline void append(Writer& writer, u32 vcpu, const Record& record) {
  std::visit([&](const auto& value) { writer.append(vcpu, value); }, record);
}

inline void append(Stream& stream, const Chunk& chunk) {
  stream.insert(stream.end(), chunk.accesses.begin(), chunk.accesses.end());
  if (chunk.event != nullptr) stream.emplace_back(*chunk.event);
}

inline Header header_for(u32 vcpus) {
  Header header;
  header.vcpus = vcpus;
  return header;
}

inline TablePage page_of(u64 address, u8 fill) {
  return {address, std::vector<u8>(kPageBytes, fill)};
}

/// A file with the streams, their records taken in turn.
inline std::vector<u8> file_of(const std::vector<Stream>& streams,
                               const Writer::Options& options = {},
                               const std::vector<SideData>& side = {}) {
  MemorySink sink;
  Writer writer(sink, header_for(static_cast<u32>(streams.size())), options);
  for (const SideData& data : side) writer.append(data);
  bool more = true;
  for (std::size_t n = 0; more; ++n) {
    more = false;
    for (u32 vcpu = 0; vcpu < streams.size(); ++vcpu) {
      if (n >= streams[vcpu].size()) continue;
      append(writer, vcpu, streams[vcpu][n]);
      more = true;
    }
  }
  writer.finish();
  return sink.bytes();
}

struct Contents {
  std::vector<Stream> streams;
  std::vector<SideData> side;
  std::vector<std::string> losses;
  std::string error;  ///< of the InputError at the end, if there was one

  u64 records() const {
    u64 count = 0;
    for (const Stream& stream : streams) count += stream.size();
    return count;
  }
};

inline std::unique_ptr<ByteSource> source_of(std::span<const u8> bytes) {
  return std::make_unique<MemorySource>(bytes, "file");
}

/// Everything that can be read.
inline Contents read_all(std::span<const u8> bytes, bool salvage = false) {
  Contents contents;
  OnLoss on_loss;
  if (salvage) on_loss = [&](const std::string& loss) { contents.losses.push_back(loss); };
  try {
    Reader reader(source_of(bytes), on_loss);
    contents.streams.resize(reader.header().vcpus);
    for (;;) {
      const Reader::Item item = reader.next();
      if (item == Reader::Item::End) return contents;
      if (item == Reader::Item::SideData) {
        contents.side.push_back(reader.side_data());
      } else {
        append(contents.streams[reader.chunk().vcpu], reader.chunk());
      }
    }
  } catch (const InputError& error) {
    contents.error = error.what();
  }
  return contents;
}

}  // namespace nestwalk::traces
