// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A format's memory types, as a table of rows: type and the bits that encode it.
#pragma once

#include "nestwalk/addrspace/flags.hpp"

namespace nestwalk::addrspace {

struct MemoryTypeRow {
  MemoryType type;
  u8 code;
};

/// The rows, indexed by type for encoding. Of several rows with one code, decoding gives the first.
template <unsigned kRows>
class MemoryTypeTable {
 public:
  static constexpr u8 kNone = 0xfe;  // no code of any format

  constexpr explicit MemoryTypeTable(const MemoryTypeRow (&rows)[kRows]) {
    for (u8& code : codes_) code = kNone;
    for (unsigned n = kRows; n-- != 0;) {
      rows_[n] = rows[n];
      codes_[static_cast<unsigned>(rows[n].type)] = rows[n].code;
    }
  }

  constexpr bool has(MemoryType type) const { return code(type) != kNone; }
  constexpr u8 code(MemoryType type) const { return codes_[static_cast<unsigned>(type)]; }
  constexpr MemoryType type(u64 code) const {
    for (const MemoryTypeRow& row : rows_) {
      if (row.code == code) return row.type;
    }
    return MemoryType::Other;
  }

 private:
  MemoryTypeRow rows_[kRows] = {};
  u8 codes_[kMemoryTypeCount] = {};
};

/// An attribute register (x86 PAT, Arm MAIR) is eight one-byte codes; which of them is this?
constexpr unsigned attribute_index(u64 attributes, unsigned code) {
  for (unsigned index = 0; index < 8; ++index) {
    if ((attributes >> (8 * index) & 0xff) == code) return index;
  }
  return 8;
}

}  // namespace nestwalk::addrspace
