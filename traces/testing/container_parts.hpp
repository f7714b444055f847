// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// For tests and fuzzers: a container taken apart, changed, and put together with right checksums.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "nestwalk/traces/block.hpp"
#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {

struct Part {
  u32 type;
  std::vector<u8> payload;
};
using Parts = std::vector<Part>;

inline Parts parts_of(std::span<const u8> file) {
  MemorySource source(file);
  SectionReader sections(source, {});
  Section section;
  Parts parts;
  while (sections.next(section)) {
    parts.push_back({section.type, {section.payload.begin(), section.payload.end()}});
  }
  return parts;
}

inline std::vector<u8> joined(const Parts& parts) {
  MemorySink sink;
  SectionWriter writer(sink);
  for (const Part& part : parts) writer.write(part.type, part.payload);
  return sink.bytes();
}

template <class T>
void add(Part& part, std::size_t offset, T value) {
  T old;
  std::memcpy(&old, part.payload.data() + offset, sizeof old);
  old = static_cast<T>(old + value);
  std::memcpy(part.payload.data() + offset, &old, sizeof old);
}

/// The index and the footer become what they have to be for the blocks.
inline void mend_index(Parts& parts) {
  Part index{kIndexSection, {}};
  Footer footer;
  u64 offset = sizeof(Preamble);
  for (const Part& part : parts) {
    if (part.type == kBlockSection && part.payload.size() >= sizeof(BlockHeader)) {
      BlockHeader block;
      std::memcpy(&block, part.payload.data(), sizeof block);
      ByteBuffer bytes;
      bytes.put(IndexEntry{offset, block.first_record, block.time, block.vcpu, block.records()});
      index.payload.insert(index.payload.end(), bytes.bytes().begin(), bytes.bytes().end());
      ++footer.totals.blocks;
      footer.totals.accesses += block.accesses;
      footer.totals.events += block.events;
    }
    footer.totals.side_sections += part.type == kSideSection;
    if (part.type == kIndexSection) footer.index_offset = offset;
    offset += sizeof(SectionFrame) + part.payload.size();
    if (part.type == kIndexSection) offset += index.payload.size() - part.payload.size();
  }
  for (Part& part : parts) {
    if (part.type == kIndexSection) part = index;
    if (part.type != kFooterSection) continue;
    part.payload.resize(sizeof footer);
    std::memcpy(part.payload.data(), &footer, sizeof footer);
  }
}

}  // namespace nestwalk::traces
