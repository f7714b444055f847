// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/bytes.hpp"

#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::traces {
namespace {

std::string bytes_left(std::size_t count) { return std::to_string(count) + " bytes left"; }

}  // namespace

std::string in_hex(u64 value) { return addrspace::Text<32>().add_hex(value).c_str(); }

u64 ByteReader::take_long_varint(const char* what) {
  u64 value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const u8 byte = take_bytes(1, what)[0];
    if (shift == 63 && byte > 1) break;
    value |= u64{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  place_->fail(std::string(what) + " of 64 bits", "a longer varint");
}

void ByteReader::fail_short(u64 count, const char* what) const {
  place_->fail(std::string(what) + " of " + std::to_string(count) + " bytes",
               bytes_left(bytes_.size()));
}

std::string ByteReader::take_string(const char* what) {
  const std::span<const u8> bytes = take_bytes(take_varint(what), what);
  return {bytes.begin(), bytes.end()};
}

u64 ByteReader::take_count(std::size_t least_bytes, const char* what) {
  const u64 count = take_varint(what);
  if (count > bytes_.size() / least_bytes) {
    place_->fail("a possible number of " + std::string(what),
                 std::to_string(count) + " with " + bytes_left(bytes_.size()));
  }
  return count;
}

u64 ByteReader::take_from(u64 least, u64 most, const char* what) {
  const u64 value = take_varint(what);
  if (value < least || value > most) {
    place_->fail(
        std::string(what) + " from " + std::to_string(least) + " to " + std::to_string(most),
        std::to_string(value));
  }
  return value;
}

void ByteReader::fail_below(u64 value, u64 limit, const char* what) const {
  place_->fail(std::string(what) + " below " + std::to_string(limit), std::to_string(value));
}

void ByteReader::fail_multiple(u64 value, u64 of, const char* what) const {
  place_->fail(std::string(what) + ", a multiple of " + std::to_string(of), in_hex(value));
}

void ByteReader::expect_end(const char* what) const {
  if (!bytes_.empty()) place_->fail("the end of " + std::string(what), bytes_left(bytes_.size()));
}

}  // namespace nestwalk::traces
