// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/peek.hpp"

#include "nestwalk/models/translation/lone_walk.hpp"

namespace nestwalk::models {
namespace {

// Every read arrives in the cycle in which it begins.
constexpr DramShape kImmediate{};

}  // namespace

Peek::Peek(HostMemory& memory)
    : hierarchy_(wheel_, kImmediate, 64),
      walker_(wheel_, memory, hierarchy_, hierarchy_.add_path({}), {}) {}

Peek::Found Peek::translate(const Regime& regime, const Mmu::Request& request) {
  const LoneWalk walk(walker_,
                      {&regime, request.address, request.access, request.user, true, nullptr});
  check(walk.done(), "peek", "a walk that takes no time", wheel_.now(), request.address);
  return {walk->fault(), walk->translation()};
}

}  // namespace nestwalk::models
