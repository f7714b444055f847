// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A vCPU's stream of a trace, as the simulated one plays it.
#pragma once

#include <exception>
#include <memory>

#include "nestwalk/software/stream.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/rules.hpp"
#include "replay/replay_tables.hpp"

namespace nestwalk::sim {

/// Of a guest: nothing is mapped there, so no table lies there.
class Devices {
 public:
  /// `trace`: the file that has the tables.
  Devices(std::string trace, std::vector<software::MemoryRange> ranges)
      : trace_(std::move(trace)), ranges_(std::move(ranges)) {}
  /// Throws InputError.
  void expect_no_table(addrspace::u64 guest_physical) const;

 private:
  std::string trace_;
  std::vector<software::MemoryRange> ranges_;
};

class TraceStream final : public software::GuestStream {
 public:
  /// `reader`: none for a vCPU that has no records. `physical`: accesses are at guest-physical
  /// addresses. `lacks`: of all vCPUs of the trace. `roots`: recorded tables are replayed, and
  /// these are the first.
  TraceStream(std::string name, std::unique_ptr<traces::StreamReader> reader, bool physical,
              std::shared_ptr<traces::LackRules> lacks, std::shared_ptr<const Devices> devices,
              std::optional<RecordedRoots> roots = {})
      : name_(std::move(name)),
        reader_(std::move(reader)),
        lacks_(std::move(lacks)),
        devices_(std::move(devices)),
        physical_(physical),
        roots_(std::move(roots)) {}

  bool next(software::GuestBatch& batch) override;
  void rethrow() const override {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  bool read(software::GuestBatch& batch);
  void convert(const traces::Event& event);
  void expect_walks() const;
  bool replay(const traces::Event& event);

  std::string name_;
  std::exception_ptr error_;
  std::unique_ptr<traces::StreamReader> reader_;
  std::shared_ptr<traces::LackRules> lacks_;
  std::shared_ptr<const Devices> devices_;
  bool physical_;
  std::optional<RecordedRoots> roots_;
  bool began_ = false;
  traces::Chunk chunk_;
  std::vector<software::GuestAccess> accesses_;
  software::GuestEvent event_;
};

}  // namespace nestwalk::sim
