// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// gem5's packet traces (src/proto/packet.proto and protoio.cc): the bytes "gem5", then messages of
// protobuf, each after its length: a PacketHeader, then Packets. Addresses are physical addresses
// of the modelled machine.

#include <algorithm>
#include <bitset>

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::string_view kMagic = "gem5";
constexpr std::size_t kMaxMessage = 32 << 10;  // A header lists the requestors by name.
constexpr unsigned kMaxVarint = 10;
constexpr u64 kInstructionFetch = 0x100;  // Request::INST_FETCH
constexpr u64 kCommands = 256;

enum PacketField : u32 { kTick = 1, kCommand = 2, kAddress = 3, kSize = 4, kFlags = 5 };
constexpr u32 kRequired = 1 << kTick | 1 << kCommand | 1 << kAddress | 1 << kSize;

// Wire types of protobuf.
enum WireType : u32 { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

bool take_varint(std::string_view& bytes, u64& value) {
  value = 0;
  for (unsigned n = 0; n < std::min<std::size_t>(kMaxVarint, bytes.size()); ++n) {
    const auto byte = static_cast<u8>(bytes[n]);
    value |= u64{byte & 0x7fu} << 7 * n;
    if ((byte & 0x80) != 0) continue;
    bytes.remove_prefix(n + 1);
    return true;
  }
  return false;
}

bool skip_bytes(std::string_view& bytes, u64 count) {
  if (count > bytes.size()) return false;
  bytes.remove_prefix(count);
  return true;
}

// Takes a field; `value` is that of a varint.
bool take_field(std::string_view& message, u64& key, u64& value) {
  u64 length = 0;
  if (!take_varint(message, key)) return false;
  switch (key & 7) {
    case kVarint:
      return take_varint(message, value);
    case kFixed64:
      return skip_bytes(message, 8);
    case kBytes:
      return take_varint(message, length) && skip_bytes(message, length);
    case kFixed32:
      return skip_bytes(message, 4);
    default:
      return false;
  }
}

std::bitset<kCommands> commands_of(std::string_view list) {
  std::bitset<kCommands> commands;
  while (!list.empty()) {
    const std::string_view word = take_word(list, ",");
    const auto number = whole_number(word);
    if (!number || *number >= kCommands) throw RecordError(quoted(word) + " is not a command");
    commands.set(*number);
  }
  return commands;
}

class Gem5Importer : public Importer {
 public:
  Gem5Importer(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input),
        output_(output),
        reads_(commands_of(values["reads"])),
        writes_(commands_of(values["writes"])) {
    if ((reads_ & writes_).any()) throw RecordError("a command cannot be of reads and of writes");
    std::string_view bytes;
    if (!input_.take(kMagic.size(), bytes, "a magic number") || bytes != kMagic) {
      input_.fail_for_good("the magic number gem5", quoted(bytes));
    }
    if (!take_message(bytes)) input_.fail_for_good("a packet header", "the end of the input");
  }

  bool step() override {
    std::string_view message;
    if (!take_message(message)) return false;
    u64 fields[8] = {};
    u32 present = 0;
    u64 key = 0;
    u64 value = 0;
    while (!message.empty()) {
      if (!take_field(message, key, value)) input_.fail("a packet", "bytes that are no protobuf");
      const u64 number = key >> 3;
      if ((key & 7) != kVarint || number >= std::size(fields)) continue;
      if ((present >> number & 1) != 0) {
        input_.fail("each field of a packet once", "field " + std::to_string(number) + " twice");
      }
      fields[number] = value;
      present |= 1u << number;
    }
    if ((present & kRequired) != kRequired) {
      input_.fail("a packet with tick, command, address and size", "one that lacks some");
    }
    write(fields);
    return true;
  }

 private:
  // The bytes of the next message; false at the end of the input.
  bool take_message(std::string_view& message) {
    std::string_view bytes = input_.peek(kMaxVarint);
    const std::size_t before = bytes.size();
    if (before == 0) return false;
    u64 length = 0;
    if (!take_varint(bytes, length)) input_.fail_for_good("the length of a message", "none");
    if (length > kMaxMessage) {
      input_.fail_for_good("a message of at most 32 KiB", std::to_string(length) + " bytes");
    }
    input_.skip(before - bytes.size());
    message = {};
    if (length != 0 && !input_.take(length, message, "a message")) {
      input_.fail("a message of " + std::to_string(length) + " bytes", "the end of the input");
    }
    return true;
  }

  void write(const u64 (&fields)[8]) {
    if (fields[kTick] < tick_) {
      input_.fail("a packet of tick " + std::to_string(tick_) + " or later",
                  "tick " + std::to_string(fields[kTick]));
    }
    tick_ = fields[kTick];
    const u64 command = std::min(fields[kCommand], kCommands - 1);
    if (!reads_[command] && !writes_[command]) {
      output_.note("packets of command " + std::to_string(command));
      return;
    }
    if (fields[kSize] > kPageBytes) {
      input_.fail("a packet of at most 4096 bytes", std::to_string(fields[kSize]));
    }
    const bool fetch = (fields[kFlags] & kInstructionFetch) != 0;
    const AccessKind kind = writes_[command] ? AccessKind::Write
                            : fetch          ? AccessKind::Fetch
                                             : AccessKind::Read;
    output_.access(gpa_access(fields[kAddress], fields[kSize], kind));
  }

  ImportInput& input_;
  ImportOutput& output_;
  std::bitset<kCommands> reads_;
  std::bitset<kCommands> writes_;
  u64 tick_ = 0;  ///< of the packet before: MemTraceProbe writes the time when it sees one
};

bool detect(std::string_view beginning) { return beginning.starts_with(kMagic); }

// Numbers above 6 changed between versions of gem5 (mem/packet.hh), so the user gives them.
constexpr ImportOption kOptions[] = {
    {"reads", "1", "numbers of the commands that read (1 is ReadReq)"},
    {"writes", "4", "numbers of the commands that write (4 is WriteReq)"}};

}  // namespace

const ImportFormat kGem5 = {
    "gem5",
    "gem5's packet traces: guest-physical, each input a vCPU",
    kNoGva | kNoHpa | kNoInstructions | kNoDependence | kNoSpaces | kNoFences | kNoHypervisor,
    Mode::GuestPhysical,
    "ticks, packet ids, PCs, and flags besides those of fetches",
    kOptions,
    streams_are_inputs,
    detect,
    make_importer<Gem5Importer>};

}  // namespace nestwalk::traces
