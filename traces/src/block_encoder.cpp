// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>

#include "nestwalk/traces/block.hpp"

namespace nestwalk::traces {
namespace {

struct Distance {
  u64 value;
  bool scaled;
  u8 length;
};

Distance encode_distance(u64 distance) {
  const bool scaled = (distance & 7) == 0;
  const u64 units = scaled ? static_cast<u64>(static_cast<std::int64_t>(distance) >> 3) : distance;
  const u64 value = zigzag(units);
  return {value, scaled, static_cast<u8>((std::bit_width(value) + 7) / 8)};
}

u64 pages_between(u64 from, u64 to) {
  return static_cast<u64>(static_cast<std::int64_t>(to - from) >> kPageShift);
}

Frame frame_of(const Access& access, u64 address) {
  return Frame::of(access.flags & kAddressesKnown,
                   access.has(kGpaKnown) ? access.gpa.value() - address : 0,
                   access.has(kHpaKnown) ? access.hpa.value() - address : 0);
}

struct CheckText {
  void operator()(const char*, const auto&) const {}
  void operator()(const char*, const std::string& text) const {
    if (text.size() > kMaxEventText) throw RecordError("an event with a name of over 4096 bytes");
  }
};

void check(const Access& access, u64 address) {
  const u64 offset = address % kPageBytes;
  if (access.kind > AccessKind::Fetch) throw RecordError("an access of an unknown kind");
  if (access.flags > (kAddressesKnown | kDependent | kContinues)) {
    throw RecordError("an access with unknown flags");
  }
  if (!access.has(kGvaKnown) && !access.has(kGpaKnown)) {
    throw RecordError("an access without GVA and GPA");
  }
  if (offset + access.size > kPageBytes) throw RecordError("an access that crosses a page");
  if ((access.has(kGpaKnown) && access.gpa.offset_in(kPageBytes) != offset) ||
      (access.has(kHpaKnown) && access.hpa.offset_in(kPageBytes) != offset)) {
    throw RecordError("an access whose addresses disagree in their offset within the page");
  }
}

}  // namespace

BlockEncoder::BlockEncoder(u32 vcpu) {
  header_.vcpu = vcpu;
  begin_block();
}

void BlockEncoder::begin_block() {
  header_.first_record += header_.records();
  header_.accesses = header_.events = 0;
  header_.time = time_;
  header_.root = root_;
  header_.asid = asid_;
  accesses_since_event_ = 0;
  last_frame_ = {};
  for (ByteBuffer& column : columns_) column.clear();
  ids_.clear();
  id_of_key_.clear();
  keys_.clear();
  counts_.clear();
}

void BlockEncoder::append(const Access& access) {
  const u64 address = access.has(kGvaKnown) ? access.gva.value() : access.gpa.value();
  check(access, address);
  if (header_.accesses == 0) begin_accesses();
  const u32 id = shape_id(shape_key(access, address));
  ++counts_[id];
  ids_.push_back(id);
  ++header_.accesses;
  ++accesses_since_event_;
  time_ += access.instructions;
}

// The large tables, when the block turns out to have an access.
void BlockEncoder::begin_accesses() {
  addresses_.reset();
  frames_.reset(root_, asid_);
  cache_.reset();
}

// Writes the distance and, when it is news, the frame; returns the rest.
u64 BlockEncoder::shape_key(const Access& access, u64 address) {
  Shape shape;
  shape.kind = access.kind;
  shape.flags = access.flags & (kDependent | kContinues);
  shape.size = access.size;
  shape.instructions = access.instructions;

  const AddressHistory::Slot slot = addresses_.history.next(
      AddressHistory::context_of(access.kind, access.size, access.instructions),
      access.kind == AccessKind::Fetch);
  Distance distance = encode_distance(address - slot.base(false));
  const Distance other = encode_distance(address - slot.base(true));
  if (other.length < distance.length) {
    distance = other;
    shape.previous = true;
  }
  slot.update(address);
  shape.scaled = distance.scaled;
  shape.length = distance.length;
  std::memcpy(columns_[kDeltas].room(8), &distance.value, 8);
  columns_[kDeltas].commit(distance.length);

  Frame& predicted = frames_.map.at(address);
  const Frame actual = frame_of(access, address);
  shape.new_frame = !(predicted == actual);
  if (shape.new_frame) correct_frame(predicted, actual);
  return key_of(shape);
}

void BlockEncoder::correct_frame(Frame& frame, Frame actual) {
  ByteBuffer& column = columns_[kFrames];
  column.put<u8>(actual.known());
  if (actual.known() & kGpaKnown) {
    column.put_varint(zigzag(pages_between(last_frame_.gpa_distance(), actual.gpa_distance())));
    last_frame_.gpa = actual.gpa;
  }
  if (actual.known() & kHpaKnown) {
    column.put_varint(zigzag(pages_between(last_frame_.hpa, actual.hpa)));
    last_frame_.hpa = actual.hpa;
  }
  frame = actual;
}

u32 BlockEncoder::shape_id(u64 key) {
  CacheEntry& cached = cache_.data()[key * 0x9E3779B97F4A7C15 >> 52];
  if (cached.inverted_key == ~key) return cached.id;
  const auto [found, is_new] = id_of_key_.try_emplace(key, static_cast<u32>(keys_.size()));
  if (is_new) {
    keys_.push_back(key);
    counts_.push_back(0);
  }
  cached = {~key, found->second};
  return found->second;
}

void BlockEncoder::append(const Event& event) {
  std::visit([](const auto& detail) { for_each_field(detail, CheckText{}); }, event.detail);
  columns_[kEvents].put_varint(accesses_since_event_);
  put(columns_[kEvents], event);
  accesses_since_event_ = 0;
  ++header_.events;
  time_ += event.instructions;
  if (const auto* sync = std::get_if<TimeSync>(&event.detail)) time_ = std::max(time_, sync->time);
  if (const auto* space = std::get_if<SpaceSwitch>(&event.detail)) {
    root_ = space->root;
    asid_ = space->asid;
    frames_.map.switch_space(root_, asid_);
  }
}

// Gives the most frequent shapes a token each; the others are spelled out where they occur.
void BlockEncoder::choose_shapes() {
  std::vector<u32> order(keys_.size());
  for (u32 id = 0; id < order.size(); ++id) order[id] = id;
  const std::size_t chosen = std::min<std::size_t>(order.size(), kEscapeToken);
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(chosen), order.end(),
      [&](u32 a, u32 b) { return counts_[a] != counts_[b] ? counts_[a] > counts_[b] : a < b; });
  std::vector<u8> token_of(keys_.size(), kEscapeToken);
  for (std::size_t n = 0; n < chosen; ++n) {
    token_of[order[n]] = static_cast<u8>(n);
    put(columns_[kShapes], shape_of(keys_[order[n]]));
  }
  header_.shapes = static_cast<u32>(chosen);

  u8* const tokens = columns_[kTokens].room(ids_.size());
  for (std::size_t n = 0; n < ids_.size(); ++n) {
    tokens[n] = token_of[ids_[n]];
    if (tokens[n] == kEscapeToken) put(columns_[kEscapes], shape_of(keys_[ids_[n]]));
  }
  columns_[kTokens].commit(ids_.size());
}

void BlockEncoder::finish(Zstd& zstd, ByteBuffer& to) {
  choose_shapes();
  const std::size_t start = to.size();
  to.put(header_);
  BlockHeader written = header_;
  for (unsigned column = 0; column < kColumns; ++column) {
    const std::span<const u8> raw = columns_[column].bytes();
    written.columns[column] = {static_cast<u32>(raw.size()), zstd.compress(raw, to)};
  }
  std::memcpy(to.data() + start, &written, sizeof written);
  begin_block();
}

}  // namespace nestwalk::traces
