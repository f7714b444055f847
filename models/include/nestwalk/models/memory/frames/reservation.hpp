// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The first page of eight neighbours reserves frames for the other seven, beside each other: so
// their eight entries in the next stage's tables lie in one cache line, even if other processes
// fault in between (PTEMagnet, Margaritov, Ustiugov, Shahab and Grot, ASPLOS'21).
#pragma once

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/models/memory/reserved_runs.hpp"

namespace nestwalk::models {

class ReservedFrames final : public ReservedRuns<3> {  // entries of 8 bytes, in a line of 64
 public:
  static constexpr const char* kName = "reservation";
  explicit ReservedFrames(FreeFrames& free) : ReservedRuns(free) {}

 private:
  std::optional<u64> unit_of(const FrameRequest& wanted) const override {
    if (wanted.use.kind != FrameUse::Kind::Memory || wanted.use.level != 0) return std::nullopt;
    return wanted.use.input >> (addrspace::kFrameShift + wanted.order);
  }
};

}  // namespace nestwalk::models
