// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A walk without an MMU: begins now, and is given back at the end of this.
#pragma once

#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

class LoneWalk {
 public:
  LoneWalk(Walker& walker, const WalkRequest& request)
      : walker_(walker), walk_(walker.take(request)) {
    process_.start(run());
  }
  LoneWalk(const LoneWalk&) = delete;
  LoneWalk& operator=(const LoneWalk&) = delete;
  ~LoneWalk() { walker_.give_back(walk_); }

  bool done() const { return !process_.is_running(); }
  const Walker::Walk* operator->() const { return &walk_; }

 private:
  Task<> run() { co_await walk_; }

  Walker& walker_;
  Walker::Walk& walk_;
  Process process_;
};

}  // namespace nestwalk::models
