// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The encoding of single records: of accesses without their addresses, and of events.
#pragma once

#include "nestwalk/traces/bytes.hpp"
#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

/// Everything about an access but its address: what one byte of the token column stands for.
struct Shape {
  AccessKind kind = AccessKind::Read;
  u8 flags = 0;            ///< kDependent, kContinues
  bool new_frame = false;  ///< the frame column has the page's frame
  bool previous = false;   ///< the distance is from the previous address
  bool scaled = false;     ///< the distance is in units of 8 bytes
  u8 length = 0;           ///< bytes of the distance
  u16 size = 0;
  u32 instructions = 0;

  friend bool operator==(const Shape&, const Shape&) = default;
};

/// The token of an access whose shape is spelled out among the escapes.
inline constexpr u8 kEscapeToken = 255;

/// A shape as one number, and back.
u64 key_of(const Shape& shape);
Shape shape_of(u64 key);

void put(ByteBuffer& to, const Shape& shape);
Shape take_shape(ByteReader& from);
void put(ByteBuffer& to, const Event& event);
Event take_event(ByteReader& from);

}  // namespace nestwalk::traces
