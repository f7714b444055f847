// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/inventory.hpp"

namespace nestwalk::traces {

void check_vcpu(const Place& place, u32 vcpu, u32 vcpus) {
  if (vcpu >= vcpus) {
    place.fail("a vCPU below " + std::to_string(vcpus), std::to_string(vcpu));
  }
}

void Inventory::expect_no_index(const Place& place, const char* found) const {
  if (index_offset_) place.fail("the footer after the index", found);
}

void Inventory::check_block(const Place& place, const BlockHeader& block) const {
  check_vcpu(place, block.vcpu, vcpus_);
  expect_no_index(place, "a block");
  const auto found = records_.find(block.vcpu);
  const u64 expected = found == records_.end() ? 0 : found->second;
  if (block.first_record != expected) {
    const std::string of_vcpu = " of vCPU " + std::to_string(block.vcpu);
    place.fail("record " + std::to_string(expected) + of_vcpu,
               "record " + std::to_string(block.first_record));
  }
}

void Inventory::add_block(const Place& place, const BlockHeader& block) {
  blocks_.push_back({place.offset, block.first_record, block.time, block.vcpu, block.records()});
  records_[block.vcpu] = block.first_record + block.records();
  ++totals_.blocks;
  totals_.accesses += block.accesses;
  totals_.events += block.events;
}

void Inventory::add_side_data(const Place& place) {
  ++totals_.side_sections;
  expect_no_index(place, "side data");
}

void Inventory::add_index(const Place& place, std::span<const u8> payload, Index index) {
  expect_no_index(place, "a second index");
  index_offset_ = place.offset;
  if (index == Index::Ignore) return;
  ByteReader from(payload, place);
  for (std::size_t n = 0; n < blocks_.size(); ++n) {
    const Place at{place.name, place.offset + sizeof(SectionFrame) + n * sizeof(IndexEntry)};
    if (from.left() == 0) {
      at.fail("an index of " + std::to_string(blocks_.size()) + " blocks", std::to_string(n));
    }
    const auto entry = from.take<IndexEntry>("an index entry");
    const IndexEntry& block = blocks_[n];
    if (entry == block) continue;
    const std::string which =
        "of block " + std::to_string(n) + " at byte " + std::to_string(block.offset) + ":";
    at.expect("in the index, the offset " + which, block.offset, entry.offset);
    at.expect("in the index, the first record " + which, block.first_record, entry.first_record);
    at.expect("in the index, the clock " + which, block.time, entry.time);
    at.expect("in the index, the vCPU " + which, block.vcpu, entry.vcpu);
    at.expect("in the index, the records " + which, block.records, entry.records);
  }
  from.expect_end("the index");
}

void Inventory::add_footer(const Place& place, std::span<const u8> payload, Index index) {
  ByteReader from(payload, place);
  const auto footer = from.take<Footer>("a footer");
  from.expect_end("the footer");
  const Totals& promised = footer.totals;
  place.expect("blocks:", promised.blocks, totals_.blocks);
  place.expect("accesses:", promised.accesses, totals_.accesses);
  place.expect("events:", promised.events, totals_.events);
  place.expect("sections of side data:", promised.side_sections, totals_.side_sections);
  if (index == Index::Ignore) return;
  if (!index_offset_) place.fail("an index before the footer", "none");
  place.expect("the index at byte", *index_offset_, footer.index_offset);
}

}  // namespace nestwalk::traces
