// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Small logs for the checker: one guest, its tables in the same places on every architecture.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/checker/log.hpp"
#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::checker {

using addrspace::Architecture;
using models::hex;

// The tables: root 0x10000; x86 has one level more, 0x21000; 0x22000 of level 1; 0x23000 of level
// 0. GPA 0x5000 is the entry at 0x23028, GPA 0x200000 the one at 0x22008. In place of entries:
//   L5 R5 M5 U5 C5  a leaf to 0x95000: read and write; read-only; elsewhere; uncached; clean
//   B   a leaf of 2 MiB to 0x400000      T, T2  the tables at 0x23000 and 0x24000
inline u64 leaf_of(Architecture architecture, char kind, u64 address) {
  if (kind == 'M') address += 0x100000;
  const bool large = kind == 'B';
  switch (architecture) {
    case Architecture::X86_64:  // R W X in bits 2:0, memory type in 5:3, large in 7, dirty in 9
      return address | (kind == 'R' ? 5 : 7) | (kind == 'U' ? 0 : 6 << 3) | (large ? 0x80 : 0) |
             0x100 | (kind == 'C' ? 0 : 0x200);
    case Architecture::AArch64:  // S2AP in 7:6, MemAttr in 5:2, SH in 9:8, AF, DBM in 51
      return address | (large ? 1 : 3) | (kind == 'U' ? u64{5} : u64{15}) << 2 | 0x40 |
             (kind == 'R' || kind == 'C' ? 0 : 0x80) | (kind == 'C' ? u64{1} << 51 : 0) | 0x700;
    case Architecture::RiscV64:  // V R W X U in 4:0, A, D, PBMT in 62:61
      return address >> 2 | (kind == 'R' ? 0x1b : 0x1f) | 0x40 | (kind == 'C' ? 0 : 0x80) |
             (kind == 'U' ? u64{1} << 61 : 0);
  }
  return 0;
}
inline u64 table_of(Architecture architecture, u64 address) {
  constexpr u64 kKinds[] = {7, 3, 1};
  return (architecture == Architecture::RiscV64 ? address >> 2 : address) |
         kKinds[static_cast<unsigned>(architecture)];
}

/// Replaces the words for entries.
inline std::string with_entries(Architecture architecture, const std::string& line) {
  std::istringstream in(line);
  std::string text;
  bool store = false;
  for (std::string word; in >> word;) {
    if (word == "T") word = hex(table_of(architecture, 0x23000));
    if (word == "T2") word = hex(table_of(architecture, 0x24000));
    if (word == "B") word = hex(leaf_of(architecture, 'B', 0x400000));
    if (store && word.size() == 2 && std::isupper(word[0]) != 0) {
      const u64 page = static_cast<u64>(word[1] - '0');
      word = hex(leaf_of(architecture, word[0], 0x90000 + page * 0x1000));
    }
    store = store || word == "store";
    text += word + " ";
  }
  return text + "\n";
}

inline std::string preamble(Architecture architecture, const std::string& properties = "dirty") {
  std::string text = "nestwalk-fence-log 1\n";
  constexpr const char* kFormats[] = {"ept", "stage2-4k", "sv39x4"};
  text += std::string("0 0 vm 1 ") + kFormats[static_cast<unsigned>(architecture)] +
          " root=0x10000 vmid=5 " + properties + "\n";
  const auto link = [&](u64 slot, u64 table) {
    text += "0 0 store " + hex(slot) + " 0 " + hex(table_of(architecture, table)) + "\n";
  };
  const bool x86 = architecture == Architecture::X86_64;
  link(0x10000, x86 ? 0x21000 : 0x22000);
  if (x86) link(0x21000, 0x22000);
  link(0x22000, 0x23000);
  for (const char* line : {"0 0 store 0x23028 0 L5", "0 0 store 0x23030 0 L6",
                           "0 0 store 0x23038 0 L7", "0 0 store 0x22008 0 B"}) {
    text += with_entries(architecture, line);
  }
  if (architecture == Architecture::AArch64) text += "0 0 fence 1 dsb ishst\n0 0 fence 1 isb\n";
  return text + "0 0 enter 1\n0 1 enter 1\n0 0 exit 1\n";
}

/// What was found, sorted by name, with commas between: "excess, wrong kind".
inline std::string names_of(const Checker& checker) {
  std::map<std::string, int> names;
  for (const Finding& finding : checker.findings()) ++names[text_of(finding.failure).name];
  std::string text;
  for (const auto& [name, count] : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

struct Checked {
  LogReader reader{models::extensions()};
  Checker checker;
  std::string names() const { return names_of(checker); }
};
inline std::unique_ptr<Checked> check_text(const std::string& text) {
  auto checked = std::make_unique<Checked>();
  std::istringstream in(text);
  checked->reader.read(in, "log", checked->checker);
  checked->checker.finish();
  return checked;
}

/// The operation's lines without cycles: "0 store 0x23028 L5 0".
inline std::string operation(Architecture architecture, const std::vector<std::string>& lines) {
  std::string text = preamble(architecture) + "1 0 begin edit\n";
  for (const std::string& line : lines) text += with_entries(architecture, "1 " + line);
  return text + "2 0 end\n3 0 enter 1\n";
}
inline std::string findings_of(Architecture architecture, const std::vector<std::string>& lines) {
  return check_text(operation(architecture, lines))->names();
}

}  // namespace nestwalk::checker
