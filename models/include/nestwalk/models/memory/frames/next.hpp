// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The next free frames, whatever they are for.
#pragma once

#include "nestwalk/models/memory/frame_policy.hpp"

namespace nestwalk::models {

class NextFrames final : public FramePolicy {
 public:
  static constexpr const char* kName = "next";
  explicit NextFrames(FreeFrames& free) : FramePolicy(free) {}

  Result<u64> allocate(const FrameRequest& wanted) override { return free_.allocate(wanted.order); }
  void free(u64 first, unsigned order) override { free_.free(first, order); }
};

}  // namespace nestwalk::models
