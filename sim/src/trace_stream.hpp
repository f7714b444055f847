// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A vCPU's stream of a trace, as the simulated one plays it.
#pragma once

#include <memory>

#include "nestwalk/software/stream.hpp"
#include "nestwalk/traces/reader.hpp"

namespace nestwalk::sim {

class TraceStream final : public software::GuestStream {
 public:
  /// `physical`: accesses are at guest-physical addresses.
  TraceStream(std::unique_ptr<traces::ByteSource> source, addrspace::u32 vcpu, bool physical)
      : reader_(std::move(source), vcpu), physical_(physical) {}

  bool next(software::GuestBatch& batch) override;

 private:
  void convert(const traces::Event& event);

  traces::StreamReader reader_;
  bool physical_;
  traces::Chunk chunk_;
  std::vector<software::GuestAccess> accesses_;
  software::GuestEvent event_;
};

}  // namespace nestwalk::sim
