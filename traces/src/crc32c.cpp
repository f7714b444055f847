// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <array>

#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {
namespace {

constexpr u32 kPolynomial = 0x82f63b78;  // Castagnoli's, bits reversed
constexpr unsigned kLanes = 8;

/// tables[n][b]: the checksum's change when byte b is followed by n zero bytes.
constexpr std::array<std::array<u32, 256>, kLanes> make_tables() {
  std::array<std::array<u32, 256>, kLanes> tables{};
  for (u32 byte = 0; byte < 256; ++byte) {
    u32 value = byte;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? kPolynomial : 0);
    tables[0][byte] = value;
  }
  for (unsigned lane = 1; lane < kLanes; ++lane) {
    for (u32 byte = 0; byte < 256; ++byte) {
      const u32 before = tables[lane - 1][byte];
      tables[lane][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr auto kTables = make_tables();

}  // namespace

u32 crc32c(std::span<const u8> bytes) {
  u32 value = ~u32{0};
  while (bytes.size() >= kLanes) {
    u64 word;
    std::memcpy(&word, bytes.data(), sizeof word);
    word ^= value;
    value = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      value ^= kTables[kLanes - 1 - lane][word >> 8 * lane & 0xff];
    }
    bytes = bytes.subspan(kLanes);
  }
  for (const u8 byte : bytes) value = value >> 8 ^ kTables[0][(value ^ byte) & 0xff];
  return ~value;
}

}  // namespace nestwalk::traces
