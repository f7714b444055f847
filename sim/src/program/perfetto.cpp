// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/perfetto.hpp"

namespace nestwalk::sim {
namespace {

using u64 = addrspace::u64;

constexpr std::size_t kBlock = 1 << 20;
constexpr u64 kSequence = 1;
/// What the note at the end of a full file takes at most.
constexpr u64 kEndBytes = 4096;

// Fields of messages, by their numbers in Perfetto's .proto files.
namespace trace {
constexpr u64 kPacket = 1;
}
namespace packet {
constexpr u64 kTimestamp = 8, kSequenceId = 10, kTrackEvent = 11, kInternedData = 12,
              kSequenceFlags = 13, kTrackDescriptor = 60;
constexpr u64 kStateCleared = 1, kNeedsState = 2;  // flags
}  // namespace packet
namespace interned {
constexpr u64 kEventNames = 2, kArgumentNames = 3;
constexpr u64 kId = 1, kName = 2;
}  // namespace interned
namespace descriptor {
constexpr u64 kUuid = 1, kName = 2, kProcess = 3, kThread = 4, kParent = 5, kCounter = 8;
constexpr u64 kProcessPid = 1, kProcessName = 6;
constexpr u64 kThreadPid = 1, kThreadTid = 2, kThreadName = 5;
constexpr u64 kCounterUnit = 3, kUnitCount = 2, kUnitBytes = 3;
}  // namespace descriptor
namespace event {
constexpr u64 kArguments = 4, kType = 9, kName = 10, kTrack = 11, kValue = 30, kFlows = 47,
              kEndingFlows = 48;
constexpr u64 kArgumentName = 1, kUnsigned = 3, kString = 6, kPointer = 7;
}  // namespace event

// Protobuf's encoding: https://protobuf.dev/programming-guides/encoding
constexpr u64 kVarint = 0, kFixed64 = 1, kLengthDelimited = 2;

void put_varint(std::string& to, u64 value) {
  for (; value >= 0x80; value >>= 7) to += static_cast<char>(value | 0x80);
  to += static_cast<char>(value);
}
void put(std::string& to, u64 field, u64 value) {
  put_varint(to, field << 3 | kVarint);
  put_varint(to, value);
}
void put(std::string& to, u64 field, std::string_view value) {
  put_varint(to, field << 3 | kLengthDelimited);
  put_varint(to, value.size());
  to += value;
}
void put_fixed(std::string& to, u64 field, u64 value) {
  put_varint(to, field << 3 | kFixed64);
  for (unsigned n = 0; n < 8; ++n) to += static_cast<char>(value >> 8 * n);
}

std::string entry_of(u64 id, const char* name) {
  std::string entry;
  put(entry, interned::kId, id);
  put(entry, interned::kName, std::string_view(name));
  return entry;
}

u64 intern(std::map<const char*, u64>& names, const char* name, u64 field, std::string& interned) {
  const auto [known, is_new] = names.try_emplace(name, names.size() + 1);
  if (is_new) put(interned, field, entry_of(known->second, name));
  return known->second;
}

}  // namespace

PerfettoTrace::PerfettoTrace(const std::string& file, u64 most_bytes)
    : sink_(traces::create_sink(file)), most_bytes_(most_bytes) {}

void PerfettoTrace::put_packet(std::string fields) {
  put(fields, packet::kSequenceId, kSequence);
  put(fields, packet::kSequenceFlags,
      packet::kNeedsState | (std::exchange(is_first_, false) ? packet::kStateCleared : 0));
  if (!interned_.empty()) put(fields, packet::kInternedData, std::exchange(interned_, {}));
  put(pending_, trace::kPacket, fields);
}

// Tracks ------------------------------------------------------------------------------------------

PerfettoTrace::Track PerfettoTrace::describe(const std::string& fields, Track parent) {
  const Track track{++tracks_};
  std::string described;
  put(described, descriptor::kUuid, static_cast<u64>(track));
  if (parent != Track::None) put(described, descriptor::kParent, static_cast<u64>(parent));
  std::string packet;
  put(packet, packet::kTrackDescriptor, described + fields);
  put_packet(std::move(packet));
  return track;
}

PerfettoTrace::Track PerfettoTrace::process(const std::string& name) {
  std::string process, fields;
  put(process, descriptor::kProcessPid, ++processes_);
  put(process, descriptor::kProcessName, name);
  put(fields, descriptor::kProcess, process);
  const Track track = describe(fields, Track::None);
  pids_[track] = processes_;
  return track;
}

// A thread whose number is that of its process would be the process' main thread.
PerfettoTrace::Track PerfettoTrace::thread(Track process, const std::string& name) {
  constexpr u64 kFirstThread = 1000;
  std::string thread, fields;
  put(thread, descriptor::kThreadPid, pids_.at(process));
  put(thread, descriptor::kThreadTid, kFirstThread + threads_++);
  put(thread, descriptor::kThreadName, name);
  put(fields, descriptor::kThread, thread);
  return describe(fields, process);
}

PerfettoTrace::Track PerfettoTrace::track(Track parent, const std::string& name) {
  std::string fields;
  put(fields, descriptor::kName, name);
  return describe(fields, parent);
}

PerfettoTrace::Track PerfettoTrace::counter(Track parent, const std::string& name, Unit unit) {
  std::string fields, counter;
  put(fields, descriptor::kName, name);
  put(counter, descriptor::kCounterUnit,
      unit == Unit::Bytes ? descriptor::kUnitBytes : descriptor::kUnitCount);
  put(fields, descriptor::kCounter, counter);
  return describe(fields, parent);
}

// Events ------------------------------------------------------------------------------------------

u64 PerfettoTrace::name_of_event(const char* name) {
  return intern(event_names_, name, interned::kEventNames, interned_);
}
u64 PerfettoTrace::name_of_argument(const char* name) {
  return intern(argument_names_, name, interned::kArgumentNames, interned_);
}

std::string PerfettoTrace::event_fields(const char* name, const Arguments& arguments,
                                        const Flows& flows) {
  std::string fields;
  put(fields, event::kName, name_of_event(name));
  for (const Argument& each : arguments) {
    std::string argument;
    put(argument, event::kArgumentName, name_of_argument(each.name_));
    if (each.kind_ == Argument::Kind::Text) {
      put(argument, event::kString, each.text_);
    } else {
      const bool is_number = each.kind_ == Argument::Kind::Number;
      put(argument, is_number ? event::kUnsigned : event::kPointer, each.number_);
    }
    put(fields, event::kArguments, argument);
  }
  for (const u64 flow : flows.out) put_fixed(fields, event::kFlows, flow);
  if (flows.in) put_fixed(fields, event::kEndingFlows, *flows.in);
  return fields;
}

void PerfettoTrace::put_event(EventType type, Track track, u64 at, const std::string& more) {
  std::string event, fields;
  put(event, event::kType, static_cast<u64>(type));
  put(event, event::kTrack, static_cast<u64>(track));
  put(fields, packet::kTimestamp, at);
  put(fields, packet::kTrackEvent, event + more);
  put_packet(std::move(fields));
}

void PerfettoTrace::begin(Track track, u64 at, const char* name, const Arguments& arguments,
                          const Flows& flows) {
  put_event(EventType::Begin, track, at, event_fields(name, arguments, flows));
}
void PerfettoTrace::end(Track track, u64 at) { put_event(EventType::End, track, at, ""); }
void PerfettoTrace::instant(Track track, u64 at, const char* name, const Arguments& arguments,
                            const Flows& flows) {
  put_event(EventType::Instant, track, at, event_fields(name, arguments, flows));
}
void PerfettoTrace::count(Track track, u64 at, u64 value) {
  std::string fields;
  put(fields, event::kValue, value);
  put_event(EventType::Counter, track, at, fields);
}

// The file ----------------------------------------------------------------------------------------

void PerfettoTrace::commit(u64 at) {
  const bool is_end = is_full();
  const u64 room = is_end ? most_bytes_ : most_bytes_ - std::min(most_bytes_, kEndBytes);
  if (bytes_ + pending_.size() > room) {
    if (!is_end) full_at_ = at;
  } else {
    bytes_ += pending_.size();
    written_ += pending_;
  }
  pending_.clear();
  if (written_.size() < kBlock) return;
  sink_->write({reinterpret_cast<const addrspace::u8*>(written_.data()), written_.size()});
  written_.clear();
}

void PerfettoTrace::finish() {
  sink_->write({reinterpret_cast<const addrspace::u8*>(written_.data()), written_.size()});
  written_.clear();
  sink_->finish();
}

}  // namespace nestwalk::sim
