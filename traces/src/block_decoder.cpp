// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include "nestwalk/traces/block.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::size_t kBatch = 1024;
constexpr std::size_t kMaxShapeBytes = 9;   // first byte, length, varints of 13 and 32 bits
constexpr std::size_t kMaxFrameBytes = 17;  // flags, two varints of 52 bits
constexpr const char* kColumnBytes[kColumns] = {"bytes of shapes",    "bytes of tokens",
                                                "bytes of distances", "bytes of frames",
                                                "bytes of escapes",   "bytes of events"};

u64 most_bytes(unsigned column, const BlockHeader& block) {
  const u64 most[kColumns] = {block.shapes * kMaxShapeBytes,
                              block.accesses,
                              u64{block.accesses} * 8,
                              u64{block.accesses} * kMaxFrameBytes,
                              u64{block.accesses} * kMaxShapeBytes,
                              block.events == 0 ? 0 : kMaxEventBytes + 2 * kMaxEventText};
  return most[column];
}

void check_number(const Place& place, const char* what, u64 value, u64 most) {
  if (value > most) {
    place.fail("at most " + std::to_string(most) + " " + what, std::to_string(value));
  }
}

// The last 8 bytes of an Access as one number.
struct Tail {
  u32 instructions;
  u16 size;
  AccessKind kind;
  u8 flags;
};
constexpr std::size_t kTailOffset = offsetof(Access, instructions);
constexpr unsigned kFlagsShift = 56;
static_assert(offsetof(Access, flags) - kTailOffset == offsetof(Tail, flags));
static_assert(kTailOffset + sizeof(Tail) == sizeof(Access));

u64 offset_of(const Access& access) {
  return (access.has(kGvaKnown) ? access.gva.value() : access.gpa.value()) % kPageBytes;
}

// `known` is a constant where it matters.
inline void put_addresses(Access& access, u64 address, const Frame& frame, u8 known) {
  access.gva = Gva(known & kGvaKnown ? address : 0);
  access.gpa = Gpa(known & kGpaKnown ? address + frame.gpa_distance() : 0);
  access.hpa = Hpa(known & kHpaKnown ? address + frame.hpa : 0);
}

}  // namespace

// A shape, made ready for the loop.
struct alignas(32) BlockDecoder::Token {
  u64 mask = 0;
  u64 tail = 0;
  u64 scale = 1;
  u8 length = 0;
  u8 context = 0;
  bool fetch = false;
  bool previous = false;
  bool new_frame = false;
  bool escape = true;  // spelled out, or not a token of this block
  u16 last_byte = 0;   // from its first one on

  Token() = default;
  explicit Token(const Shape& shape)
      : mask(addrspace::low_mask(shape.length * 8u)),
        tail(std::bit_cast<u64>(Tail{shape.instructions, shape.size, shape.kind, shape.flags})),
        scale(shape.scaled ? 8 : 1),
        length(shape.length),
        context(AddressHistory::context_of(shape.kind, shape.size, shape.instructions)),
        fetch(shape.kind == AccessKind::Fetch),
        previous(shape.previous),
        new_frame(shape.new_frame),
        escape(false),
        last_byte(static_cast<u16>(shape.size == 0 ? 0 : shape.size - 1)) {}
};

BlockDecoder::BlockDecoder(const RecordRules& rules)
    : rules_(rules), tokens_(256), escaped_(std::make_unique<Token>()), batch_(kBatch) {}
BlockDecoder::~BlockDecoder() = default;

BlockHeader BlockDecoder::read_header(std::span<const u8> front, u64 payload_bytes,
                                      const Place& place) {
  ByteReader reader(front, place);
  const auto block = reader.take<BlockHeader>("a block header");
  check_number(place, "as a vCPU", block.vcpu, kMaxVcpus - 1);
  check_number(place, "accesses in a block", block.accesses, kMaxBlockRecords);
  check_number(place, "events in a block", block.events, kMaxBlockRecords);
  check_number(place, "records in a block", block.records(), kMaxBlockRecords);
  check_number(place, "shapes in a block", block.shapes, kEscapeToken);
  u64 stored = 0;
  for (unsigned column = 0; column < kColumns; ++column) {
    check_number(place, kColumnBytes[column], block.columns[column].raw, most_bytes(column, block));
    stored += block.columns[column].stored;
  }
  if (block.columns[kTokens].raw != block.accesses) {
    place.fail(std::to_string(block.accesses) + " tokens",
               std::to_string(block.columns[kTokens].raw));
  }
  const u64 columns_bytes = payload_bytes - sizeof block;
  if (stored != columns_bytes) {
    place.fail("columns of " + std::to_string(stored) + " bytes", std::to_string(columns_bytes));
  }
  return block;
}

void BlockDecoder::open(std::span<const u8> payload, const Place& place, bool begins) {
  place_ = place;
  begins_ = begins;
  header_ = read_header(payload, payload.size(), place_);
  place_.expect_no(rules_.breach(header_.root, header_.asid));
  read_columns(payload.subspan(sizeof header_));
  accesses_left_ = header_.accesses;
  events_left_ = header_.events;
  position_ = {header_.vcpu, header_.first_record, header_.time, header_.root, header_.asid, {},
               nullptr};
  addresses_.reset();
  frames_.reset(header_.root, header_.asid);
  last_frame_ = {0, 0};
  read_tokens();
  plan_event();
}

void BlockDecoder::read_columns(std::span<const u8> stored) {
  for (unsigned column = 0; column < kColumns; ++column) {
    const BlockHeader::Size size = header_.columns[column];
    std::vector<u8>& bytes = columns_[column];
    // Distances are loaded 8 bytes at a time, and a batch is checked when it is done.
    const std::size_t slack = column == kDeltas ? 8 * kBatch : 0;
    if (bytes.size() < size.raw + slack) bytes.resize(size.raw + slack);
    zstd_.decompress(stored.first(size.stored), {bytes.data(), size.raw}, place_);
    stored = stored.subspan(size.stored);
  }
  token_ = columns_[kTokens].data();
  delta_ = columns_[kDeltas].data();
  frame_reader_ = reader(kFrames);
  escape_reader_ = reader(kEscapes);
  event_reader_ = reader(kEvents);
}

ByteReader BlockDecoder::reader(Column column) const {
  return {{columns_[column].data(), header_.columns[column].raw}, place_};
}

void BlockDecoder::read_tokens() {
  std::fill(tokens_.begin(), tokens_.end(), Token{});
  ByteReader shapes = reader(kShapes);
  for (u32 n = 0; n < header_.shapes; ++n) tokens_[n] = Token(take_shape(shapes));
  shapes.expect_end("the shapes");
}

void BlockDecoder::plan_event() {
  accesses_before_event_ = accesses_left_;
  if (events_left_ == 0) return;
  accesses_before_event_ = static_cast<u32>(
      event_reader_.take_below(u64{accesses_left_} + 1, "accesses before an event"));
}

bool BlockDecoder::next(Chunk& chunk) {
  const u32 count = std::min<u32>(accesses_before_event_, kBatch);
  if (count == 0 && events_left_ == 0) {
    expect_end();
    return false;
  }
  chunk = position_;
  chunk.accesses = {batch_.data(), count};
  const u64 instructions = decode({batch_.data(), count});
  if (count != 0) expect_begin();
  pass(instructions);
  position_.first_record += count;
  accesses_left_ -= count;
  accesses_before_event_ -= count;
  if (accesses_before_event_ == 0 && events_left_ != 0) {
    read_event();
    chunk.event = &event_;
  }
  return true;
}

// Nothing comes before a stream's first access that it could continue.
void BlockDecoder::expect_begin() {
  if (!std::exchange(begins_, false) || (batch_[0].flags & kContinues) == 0) return;
  place_.fail("the beginning of an access as the first one" + of_vcpu(), "one that continues");
}

u64 BlockDecoder::decode(std::span<Access> to) {
  constexpr u64 (BlockDecoder::*kDecoders[])(std::span<Access>) = {
      &BlockDecoder::decode_mostly<0>, &BlockDecoder::decode_mostly<1>,
      &BlockDecoder::decode_mostly<2>, &BlockDecoder::decode_mostly<3>,
      &BlockDecoder::decode_mostly<4>, &BlockDecoder::decode_mostly<5>,
      &BlockDecoder::decode_mostly<6>, &BlockDecoder::decode_mostly<7>};
  return (this->*kDecoders[usual_])(to);
}

// The per-record path, fast where frames know what kUsual says. Returns how many instructions
// passed.
template <u8 kUsual>
u64 BlockDecoder::decode_mostly(std::span<Access> to) {
  AddressHistory history = addresses_.history;
  const FrameMap frames = frames_.map;
  const Token* const tokens = tokens_.data();
  const u8* token_at = token_;
  const u8* delta_at = delta_;
  u64 instructions = 0;
  u64 ends = 0;  // kPageBytes is in it when an access crosses
  for (Access& access : to) {
    const Token* token = &tokens[*token_at++];
    if (token->escape) [[unlikely]]
      token = &read_escape(token_at[-1]);

    u64 distance;
    std::memcpy(&distance, delta_at, sizeof distance);
    delta_at += token->length;
    distance = unzigzag(distance & token->mask) * token->scale;
    const AddressHistory::Slot slot = history.next(token->context, token->fetch);
    const u64 address = slot.base(token->previous) + distance;
    slot.update(address);
    ends |= address % kPageBytes + token->last_byte;

    Frame& frame = frames.at(address);
    if (token->new_frame) [[unlikely]]
      read_frame(frame);
    u64 tail = token->tail;
    if (frame.known() == kUsual) [[likely]] {
      put_addresses(access, address, frame, kUsual);
      tail |= u64{kUsual} << kFlagsShift;
    } else {
      usual_ = frame.known();
      put_addresses(access, address, frame, usual_);
      tail |= u64{usual_} << kFlagsShift;
    }
    std::memcpy(reinterpret_cast<u8*>(&access) + kTailOffset, &tail, sizeof tail);
    instructions += static_cast<u32>(tail);
  }
  addresses_.history = history;
  token_ = token_at;
  delta_ = delta_at;
  if (delta_ > columns_[kDeltas].data() + header_.columns[kDeltas].raw) {
    place_.fail("more distances", "the end of the column");
  }
  if ((ends & kPageBytes) != 0) fail_crossing(to);
  return instructions;
}

void BlockDecoder::fail_crossing(std::span<const Access> batch) const {
  const auto found = std::find_if(batch.begin(), batch.end(), [](const Access& access) {
    return offset_of(access) + access.size > kPageBytes;
  });
  const auto number = position_.first_record + static_cast<u64>(found - batch.begin());
  place_.fail("an access within one page as record " + std::to_string(number) + of_vcpu(),
              std::to_string(found->size) + " bytes from " + in_hex(offset_of(*found)) + " on");
}

std::string BlockDecoder::of_vcpu() const { return " of vCPU " + std::to_string(header_.vcpu); }

// Before the record that comes next.
void BlockDecoder::pass(u64 instructions) {
  const u64 time = position_.time + instructions;
  if (time < instructions) {
    place_.fail(
        "a clock below 2^64 after record " + std::to_string(position_.first_record) + of_vcpu(),
        in_hex(position_.time) + " and " + std::to_string(instructions) + " instructions");
  }
  position_.time = time;
}

const BlockDecoder::Token& BlockDecoder::read_escape(u8 token) {
  if (token != kEscapeToken) {
    place_.fail("a token below " + std::to_string(header_.shapes), std::to_string(token));
  }
  *escaped_ = Token(take_shape(escape_reader_));
  return *escaped_;
}

void BlockDecoder::read_frame(Frame& frame) {
  const u8 known = frame_reader_.take<u8>("a frame's flags");
  if (known > kAddressesKnown || (known & (kGvaKnown | kGpaKnown)) == 0) {
    place_.fail("a frame's flags", std::to_string(known));
  }
  if (known & kGpaKnown) {
    last_frame_.gpa += unzigzag(frame_reader_.take_varint("a frame")) << kPageShift;
  }
  if (known & kHpaKnown) {
    last_frame_.hpa += unzigzag(frame_reader_.take_varint("a frame")) << kPageShift;
  }
  frame = Frame::of(known, known & kGpaKnown ? last_frame_.gpa : 0,
                    known & kHpaKnown ? last_frame_.hpa : 0);
}

void BlockDecoder::read_event() {
  event_ = take_event(event_reader_);
  place_.expect_no(rules_.breach(event_));
  --events_left_;
  pass(event_.instructions);
  ++position_.first_record;
  if (const auto* sync = std::get_if<TimeSync>(&event_.detail)) {
    position_.time = std::max(position_.time, sync->time);
  }
  if (const auto* space = std::get_if<SpaceSwitch>(&event_.detail)) {
    position_.root = space->root;
    position_.asid = space->asid;
    frames_.map.switch_space(space->root, space->asid);
  }
  plan_event();
}

void BlockDecoder::expect_end() const {
  if (delta_ != columns_[kDeltas].data() + header_.columns[kDeltas].raw) {
    place_.fail("the end of the distances", "more of them");
  }
  frame_reader_.expect_end("the frames");
  escape_reader_.expect_end("the escapes");
  event_reader_.expect_end("the events");
}

}  // namespace nestwalk::traces
