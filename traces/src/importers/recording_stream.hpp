// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reads the recording stream of traces/recorder/STREAM.md.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "nestwalk/traces/bytes.hpp"
#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/io.hpp"

namespace nestwalk::traces::recording {

inline constexpr u32 kMaxStreamVcpus = 4096;

enum Flag : u32 { kSystem = 1, kFetches = 2, kGuestOnly = 4, kTables = 8, kOrdered = 16 };

/// In messages.
inline constexpr const char* kTablePage = "a page of tables";

struct StreamHeader {
  Architecture architecture{};
  u32 flags = 0;
  u32 vcpus = 0;
  u64 memory_base = 0;
  u64 memory_bytes = 0;

  bool system() const { return has(kSystem); }
  bool nested() const { return has(kGuestOnly); }
  bool has(Flag flag) const { return (flags & flag) != 0; }
  /// Nothing, if this stream has `flag`, without which there is no `what`.
  std::optional<Breach> breach_without(Flag flag, const char* what) const;
  /// Whose tables lie in the machine's memory as they are addressed.
  Stage stage_of_machine() const { return nested() ? Stage::Host : Stage::Guest; }
  /// `what` is in the machine's memory, where that is known.
  void check_in_memory(const Place& place, u64 address, const char* what) const;
};

/// Of an instruction, as the stream has it.
struct Operand {
  enum class State : u8 { Absent, Exact, Lost };
  State state = State::Absent;
  u64 value = 0;

  bool exact() const { return state == State::Exact; }
  bool absent() const { return state == State::Absent; }
  bool lost() const { return state == State::Lost; }
};
Operand take_operand(ByteReader& from);

struct RawAccess {
  u64 instructions = 0;  ///< since the vCPU's last record
  u64 address = 0;
  u64 physical = 0;
  u64 bytes = 0;
  AccessKind kind = AccessKind::Read;
  bool physical_known = false;
  u64 offset = 0;  ///< of the record in the file
};

enum class EventKind : u8 {
  Switch,
  Fence,
  GuestEntry,
  GuestExit,
  Phase,
  Table,
  Entry,
  ExitState,
  Time
};

struct RawEvent {
  u64 instructions = 0;
  EventKind kind = EventKind::Switch;
  std::span<const u8> payload;  ///< valid during the call
  u64 offset = 0;               ///< of the payload in the file
};

class Visitor {
 public:
  virtual ~Visitor() = default;
  virtual void access(u32 vcpu, const RawAccess& access) = 0;
  virtual void event(u32 vcpu, const RawEvent& event) = 0;
};

/// Called with a line about what is missing at the end of a stream that was cut off.
using OnCut = std::function<void(const std::string&)>;

/// Records of a stream, by what they are.
struct RecordCounts {
  u64 records = 0, reads = 0, writes = 0, fetches = 0, events = 0;
};

class StreamReader {
 public:
  /// Reads the header. `source` outlives the reader.
  explicit StreamReader(ByteSource& source);

  const StreamHeader& header() const { return header_; }
  /// Reads a chunk; false at the end, where what the stream says of itself is compared with what
  /// was visited.
  bool next(const OnCut& on_cut);
  /// Visits the records of that chunk.
  void visit(Visitor& visitor);
  /// Of what was visited.
  const RecordCounts& counts() const { return counts_; }

 private:
  bool fill(std::span<u8> to);
  void check_end(const Place& place);
  void read_access(ByteReader& from, const Place& place, u8 tag, u64 instructions,
                   RawAccess& access);

  ByteSource* source_;
  StreamHeader header_;
  u64 offset_ = 0;
  std::vector<u8> payload_;
  u32 vcpu_ = 0;
  u32 records_ = 0;  ///< of the chunk
  u64 chunks_ = 0;   ///< that were read
  RecordCounts counts_;
  std::vector<u64> instructions_;        ///< at the end of each vCPU's last chunk
  std::unordered_map<u64, u64> frames_;  ///< of the chunk, by virtual page
  u64 last_address_[2] = {};             ///< of data, of fetches
};

}  // namespace nestwalk::traces::recording
