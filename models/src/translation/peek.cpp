// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/peek.hpp"

namespace nestwalk::models {
namespace {

// Every read arrives in the cycle in which it begins.
constexpr DramShape kImmediate = {1, 1, 8192, 0, 0, 0};

}  // namespace

Peek::Peek(HostMemory& memory)
    : hierarchy_(wheel_, kImmediate, 64),
      walker_(wheel_, memory, hierarchy_, hierarchy_.add_path({}), {}) {}

Peek::Found Peek::translate(const Regime& regime, const Mmu::Request& request) {
  Walker::Walk& walk =
      walker_.take({&regime, request.address, request.access, request.user, true, nullptr});
  process_.start(look(walk));
  check(!process_.is_running(), "peek", "a walk that takes no time", wheel_.now(), request.address);
  const Found found{walk.fault(), walk.translation()};
  walker_.give_back(walk);
  return found;
}

Task<> Peek::look(Walker::Walk& walk) { co_await walk; }

}  // namespace nestwalk::models
