// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A table format as the walker sees it: one entry in, what it says out. The engine's formats do the
// decoding; this only turns a type that is known to the compiler into an object that a preset can
// choose, so that there is one walker for all of them.
#pragma once

#include "nestwalk/addrspace/flags.hpp"
#include "nestwalk/models/base/time.hpp"
#include "nestwalk/models/translation/extension.hpp"

namespace nestwalk::models {

using addrspace::Access;
using addrspace::Geometry;
using addrspace::kExecute;
using addrspace::kGlobal;
using addrspace::kRead;
using addrspace::kRwx;
using addrspace::kUser;
using addrspace::kWrite;
using addrspace::MemoryType;

/// Bits of an Access that only the models use: Arm's UXN and PXN, of leaves and tables, take these
/// away. There, EL0 executes what it may not read, too; elsewhere kUser is needed.
inline constexpr Access kUserMayExecute{32};
inline constexpr Access kKernelMayExecute{64};
/// What a table that restricts nothing leaves to its leaves.
inline constexpr Access kNoLimits = kRwx | kUser | kUserMayExecute | kKernelMayExecute;

enum class EntryKind : u8 { Invalid, Malformed, Table, Leaf };

struct Entry {
  u64 address = 0;  ///< of the table, or of the leaf's first byte
  Access access{};  ///< of a leaf; of a table, what it leaves
  MemoryType memory = MemoryType::WriteBack;
  EntryKind kind = EntryKind::Invalid;
  bool accessed = false;
  bool dirty = false;
  u8 neighbours = 0;  ///< log2 of the leaves, itself included, that it says are one translation

  friend bool operator==(const Entry&, const Entry&) = default;
};

/// An entry in two registers, as the calling conventions of Unix return it. Through memory its
/// small fields would be stored one by one and loaded together, which the host's processor cannot
/// forward: a walk would wait at each of its entries.
struct PackedEntry {
  u64 address = 0;
  u64 rest = 0;

  PackedEntry() = default;
  explicit PackedEntry(const Entry& entry)
      : address(entry.address),
        rest(u64{entry.access.bits()} | static_cast<u64>(entry.memory) << 8 |
             static_cast<u64>(entry.kind) << 16 | u64{entry.accessed} << 24 |
             u64{entry.dirty} << 32 | u64{entry.neighbours} << 40) {}
  Entry unpacked() const {
    return {address,
            Access(static_cast<u8>(rest)),
            static_cast<MemoryType>(rest >> 8 & 0xff),
            static_cast<EntryKind>(rest >> 16 & 0xff),
            (rest >> 24 & 1) != 0,
            (rest >> 32 & 1) != 0,
            static_cast<u8>(rest >> 40 & 0xff)};
  }
};

class EntryFormat {
 public:
  /// `slot`: where it was read. A leaf's address may depend on its place in the table.
  Entry decode(u64 raw, unsigned level, u64 slot) const {
    return decode_packed(raw, level, slot).unpacked();
  }
  /// The entry after the hardware's update: accessed, and for a write dirty.
  virtual u64 updated(u64 raw, bool write) const = 0;

  const Isa& isa() const { return *isa_; }
  /// Of a second stage: whose it is.
  const Extension& extension() const { return *extension_; }
  const StageRules& rules() const { return rules_; }

 protected:
  EntryFormat(const Isa& isa, const Extension* extension, const StageRules& rules)
      : isa_(&isa), extension_(extension), rules_(rules) {}
  EntryFormat(const EntryFormat&) = default;
  EntryFormat& operator=(const EntryFormat&) = default;
  ~EntryFormat() = default;

 private:
  virtual PackedEntry decode_packed(u64 raw, unsigned level, u64 slot) const = 0;

  const Isa* isa_;
  const Extension* extension_;
  StageRules rules_;
};

}  // namespace nestwalk::models
