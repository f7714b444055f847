// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A file in Perfetto's trace format, for https://ui.perfetto.dev: tracks with slices, counters and
// flows. It knows nothing of what they mean.
//
// The format is protobuf: protos/perfetto/trace of https://github.com/google/perfetto (Trace,
// TracePacket, TrackDescriptor, TrackEvent, InternedData). One packet sequence; names are interned.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nestwalk/traces/io.hpp"

namespace nestwalk::sim {

class PerfettoTrace {
 public:
  using u64 = addrspace::u64;
  /// Its identifier in the file.
  enum class Track : u64 { None = 0 };
  enum class Unit { Count, Bytes };
  struct Address {
    u64 value;
  };
  class Argument {
   public:
    /// `name` is a literal; a text has to live until the event is there.
    Argument(const char* name, u64 number) : name_(name), kind_(Kind::Number), number_(number) {}
    Argument(const char* name, Address address)
        : name_(name), kind_(Kind::Address), number_(address.value) {}
    Argument(const char* name, std::string_view text) : name_(name), text_(text) {}

   private:
    friend class PerfettoTrace;
    enum class Kind { Number, Address, Text };
    const char* name_;
    Kind kind_ = Kind::Text;
    u64 number_ = 0;
    std::string_view text_;
  };
  using Arguments = std::vector<Argument>;
  /// Arrows from one slice to others.
  struct Flows {
    std::vector<u64> out;
    std::optional<u64> in;
  };

  /// Whether the file can be written is known from the begin on; it has its name when it is whole.
  /// Throws traces::OutputError. Nothing is added beyond `most_bytes`.
  PerfettoTrace(const std::string& file, u64 most_bytes);

  Track process(const std::string& name);
  Track thread(Track process, const std::string& name);
  Track track(Track parent, const std::string& name);
  Track counter(Track parent, const std::string& name, Unit unit);

  /// Times are nanoseconds. On a track, slices nest: one that began last ends first. `name` is a
  /// literal: names are known by where they lie.
  void begin(Track track, u64 at, const char* name, const Arguments& arguments = {},
             const Flows& flows = {});
  void end(Track track, u64 at);
  void instant(Track track, u64 at, const char* name, const Arguments& arguments = {},
               const Flows& flows = {});
  void count(Track track, u64 at, u64 value);

  /// What was said since the last time belongs together: it is in the file, or, where that has no
  /// room, none of it.
  void commit(u64 at);
  /// Something had no room; nothing is added any more.
  bool is_full() const { return full_at_.has_value(); }
  /// When it was.
  std::optional<u64> full_at() const { return full_at_; }
  u64 bytes() const { return bytes_; }
  void finish();

 private:
  enum class EventType : u64 { Begin = 1, End = 2, Instant = 3, Counter = 4 };
  Track describe(const std::string& descriptor, Track parent);
  /// A packet of the sequence.
  void put_packet(std::string fields);
  void put_event(EventType type, Track track, u64 at, const std::string& more);
  u64 name_of_event(const char* name);
  u64 name_of_argument(const char* name);
  std::string event_fields(const char* name, const Arguments& arguments, const Flows& flows);

  std::unique_ptr<traces::ByteSink> sink_;
  u64 most_bytes_;
  u64 bytes_ = 0;         ///< in the file, or about to be
  std::string written_;   ///< not yet in the file
  std::string pending_;   ///< since the last commit
  std::string interned_;  ///< names that the next packet has to declare
  std::map<const char*, u64> event_names_, argument_names_;
  std::optional<u64> full_at_;
  u64 tracks_ = 0;
  u64 processes_ = 0, threads_ = 0;
  std::map<Track, u64> pids_;
  bool is_first_ = true;
};

}  // namespace nestwalk::sim
