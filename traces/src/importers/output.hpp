// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an importer writes to: records in streams, and counts of what it passes over.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/rules.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {

class ImportOutput {
 public:
  /// Records go to `sink`, or nowhere when it is null.
  ImportOutput(ByteSink* sink, Header header, const Writer::Options& options);

  /// Can be changed until the first record is written.
  Header& header() { return header_; }
  bool begun() const { return begun_; }
  /// What the input says. Throws RecordError if it said otherwise, or whoever imports it did.
  void set_architecture(Architecture architecture);

  /// The next records are of this vCPU. The order of records of different vCPUs is kept by their
  /// clocks, which are moved to `time` unless they are beyond it. Times of one input never go back.
  void select(u32 vcpu, u64 time = 0);
  /// Other inputs may have other clocks.
  void begin_input() { latest_time_ = 0; }
  /// The vCPU for whatever an input calls its threads: numbered as they appear.
  u32 number_of(u64 thread);
  /// The next records are of this input's stream; nothing is known about the order.
  void select_unordered(u32 vcpu);

  /// An access; one that crosses into a page whose frames are not known loses them there.
  void access(const Access& access, const Access* next_page = nullptr);
  void event(const EventDetail& detail);
  /// The stream's next access is in this address space: a switch, unless it was there already.
  void space(const SpaceSwitch& space);

  /// Counts something of the input that is not in the trace.
  void note(std::string_view what, u64 count = 1);
  const std::map<std::string, u64, std::less<>>& notes() const { return notes_; }

  u64 records() const { return records_; }
  u32 streams() const { return streams_; }
  void finish();

 private:
  struct Stream {
    u64 clock = 0;
    SpaceSwitch space;
    bool in_space = false;
    SpaceSwitch next_space;
    bool switches = false;  ///< before the next access
  };

  void begin();
  void enter_space();
  void write(const Access& access, const Access* next_page);
  void write_parts(Access access);

  ByteSink* sink_;
  Header header_;
  RecordRules rules_;
  Writer::Options options_;
  std::unique_ptr<Writer> writer_;
  bool begun_ = false;
  u64 records_ = 0;
  u32 streams_ = 1;  ///< that were selected
  u32 vcpu_ = 0;
  u64 latest_ = 0;       ///< of all clocks
  u64 latest_time_ = 0;  ///< that this input said
  std::vector<Stream> stream_;
  std::unordered_map<u64, u32> number_of_thread_;
  u64 last_thread_ = 0;
  u32 last_number_ = ~u32{0};
  std::map<std::string, u64, std::less<>> notes_;
};

}  // namespace nestwalk::traces
