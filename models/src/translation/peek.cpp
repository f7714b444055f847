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
  const WalkRequest wanted{&regime, request.address, request.access, request.user, true};
  const Walker::Ticket ticket = walker_.submit(wanted, *this, 0);
  check(ticket.done, "peek", "a walk that takes no time", wheel_.now(), request.address);
  const Found found{walker_.fault(ticket.walk), walker_.translation(ticket.walk)};
  walker_.give_back(ticket.walk);
  return found;
}

}  // namespace nestwalk::models
