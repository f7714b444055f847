// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/reader.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace nestwalk::traces {
namespace {

constexpr u64 kFooterBytes = sizeof(SectionFrame) + sizeof(Footer);

template <class T>
void expect_same(const Place& place, const std::string& what, T expected, T found) {
  if (expected != found) {
    place.fail(what + " " + std::to_string(expected), std::to_string(found));
  }
}

}  // namespace

Reader::Reader(std::unique_ptr<ByteSource> source, OnLoss on_loss)
    : source_(std::move(source)),
      size_(source_->seekable_size()),
      sections_(*source_, std::move(on_loss)) {
  read_header();
  next_record_.resize(header_.vcpus);
}

void Reader::read_header() {
  Section section;
  try {
    if (!sections_.next(section)) {
      throw InputError(sections_.name(), sections_.offset(), "a header", "the end of the file");
    }
    const Place place = place_of(section);
    if (section.type != kHeaderSection) place.fail("a header", "another section");
    ByteReader from(section.payload, place);
    header_ = take_header(from);
  } catch (const InputError& error) {
    sections_.lose(error);
    header_ = {};
    header_.vcpus = kMaxVcpus;
    header_.provenance.emplace_back("header", "lost");
    sections_.again();
  }
}

Reader::Item Reader::next() {
  while (!ended_) {
    try {
      if (in_block_) {
        if (next_chunk()) return Item::Records;
        continue;
      }
      const Item item = next_item();
      if (item != Item::Records) return item;
    } catch (const InputError& error) {
      in_block_ = false;
      sections_.lose(error);
    }
  }
  return Item::End;
}

bool Reader::next_chunk() {
  in_block_ = block_->next(chunk_);
  if (!in_block_) return false;
  totals_.accesses += chunk_.accesses.size();
  totals_.events += chunk_.event != nullptr;
  return true;
}

// Reads a section. Records: a block was opened, or the section was not for the caller.
Reader::Item Reader::next_item() {
  Section section;
  if (!sections_.next(section)) {
    ended_ = true;
    throw InputError(
        sections_.name(), sections_.offset(), "a footer",
        "that the file ends early, after " + std::to_string(totals_.blocks) + " whole blocks");
  }
  switch (section.type) {
    case kBlockSection:
      open_block(section);
      return Item::Records;
    case kSideSection:
      read_side_data(section);
      return Item::SideData;
    case kFooterSection:
      ended_ = true;
      read_footer(section);
      return Item::End;
    case kHeaderSection:
      place_of(section).fail("one header", "a second one");
    default:
      return Item::Records;
  }
}

void Reader::open_block(const Section& section) {
  const Place place = place_of(section);
  const BlockHeader block = BlockDecoder::read_header(section.payload, place);
  if (block.vcpu >= header_.vcpus) {
    place.fail("a vCPU below " + std::to_string(header_.vcpus), std::to_string(block.vcpu));
  }
  u64& next_record = next_record_[block.vcpu];
  const u64 expected = std::exchange(next_record, block.first_record + block.records());
  if (!block_) block_ = std::make_unique<BlockDecoder>();
  block_->open(section.payload, place);
  in_block_ = true;
  ++totals_.blocks;
  if (!sought_ && expected != block.first_record) {
    const InputError gap(
        place.name, place.offset,
        "record " + std::to_string(expected) + " of vCPU " + std::to_string(block.vcpu),
        "record " + std::to_string(block.first_record));
    sections_.lose(gap);
  }
}

void Reader::read_side_data(const Section& section) {
  const Place place = place_of(section);
  ByteReader stored(section.payload, place);
  const u64 raw_bytes = stored.take<u64>("the size of side data");
  stored.check_below(raw_bytes, kMaxSideBytes + 1, "a size of side data");
  std::vector<u8> raw(raw_bytes);
  zstd_.decompress(stored.take_bytes(stored.left(), "side data"), raw, place);
  ByteReader from(raw, place);
  side_ = take_side_data(from);
  ++totals_.side_sections;
}

void Reader::read_footer(const Section& section) {
  const Place place = place_of(section);
  ByteReader from(section.payload, place);
  const Totals promised = from.take<Footer>("a footer").totals;
  from.expect_end("the footer");
  if (!sought_) {
    expect_same(place, "blocks:", promised.blocks, totals_.blocks);
    expect_same(place, "accesses:", promised.accesses, totals_.accesses);
    expect_same(place, "events:", promised.events, totals_.events);
    expect_same(place, "sections of side data:", promised.side_sections, totals_.side_sections);
  }
  if (!sections_.at_end()) {
    throw InputError(place.name, sections_.offset(), "the end of the file after the footer",
                     "more bytes");
  }
}

std::vector<IndexEntry> Reader::read_index() {
  if (size_ == 0) {
    throw InputError(sections_.name(), "needs to be a file, not compressed and not a pipe");
  }
  const u64 here = sections_.next_offset();
  sought_ = true;
  in_block_ = false;
  std::vector<IndexEntry> index;
  try {
    index = load_index();
  } catch (const InputError& error) {
    lose_index(error);
    index = scan_blocks();
  }
  sections_.seek(here);
  return index;
}

void Reader::lose_index(const InputError& error) {
  try {
    sections_.lose(error);
  } catch (const InputError&) {
    index_damage_.emplace(error);
  }
}

std::vector<IndexEntry> Reader::load_index() {
  const Place file{sections_.name(), size_};
  if (size_ < kFooterBytes) file.fail("a footer", "the end of the file");
  source_->seek(0);
  SectionReader sections(*source_, {});  // What is damaged here is one loss: that of the index.
  Section section;
  const Place footer{sections_.name(), size_ - kFooterBytes};
  sections.seek(footer.offset);
  if (!sections.next(section) || section.type != kFooterSection) footer.fail("a footer", "none");
  const Place place{sections_.name(),
                    ByteReader(section.payload, footer).take<Footer>("a footer").index_offset};
  sections.seek(place.offset);
  if (!sections.next(section) || section.type != kIndexSection) place.fail("an index", "none");
  ByteReader from(section.payload, place);
  std::vector<IndexEntry> index(section.payload.size() / sizeof(IndexEntry));
  for (IndexEntry& entry : index) entry = from.take<IndexEntry>("an index entry");
  from.expect_end("the index");
  return index;
}

std::vector<IndexEntry> Reader::scan_blocks() {
  std::vector<IndexEntry> index;
  Section section;
  sections_.seek(sizeof(Preamble));
  try {
    while (sections_.next(section) && section.type != kFooterSection) {
      if (section.type != kBlockSection) continue;
      const BlockHeader block = BlockDecoder::read_header(section.payload, place_of(section));
      index.push_back(
          {section.offset, block.first_record, block.time, block.vcpu, block.records()});
    }
  } catch (const InputError& error) {
    lose_index(error);
  }
  return index;
}

void Reader::seek(const IndexEntry& entry) {
  sections_.seek(entry.offset);
  sought_ = true;
  ended_ = false;
  in_block_ = false;
}

StreamReader::StreamReader(std::unique_ptr<ByteSource> source, u32 vcpu, OnLoss on_loss)
    : reader_(std::move(source), std::move(on_loss)), vcpu_(vcpu) {
  take_blocks(reader_.read_index());
}

StreamReader::StreamReader(std::unique_ptr<ByteSource> source, u32 vcpu,
                           std::span<const IndexEntry> index, OnLoss on_loss)
    : reader_(std::move(source), std::move(on_loss)), vcpu_(vcpu) {
  take_blocks(index);
}

void StreamReader::take_blocks(std::span<const IndexEntry> index) {
  std::copy_if(index.begin(), index.end(), std::back_inserter(blocks_),
               [&](const IndexEntry& entry) { return entry.vcpu == vcpu_; });
}

bool StreamReader::next(Chunk& chunk) {
  for (;;) {
    if (left_ == 0) {
      if (next_block_ == blocks_.size()) {
        if (reader_.index_damage()) throw *reader_.index_damage();
        return false;
      }
      reader_.seek(blocks_[next_block_]);
      left_ = blocks_[next_block_++].records;
    }
    if (reader_.next() == Reader::Item::Records && reader_.chunk().vcpu == vcpu_) break;
    left_ = 0;  // The block is lost, and reported; what came is another one.
  }
  chunk = reader_.chunk();
  left_ -= std::min<u64>(left_, chunk.accesses.size() + (chunk.event != nullptr));
  return true;
}

}  // namespace nestwalk::traces
