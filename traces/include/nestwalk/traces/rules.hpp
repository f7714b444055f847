// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the parts of a trace may say, beyond how their bytes are laid out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nestwalk/traces/bytes.hpp"
#include "nestwalk/traces/container.hpp"
#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/recorded_tables.hpp"

namespace nestwalk::traces {

struct Chunk;

/// A header by itself.
std::optional<Breach> breach_of(const Header& header);

/// Notes on provenance that repeat what the header says, as recorders leave them. Those before a
/// note of a merge or a split are of its inputs.
std::optional<Breach> breach_of_notes(const Header& header);

/// A register in side data. One that no architecture has for the translation of addresses says
/// nothing here, and may have any name.
std::optional<Breach> breach_of_register(const std::optional<Architecture>& architecture,
                                         const std::string& name);

/// Where page tables can be: the memory that the header tells of; everywhere but in devices, if it
/// tells of none.
class MemoryMap {
 public:
  MemoryMap() = default;
  explicit MemoryMap(const Header& header);
  bool holds(Stage stage, u64 address) const;

 private:
  /// Ends by starts, apart from each other.
  std::map<u64, u64> ranges_[std::size(kStageNames)], devices_[std::size(kStageNames)];
};

/// Of the records of a trace with this header.
class RecordRules {
 public:
  /// Of a trace whose architecture is not known.
  RecordRules() = default;
  explicit RecordRules(const Header& header);

  std::optional<Breach> breach(const Event& event) const;
  /// Of an address space.
  std::optional<Breach> breach(u64 root, u64 asid) const;

 private:
  std::optional<Breach> asid_breach(u64 asid) const;
  std::optional<Breach> breach_of(const SpaceSwitch& space) const;
  std::optional<Breach> breach_of(const GuestFence& fence) const;
  std::optional<Breach> breach_of(const HypervisorOperation& operation) const;
  std::optional<Breach> breach_of(const TableWrite& write) const;
  std::optional<Breach> breach_of(const ControlWrite& write) const;
  template <class Other>
  std::optional<Breach> breach_of(const Other&) const {
    return {};
  }

  std::optional<Architecture> architecture_;
  MemoryMap memory_;
  bool system_ = false;  ///< of a kernel, too: ASIDs are the architecture's, not just names
};

/// Whether records are there that the header says the source lacks. A trace merged of several lacks
/// what any of them does: so of what it lacks, at least one vCPU has nothing.
class LackRules {
 public:
  explicit LackRules(const Header& header)
      : lacks_(header.lacks | (header.mode == Mode::GuestPhysical ? u64{kNoGva} : 0)),
        has_(header.vcpus) {}

  void add(const Chunk& chunk);
  /// The same. Throws InputError at the record by which all vCPUs have something, or reports it.
  void check(const Chunk& chunk, const std::string& name, const OnLoss& on_loss);
  /// What a vCPU has although the header lacks it: of Lack.
  u64 found(u32 vcpu) const { return has_[vcpu]; }

 private:
  void note(u64 known, u32 vcpu, u64 record);

  u64 lacks_;
  std::vector<u64> has_;  ///< by vCPU
  std::size_t vcpus_with_[std::size(kLackNames)] = {};
  std::optional<Breach> breach_;  ///< the first one
};

/// All side data of a trace, or of several that become one. What is said again has to be the same.
/// Where registers of the begin say of which format the page tables are, they say what the header
/// does. Of a nested guest's tables those that the second stage has in one host frame are the same.
class SideRules {
 public:
  /// Of traces whose page tables have a format that is not known.
  SideRules() = default;
  explicit SideRules(const Header& header)
      : architecture_(header.architecture),
        memory_(header),
        nested_(header.mode == Mode::Nested),
        guest_tables_(header.guest_tables),
        host_tables_(header.host_tables) {}

  /// The first thing that `side` says otherwise than before.
  std::optional<Breach> add(const SideData& side);
  /// Once all were added.
  std::optional<Breach> breach_at_end() const;
  /// Registers of the begin say that the stage does not translate for this vCPU yet. A vCPU without
  /// registers has those of the first.
  bool not_in_use(u32 vcpu, Stage stage) const;

  /// A record of a vCPU; its records are followed from the first one on.
  void follow(u32 vcpu, u64 record, const Event& event);
  /// Of the vCPU's next access, which page tables translate that the header does not name.
  std::optional<Breach> breach_of_access(u32 vcpu) const;
  /// Records of the vCPU are not there.
  void lose(u32 vcpu);

 private:
  struct Followed {
    Registers registers;  ///< that control the translation
    bool lost = false;
    std::optional<Breach> breach;
  };

  const std::string& format_of(Stage stage) const {
    return stage == Stage::Guest ? guest_tables_ : host_tables_;
  }
  /// A vCPU without registers of the begin has those of the first.
  u32 source_of(u32 vcpu) const;
  /// Of the begin; those that control the translation.
  Registers controls_of(u32 vcpu) const;
  /// Nothing where too few registers are known.
  std::optional<StageTables> tables_of(const Registers& registers, Stage stage) const;
  std::optional<Breach> breach_of_formats(const Registers& registers, const std::string& of) const;
  std::optional<Breach> breach_of_use() const;
  std::optional<Breach> breach_of_frames() const;
  std::optional<Breach> breach_of_frames(const TableRoot& host) const;

  std::optional<Architecture> architecture_;
  MemoryMap memory_;
  bool nested_ = false;
  std::string guest_tables_, host_tables_;
  /// Of registers by vCPU, and of pages, at one moment.
  std::map<std::pair<u32, std::string>, u64> registers_[std::size(kWhenNames)];
  std::unordered_map<u64, std::size_t> hashes_[std::size(kWhenNames)][std::size(kStageNames)];
  RecordedTables host_{""};                     ///< of the begin
  std::unordered_map<u32, Followed> followed_;  ///< vCPUs with a `control` record
};

}  // namespace nestwalk::traces
