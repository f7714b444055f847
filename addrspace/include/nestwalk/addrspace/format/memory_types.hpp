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

/// No code: none has more than eight bits (and MAIR uses all of them: 0xff is write-back).
inline constexpr unsigned kNoCode = 0x100;

template <unsigned N>
constexpr unsigned memory_code(const MemoryTypeRow (&rows)[N], MemoryType type) {
  for (const MemoryTypeRow& row : rows) {
    if (row.type == type) return row.code;
  }
  return kNoCode;
}

/// The first row with this code; a code that no row has is `Other`.
template <unsigned N>
constexpr MemoryType memory_type(const MemoryTypeRow (&rows)[N], unsigned code) {
  for (const MemoryTypeRow& row : rows) {
    if (row.code == code) return row.type;
  }
  return MemoryType::Other;
}

/// An attribute register (x86 PAT, Arm MAIR) is eight one-byte codes; which of them is this?
constexpr unsigned attribute_index(u64 attributes, unsigned code) {
  for (unsigned index = 0; index < 8; ++index) {
    if ((attributes >> (8 * index) & 0xff) == code) return index;
  }
  return 8;
}

}  // namespace nestwalk::addrspace
