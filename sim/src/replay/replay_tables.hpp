// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which recorded tables translate for a vCPU, as its registers say it.
#pragma once

#include <functional>

#include "nestwalk/software/replayed.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/recorded_tables.hpp"

namespace nestwalk::sim {

/// Of one vCPU, along its stream.
class RecordedRoots {
 public:
  /// `both`: the second stage's as well.
  RecordedRoots(const traces::Header& header, bool both, const traces::Registers& registers,
                bool registers_known);

  software::TableRoots roots() const;
  /// True if it changed something.
  bool follow(const traces::Event& event);
  bool both() const { return both_; }
  const traces::TranslationRules& rules() const { return rules_; }
  /// Tables that translate, and cannot be replayed.
  const traces::Breach* breach() const { return known_ && breach_ ? &*breach_ : nullptr; }

 private:
  void judge();

  addrspace::Architecture architecture_;
  bool both_;
  traces::Registers registers_;
  std::optional<addrspace::u64> root_;  ///< of the last space record
  addrspace::u16 asid_ = 0;
  bool known_;
  traces::TranslationRules rules_;
  std::optional<traces::Breach> breach_;
};

/// What a trace says of the begin: a RecordedRoots for each vCPU; every page of tables goes to
/// `put`, which says whether there is room. Throws InputError where there are none.
using PutPage = std::function<bool(bool nested, addrspace::u64 page,
                                   const software::ReplayedTables::Entries& entries)>;
std::vector<RecordedRoots> recorded_begin(const std::string& trace, bool both, const PutPage& put);

}  // namespace nestwalk::sim
