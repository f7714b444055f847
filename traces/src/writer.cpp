// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/writer.hpp"

#include <algorithm>

namespace nestwalk::traces {
namespace {

// Of all streams together, so that many vCPUs do not take the memory of as many large blocks.
constexpr u32 kMaxOpenRecords = 16 * kMaxBlockRecords;

// Side data of at most this many bytes per section, and a page more.
constexpr std::size_t kSideBytes = 16 << 20;

// The part of `access` that lies in its first page, and what is left.
Access first_piece(const Access& access, u64 offset) {
  Access piece = access;
  piece.size = static_cast<u16>(std::min<u64>(access.size, kPageBytes - offset));
  return piece;
}

Access rest_of(const Access& access, u16 done) {
  Access rest = access;
  if (rest.has(kGvaKnown)) rest.gva += done;
  if (rest.has(kGpaKnown)) rest.gpa += done;
  rest.size = static_cast<u16>(access.size - done);
  rest.instructions = 0;
  rest.flags |= kContinues;
  return rest;
}

}  // namespace

Writer::Writer(ByteSink& sink, const Header& header, const Options& options)
    : sections_(sink), options_(options), zstd_(options.level) {
  if (header.vcpus == 0 || header.vcpus > kMaxVcpus) {
    throw RecordError("a trace has 1 to " + std::to_string(kMaxVcpus) + " vCPUs");
  }
  if (header.memory.size() > kMaxMemoryRanges || header.provenance.size() > kMaxProvenance) {
    throw RecordError("a header has at most " + std::to_string(kMaxMemoryRanges) +
                      " memory ranges and " + std::to_string(kMaxProvenance) +
                      " notes on provenance, not " + std::to_string(header.memory.size()) +
                      " and " + std::to_string(header.provenance.size()));
  }
  if (options.block_records == 0 || options.block_records > kMaxBlockRecords) {
    throw RecordError("a block has 1 to " + std::to_string(kMaxBlockRecords) + " records");
  }
  options_.block_records = std::min(options_.block_records, kMaxOpenRecords / header.vcpus);
  encoders_.resize(header.vcpus);
  put(payload_, header);
  if (payload_.size() > kMaxPayload) throw RecordError("the header is too large");
  sections_.write(kHeaderSection, payload_.bytes());
}

BlockEncoder& Writer::encoder(u32 vcpu) {
  if (vcpu >= encoders_.size()) {
    throw RecordError("vCPU " + std::to_string(vcpu) + " of a trace of " +
                      std::to_string(encoders_.size()));
  }
  std::unique_ptr<BlockEncoder>& encoder = encoders_[vcpu];
  if (!encoder) encoder = std::make_unique<BlockEncoder>(vcpu);
  return *encoder;
}

void Writer::append(u32 vcpu, const Access& access, const Access* next_page) {
  const u64 address = access.has(kGvaKnown) ? access.gva.value() : access.gpa.value();
  const u64 offset = address % kPageBytes;
  if (offset + access.size <= kPageBytes) [[likely]]
    return append_piece(vcpu, access);

  const Access first = first_piece(access, offset);
  Access rest = rest_of(access, first.size);
  const bool one_address = !access.has(kGvaKnown | kGpaKnown) && !access.has(kHpaKnown);
  if (next_page != nullptr) {
    rest.gpa = next_page->gpa;
    rest.hpa = next_page->hpa;
  } else if (!one_address) {
    throw RecordError("an access that crosses into a page whose frame is not given");
  }
  append_piece(vcpu, first);
  append(vcpu, rest);
}

void Writer::append_piece(u32 vcpu, const Access& access) {
  BlockEncoder& stream = encoder(vcpu);
  stream.append(access);
  ++totals_.accesses;
  flush_when_full(stream);
}

void Writer::append(u32 vcpu, const Event& event) {
  BlockEncoder& stream = encoder(vcpu);
  stream.append(event);
  ++totals_.events;
  flush_when_full(stream);
}

void Writer::flush_when_full(BlockEncoder& encoder) {
  if (encoder.records() >= options_.block_records || encoder.full()) flush(encoder);
}

void Writer::flush(BlockEncoder& encoder) {
  const BlockHeader& block = encoder.header();
  index_.push_back(
      {sections_.offset(), block.first_record, block.time, block.vcpu, block.records()});
  payload_.clear();
  encoder.finish(zstd_, payload_);
  sections_.write(kBlockSection, payload_.bytes());
  ++totals_.blocks;
}

void Writer::append(const SideData& side) {
  SideData part{side.when, side.stage, side.vcpu, side.registers, {}};
  std::size_t bytes = 0;
  for (const TablePage& page : side.pages) {
    if (page.bytes.size() > kSideBytes) throw RecordError("a page of more than 16 MiB");
    if (bytes + page.bytes.size() > kSideBytes) {
      write_side(part);
      part.registers.clear();
      part.pages.clear();
      bytes = 0;
    }
    part.pages.push_back(page);
    bytes += page.bytes.size() + 20;
  }
  write_side(part);
}

void Writer::write_side(const SideData& side) {
  ByteBuffer raw;
  put(raw, side);
  if (raw.size() > kMaxSideBytes) throw RecordError("side data of too many registers");
  payload_.clear();
  payload_.put(static_cast<u64>(raw.size()));
  zstd_.compress(raw.bytes(), payload_);
  sections_.write(kSideSection, payload_.bytes());
  ++totals_.side_sections;
}

void Writer::finish() {
  end();
  sections_.finish();
}

void Writer::end() {
  for (const std::unique_ptr<BlockEncoder>& encoder : encoders_) {
    if (encoder && encoder->records() != 0) flush(*encoder);
  }
  const Footer footer{sections_.offset(), totals_};
  payload_.clear();
  for (const IndexEntry& entry : index_) payload_.put(entry);
  sections_.write(kIndexSection, payload_.bytes());
  payload_.clear();
  payload_.put(footer);
  sections_.write(kFooterSection, payload_.bytes());
}

}  // namespace nestwalk::traces
