// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/reader.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace nestwalk::traces {
namespace {

[[noreturn]] void fail_at_end(const SectionReader& sections, u64 blocks) {
  throw InputError(sections.name(), sections.offset(), "a footer",
                   "that the file ends early, after " + std::to_string(blocks) + " whole blocks");
}

void expect_end(SectionReader& sections) {
  if (sections.at_end()) return;
  throw InputError(sections.name(), sections.offset(), "the end of the file after the footer",
                   "more bytes");
}

}  // namespace

Reader::Reader(std::unique_ptr<ByteSource> source, OnLoss on_loss)
    : source_(std::move(source)),
      size_(source_->seekable_size()),
      sections_(*source_, std::move(on_loss)),
      inventory_(0) {
  read_header();
  inventory_ = Inventory(header_.vcpus);
  side_rules_ = std::make_shared<SideRules>(header_);
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
    place.expect_no(breach_of(header_));
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
  if (!in_block_) {
    positions_[block_->position().vcpu] = block_->position();
    if (!block_->begins()) begun_.insert(block_->position().vcpu);
    return false;
  }
  judge_chunk();
  totals_.accesses += chunk_.accesses.size();
  totals_.events += chunk_.event != nullptr;
  return true;
}

void Reader::judge_chunk() {
  if (!chunk_.accesses.empty()) {
    if (const auto breach = side_rules_->breach_of_access(chunk_.vcpu)) {
      throw InputError(sections_.name(),
                       "expected " + breach->expected + ", found " + breach->found);
    }
  }
  if (chunk_.event == nullptr) return;
  side_rules_->follow(chunk_.vcpu, chunk_.first_record + chunk_.accesses.size(), *chunk_.event);
}

// Reads a section. Records: a block was opened, or the section was not for the caller.
Reader::Item Reader::next_item() {
  using enum Inventory::Index;
  Section section;
  if (!sections_.next(section)) {
    ended_ = true;
    fail_at_end(sections_, totals_.blocks);
  }
  // Where blocks were lost, the index lists more.
  const Inventory::Index index = sections_.has_lost() ? Ignore : Compare;
  switch (section.type) {
    case kBlockSection:
      open_block(section);
      return Item::Records;
    case kSideSection:
      read_side_data(section);
      return Item::SideData;
    case kIndexSection:
      inventory_.add_index(place_of(section), section.payload, index);
      return Item::Records;
    case kFooterSection:
      ended_ = true;
      inventory_.add_footer(place_of(section), section.payload, index);
      place_of(section).expect_no(side_rules_->breach_at_end());
      expect_end(sections_);
      return Item::End;
    case kHeaderSection:
      place_of(section).fail("one header", "a second one");
    default:
      return Item::Records;
  }
}

void Reader::open_block(const Section& section) {
  const Place place = place_of(section);
  const BlockHeader block =
      BlockDecoder::read_header(section.payload, section.payload_bytes, place);
  check_vcpu(place, block.vcpu, header_.vcpus);
  decode(section, block);
  ++totals_.blocks;
  try {
    inventory_.check_block(place, block);
    check_position(place, block);
  } catch (const InputError& error) {
    sections_.lose(error);  // but the block is whole
  }
  inventory_.add_block(place, block);
}

void Reader::decode(const Section& section, const BlockHeader& block) {
  if (!block_) block_ = std::make_unique<BlockDecoder>(RecordRules(header_));
  // There is a gap, or the caller sought.
  if (positions_[block.vcpu].first_record != block.first_record) side_rules_->lose(block.vcpu);
  const bool begins =
      !begun_.contains(block.vcpu) && positions_[block.vcpu].first_record == block.first_record;
  block_->open(section.payload, place_of(section), begins);
  in_block_ = true;
}

// A block repeats what the stream's records before it come to.
void Reader::check_position(const Place& place, const BlockHeader& block) {
  const Chunk& before = positions_[block.vcpu];
  if (before.first_record != block.first_record) return;  // there is a gap, or the caller sought
  const std::string at = " before record " + std::to_string(block.first_record) + " of vCPU " +
                         std::to_string(block.vcpu) + " as";
  place.expect("the clock" + at, before.time, block.time);
  place.expect("the address space's root" + at, before.root, block.root);
  place.expect("the ASID" + at, before.asid, block.asid);
}

void Reader::read_side_data(const Section& section) {
  side_offset_ = section.offset;
  side_ = take_side_data_of(section);
  ++totals_.side_sections;
  inventory_.add_side_data(place_of(section));
}

SideData Reader::take_side_data_of(const Section& section) {
  const Place place = place_of(section);
  ByteReader stored(section.payload, place);
  const u64 raw_bytes = stored.take<u64>("the size of side data");
  stored.check_below(raw_bytes, kMaxSideBytes + 1, "a size of side data");
  std::vector<u8> raw(raw_bytes);
  zstd_.decompress(stored.take_bytes(stored.left(), "side data"), raw, place);
  ByteReader from(raw, place);
  SideData side = take_side_data(from);
  check_vcpu(place, side.vcpu, header_.vcpus);
  place.expect_no(side_rules_->add(side));
  return side;
}

void Reader::check_side_data() {
  const u64 here = sections_.next_offset();
  sections_.seek(sizeof(Preamble));
  Section section;
  while (sections_.next_head(section, 0) && section.type != kFooterSection) {
    if (section.type != kSideSection) continue;
    sections_.again();
    sections_.next(section);
    (void)take_side_data_of(section);
  }
  if (section.type == kFooterSection) {
    place_of(section).expect_no(side_rules_->breach_at_end());
  }
  sections_.seek(here);
}

std::vector<IndexEntry> Reader::read_index() {
  if (size_ == 0) {
    throw InputError(sections_.name(), "needs to be a file, not compressed and not a pipe");
  }
  const u64 here = sections_.next_offset();
  in_block_ = false;
  std::vector<IndexEntry> index;
  try {
    index = take_inventory().blocks();
  } catch (const InputError& error) {
    lose_index(error);
    index = scan_blocks().blocks();
  }
  sections_.seek(here);
  return index;
}

// False if the damage is to be thrown, in the end.
bool Reader::lose_index(const InputError& error) {
  try {
    sections_.lose(error);
    return true;
  } catch (const InputError&) {
    index_damage_.emplace(error);
    return false;
  }
}

// From the headers of the sections, without their contents: quick, however large the file is.
Inventory Reader::take_inventory() {
  Inventory inventory(header_.vcpus);
  source_->seek(0);
  SectionReader sections(*source_, {});  // What is damaged here is one loss: that of the index.
  Section section;
  if (!sections.next_head(section, 0) || section.type != kHeaderSection) {
    place_of(section).fail("a header", "another section");
  }
  while (sections.next_head(section, sizeof(BlockHeader))) {
    const Place place = place_of(section);
    switch (section.type) {
      case kBlockSection: {
        const BlockHeader block =
            BlockDecoder::read_header(section.payload, section.payload_bytes, place);
        inventory.check_block(place, block);
        inventory.add_block(place, block);
        break;
      }
      case kSideSection:
        inventory.add_side_data(place);
        break;
      case kHeaderSection:
        place.fail("one header", "a second one");
      case kIndexSection:
        sections.again();
        sections.next(section);
        inventory.add_index(place, section.payload, Inventory::Index::Compare);
        break;
      case kFooterSection:
        sections.again();
        sections.next(section);
        inventory.add_footer(place, section.payload, Inventory::Index::Compare);
        expect_end(sections);
        return inventory;
      default:
        break;
    }
  }
  fail_at_end(sections, inventory.totals().blocks);
}

// From whole blocks.
Inventory Reader::scan_blocks() {
  Inventory inventory(header_.vcpus);
  Section section;
  sections_.seek(sizeof(Preamble));
  for (;;) {
    try {
      if (!sections_.next(section) || section.type == kFooterSection) return inventory;
      const Place place = place_of(section);
      if (section.type == kIndexSection) {
        inventory.add_index(place, section.payload, Inventory::Index::Ignore);
      }
      if (section.type != kBlockSection) continue;
      const BlockHeader block =
          BlockDecoder::read_header(section.payload, section.payload_bytes, place);
      check_vcpu(place, block.vcpu, header_.vcpus);
      try {
        inventory.check_block(place, block);
      } catch (const InputError& error) {
        if (!lose_index(error)) return inventory;  // otherwise: the block is whole
      }
      inventory.add_block(place, block);
    } catch (const InputError& error) {
      if (!lose_index(error)) return inventory;
    }
  }
}

void Reader::seek(const IndexEntry& entry) {
  sections_.seek(entry.offset);
  sought_ = entry;
  in_block_ = false;
}

bool Reader::next_of_block() {
  try {
    if (sought_) open_entry(*std::exchange(sought_, std::nullopt));
    return in_block_ && next_chunk();
  } catch (const InputError& error) {
    in_block_ = false;
    sections_.lose(error);
    return false;
  }
}

void Reader::open_entry(const IndexEntry& entry) {
  Section section;
  // A salvaging reader passes over damage, to another section.
  if (!sections_.next(section) || section.offset != entry.offset) return;
  const Place place = place_of(section);
  const BlockHeader block =
      BlockDecoder::read_header(section.payload, section.payload_bytes, place);
  const IndexEntry found{section.offset, block.first_record, block.time, block.vcpu,
                         block.records()};
  if (section.type != kBlockSection || found != entry) {
    place.fail("the block that was here when the file was opened", "another one");
  }
  decode(section, block);
  try {
    check_position(place, block);
  } catch (const InputError& error) {
    sections_.lose(error);  // but the block is whole
  }
}

std::map<u32, std::vector<IndexEntry>> by_vcpu(std::span<const IndexEntry> index) {
  std::map<u32, std::vector<IndexEntry>> blocks;
  for (const IndexEntry& entry : index) blocks[entry.vcpu].push_back(entry);
  return blocks;
}

StreamReader::StreamReader(std::unique_ptr<ByteSource> source, u32 vcpu, OnLoss on_loss)
    : reader_(std::move(source), std::move(on_loss)) {
  blocks_ = std::move(by_vcpu(reader_.read_index())[vcpu]);
}

StreamReader::StreamReader(std::unique_ptr<ByteSource> source, std::vector<IndexEntry> blocks,
                           OnLoss on_loss)
    : reader_(std::move(source), std::move(on_loss)), blocks_(std::move(blocks)) {}

bool StreamReader::next(Chunk& chunk) {
  while (!reader_.next_of_block()) {
    if (next_block_ == blocks_.size()) {
      if (reader_.index_damage()) throw *reader_.index_damage();
      return false;
    }
    reader_.seek(blocks_[next_block_++]);
  }
  chunk = reader_.chunk();
  return true;
}

}  // namespace nestwalk::traces
