// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/shape.hpp"

#include <array>

namespace nestwalk::traces {
namespace {

constexpr u64 kKindMask = 3;

struct Bit {
  u8 mask;
  u8 flag;              // of the shape's flags, or
  bool Shape::*member;  // a member of its own
};
constexpr Bit kBits[] = {
    {4, kDependent, nullptr},  {8, kContinues, nullptr}, {16, 0, &Shape::new_frame},
    {32, 0, &Shape::previous}, {64, 0, &Shape::scaled},
};
constexpr u64 kFirstByteEnd = 128;

u8 first_byte(const Shape& shape) {
  u8 byte = static_cast<u8>(shape.kind);
  for (const Bit& bit : kBits) {
    if (bit.member != nullptr ? shape.*bit.member : (shape.flags & bit.flag) != 0) byte |= bit.mask;
  }
  return byte;
}

constexpr Shape from_first_byte(u64 byte) {
  Shape shape;
  shape.kind = static_cast<AccessKind>(byte & kKindMask);
  for (const Bit& bit : kBits) {
    const bool set = (byte & bit.mask) != 0;
    if (bit.member != nullptr) {
      shape.*bit.member = set;
    } else if (set) {
      shape.flags |= bit.flag;
    }
  }
  return shape;
}

constexpr auto kFirstBytes = [] {
  std::array<Shape, kFirstByteEnd> shapes;
  for (u64 byte = 0; byte < kFirstByteEnd; ++byte) shapes[byte] = from_first_byte(byte);
  return shapes;
}();

}  // namespace

u64 key_of(const Shape& shape) {
  return first_byte(shape) | u64{shape.length} << 8 | u64{shape.size} << 16 |
         u64{shape.instructions} << 32;
}

Shape shape_of(u64 key) {
  Shape shape = kFirstBytes[key & 0xff];
  shape.length = static_cast<u8>(key >> 8);
  shape.size = static_cast<u16>(key >> 16);
  shape.instructions = static_cast<u32>(key >> 32);
  return shape;
}

void put(ByteBuffer& to, const Shape& shape) {
  to.put<u8>(first_byte(shape));
  to.put<u8>(shape.length);
  to.put_varint(shape.size);
  to.put_varint(shape.instructions);
}

Shape take_shape(ByteReader& from) {
  const u8 byte = from.take<u8>("a shape");
  from.check_below(byte, kFirstByteEnd, "a shape's first byte");
  from.check_below(byte & kKindMask, std::size(kAccessKindNames), "an access kind");
  Shape shape = kFirstBytes[byte];
  shape.length = from.take<u8>("a distance's length");
  from.check_below(shape.length, 9, "a distance's length");
  shape.size = static_cast<u16>(from.take_below(kPageBytes + 1, "an access size"));
  const bool continues = (shape.flags & kContinues) != 0;
  shape.instructions = static_cast<u32>(from.take_below(
      continues ? 1 : u64{1} << 32,
      continues ? "the instruction count of an access that continues" : "an instruction count"));
  return shape;
}

}  // namespace nestwalk::traces
