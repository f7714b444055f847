// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Proves a recording: walks the page tables that it has for every access, and compares what comes
// out with the addresses that were recorded.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/recorded_tables.hpp"

namespace nestwalk::traces {

enum class Verdict : u8 {
  Match,
  Device,         ///< matches, and lies outside the machine's memory
  Untranslated,   ///< matches, while the guest or its firmware did not translate
  NoAddress,      ///< no physical address was recorded
  UnknownTables,  ///< the address space is not known, or its root table
  Mismatch,
};
inline constexpr std::string_view kVerdictNames[] = {"match",      "device",         "untranslated",
                                                     "no-address", "unknown-tables", "mismatch"};
inline constexpr std::size_t kVerdicts = std::size(kVerdictNames);

/// An access whose recorded address the tables do not give.
struct AddressMismatch {
  u32 vcpu = 0;
  u64 record = 0;
  AccessKind kind = AccessKind::Read;
  Gva gva;
  Stage stage = Stage::Guest;  ///< where the difference is
  u64 recorded = 0;
  RecordedWalk walked;
};

/// Accesses in a row, but for those without addresses, that could not be judged.
struct UnknownStretch {
  u32 vcpu = 0;
  u64 first_record = 0;
  u64 last_record = 0;
  u64 accesses = 0;
  const char* reason = "";
};

/// An entry that the records lead to, and what was found in memory at the end.
struct EntryMismatch {
  Stage stage = Stage::Guest;
  u64 address = 0;
  u64 followed = 0;
  u64 recorded = 0;
};

/// A root that the records lead to, and that of the registers at the end. Of AArch64, each half has
/// one.
struct RootMismatch {
  u32 vcpu = 0;
  Stage stage = Stage::Guest;
  std::optional<TableRoot> followed;  ///< none: not translated
  std::optional<TableRoot> recorded;
};

struct Verification {
  using Counts = std::array<u64, kVerdicts>;  ///< by Verdict
  struct Entries {
    u64 match = 0;
    u64 differ = 0;
  };

  std::vector<std::array<Counts, 3>> accesses;  ///< by vCPU and AccessKind
  Entries entries[2];                           ///< at the end, by Stage
  std::vector<AddressMismatch> addresses;       ///< the first ones
  std::vector<EntryMismatch> tables;            ///< the first ones
  Entries roots;                                ///< at the end
  std::vector<RootMismatch> root_mismatches;    ///< the first ones
  std::vector<UnknownStretch> unknown;          ///< the first ones

  u64 count(Verdict verdict) const;
  bool good() const;
};

/// Takes a trace in the order of its clocks. Holds the tables, those of the end, and a cache of
/// translations for each vCPU.
class Verifier {
 public:
  /// `name` is the file's, for messages; `most_mismatches` are described, all are counted.
  Verifier(const Header& header, std::string name, std::size_t most_mismatches);

  /// Throws InputError when tables or registers of the begin come after records.
  void add(const SideData& side);
  /// Throws InputError when there are no tables to walk.
  void add(const Chunk& chunk);
  /// Compares tables and registers of the end; nothing can be added any more.
  const Verification& finish();

 private:
  struct Translation {
    u64 page = ~u64{0};
    u64 tables = 0;  ///< version of the tables
    bool translated = false;
    bool recorded = false;  ///< the root table is
    RecordedWalk guest;     ///< of the page's first byte
    RecordedWalk host;
  };
  struct Vcpu {
    Registers registers;
    std::optional<u64> root;        ///< of the last space record
    StageRoots roots;               ///< what both say
    Registers end;                  ///< that were found at the end
    std::optional<TableRoot> host;  ///< of the second stage
    TranslationRules rules;
    std::optional<Breach> breach;        ///< of tables that cannot be walked
    const char* lost = nullptr;          ///< why these are not known
    std::optional<std::size_t> stretch;  ///< that could not be judged, and goes on
    std::vector<Translation> translations;
  };

  void load(const SideData& side);
  void begin();
  void check(u32 vcpu, u64 record, const Access& access);
  Verdict verdict(const Access& access, const Translation& found, AddressMismatch& mismatch) const;
  const Translation& translate(Vcpu& vcpu, const Access& access);
  void on_event(Vcpu& vcpu, const Event& event);
  void find_roots(Vcpu& vcpu);
  const char* unknown(const Vcpu& vcpu, const Access& access, const Translation& found) const;
  void add_stretch(u32 vcpu, u64 record, const char* reason);
  void compare(Stage stage, const TablePage& page);
  void compare_roots(u32 vcpu);
  void compare(u32 vcpu, Stage stage, const std::optional<TableRoot>& followed,
               const std::optional<TableRoot>& recorded);
  bool is_device(Stage stage, u64 address) const;
  [[noreturn]] void fail(const std::string& message) const { throw InputError(name_, message); }

  Header header_;
  std::string name_;
  std::size_t most_mismatches_;
  bool has_tables_ = false;
  bool begun_ = false;
  std::pair<u32, u64> last_record_;  ///< vCPU and number
  u64 version_ = 1;                  ///< of the tables: counts their changes
  RecordedTables tables_[2];
  std::vector<Vcpu> vcpus_;
  std::vector<std::pair<Stage, TablePage>> end_;
  Verification result_;
};

/// Verifies a whole trace. Those with several vCPUs are read twice, so they must be files.
Verification verify_trace(const std::function<std::unique_ptr<ByteSource>()>& open,
                          std::size_t most_mismatches, const OnProgress& progress,
                          const OnLoss& on_loss = {});

}  // namespace nestwalk::traces
