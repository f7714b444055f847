// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Page tables as a recording has them: pages of entries that change over time, and the walk.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

/// Which class of addrspace knows the entries of a tree.
enum class TableFormat : u8 { LongMode, Stage1, Stage2, Sv, GStage };

/// The address in a root register, without other fields. AArch64's root tables may be smaller than
/// a page, and are aligned to their size.
constexpr u64 root_address(u64 value, const addrspace::Geometry& shape) {
  const u64 bytes = shape.root_bytes();
  return addrspace::align_down(value, bytes < kPageBytes ? bytes : kPageBytes);
}

/// Where a walk begins, and how the address is cut into indices.
struct TableRoot {
  TableFormat format = TableFormat::LongMode;
  u64 address = 0;
  addrspace::Geometry shape;
  bool execute_disable = true;  ///< x86-64: EFER.NXE; without it, bit 63 is reserved
  bool tables_limit = true;     ///< AArch64: APTable, UXNTable and PXNTable count (TCR_EL1.HPD)
};

using Registers = std::unordered_map<std::string, u64>;

/// What a guest's, or a machine's, own registers say about its first or only stage. On AArch64 each
/// half of the addresses has a root; elsewhere both are the same. Empty while it does not
/// translate.
struct StageRoots {
  std::optional<TableRoot> lower;
  std::optional<TableRoot> upper;

  const std::optional<TableRoot>& of(u64 address) const {
    return address >> 55 & 1 ? upper : lower;
  }
};
StageRoots guest_roots(Architecture architecture, const Registers& registers);
/// The tables of a stage as registers describe them.
struct StageTables {
  bool in_use = false;            ///< the stage translates
  std::optional<TableRoot> root;  ///< none, too, where the format is none that is known here
};
/// Of AArch64's halves, the lower one if it is in use.
StageTables stage_tables(Architecture architecture, Stage stage, const Registers& registers);
/// Tables that translate and that cannot be walked here.
std::optional<Breach> breach_of_walks(Architecture architecture, Stage stage,
                                      const Registers& registers);

/// What registers say about translations, besides the tables.
struct TranslationRules {
  struct Half {
    bool data = false, fetches = false;
  };
  Half ignores_top_byte[2];              ///< AArch64, lower and upper half: TCR_EL1.TBI, TBID
  bool kernel_writes_read_only = false;  ///< x86-64: CR0.WP is clear
  bool execute_is_read = false;          ///< RISC-V: sstatus.MXR, of the guest's own stage
  bool writable_never_executes = false;  ///< AArch64: SCTLR_EL1.WXN
  bool tables_in_memory = false;         ///< AArch64: HCR_EL2.PTW

  /// As the tables translate it.
  u64 translated(u64 address, AccessKind kind) const;
};
TranslationRules translation_rules(Architecture architecture, const Registers& registers);

/// The roots when the guest's root table is another one; 0 says that it does not translate.
StageRoots with_root(StageRoots roots, u64 root);
/// Of nCR3, VTTBR_EL2 or hgatp.
std::optional<TableRoot> host_root(Architecture architecture, const Registers& registers);
/// Beside the root, of VTTBR_EL2 or hgatp; 0 where the register has none.
addrspace::u16 host_vmid(Architecture architecture, const Registers& registers);
/// What tells an address space from others: its first root, and its PCID or ASID.
struct AddressSpaceTag {
  u64 root = 0;
  u64 asid = 0;
  friend bool operator==(const AddressSpaceTag&, const AddressSpaceTag&) = default;
};
AddressSpaceTag space_of(Architecture architecture, const Registers& registers);
/// Was it made by firmware that does not translate, and is among the guest's accesses all the same?
/// No record tells, but equal addresses.
bool in_firmware(const Header& header, const Access& access);
/// A root register that is written as a whole says all that a space record says: what an earlier
/// one said does not hold any more.
bool replaces_space(std::string_view register_name);
/// Does it hold what a space record says?
bool is_space_register(Architecture architecture, std::string_view register_name);
/// The name of the format in a header: "x86_64-4".
std::string format_name(const std::optional<TableRoot>& root);

/// Where a walk ended.
struct RecordedWalk {
  std::optional<u64> address;  ///< none where the tables translate nothing
  unsigned level = 0;          ///< of the last entry that was read, from the leaves
};

/// The tables of one stage.
class RecordedTables {
 public:
  /// 512 MiB: of a stage, and more than a terabyte of memory needs. Throws InputError beyond.
  static constexpr std::size_t kMaxPages = std::size_t{1} << 17;

  /// `name` is that of the file they come from.
  explicit RecordedTables(std::string name, std::size_t most_pages = kMaxPages)
      : name_(std::move(name)), most_pages_(most_pages) {}

  void put(const TablePage& page);
  /// False when the entry had this value before.
  bool put(u64 address, u64 value);
  /// 0 where nothing is known.
  u64 entry(u64 address) const;
  /// Something was said about the page that begins here.
  bool has(u64 page) const { return pages_.contains(page); }
  /// What `address` translates to, if anything.
  RecordedWalk walk(const TableRoot& root, u64 address) const;

 private:
  static constexpr unsigned kEntries = 512;

  template <class F>
  RecordedWalk walk_as(const F& format, const TableRoot& root, u64 address) const;

  std::array<u64, kEntries>& page(u64 address);

  std::string name_;
  std::size_t most_pages_;
  std::unordered_map<u64, std::array<u64, kEntries>> pages_;
};

/// Entries that differ at most in what the processor sets by itself: accessed and dirty bits.
bool same_entry(TableFormat format, u64 a, u64 b);

}  // namespace nestwalk::traces
