// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A machine by itself, without a simulation kernel around it: for tests, benchmarks and programs
// that need no more.
#pragma once

#include <deque>

#include "nestwalk/models/machine/board.hpp"

namespace nestwalk::models {

namespace detail {

struct MachineParts {
  MachineParts(const MachineShape& shape, u64 host_bytes);

  Wheel own_wheel;
  HostMemory own_memory;
  MemoryHierarchy own_hierarchy;
  std::deque<Mmu> own_mmus;  // they stay where they are
};

}  // namespace detail

class Machine : private detail::MachineParts, public Board {
 public:
  Machine(const MachineShape& shape, u64 host_bytes);
};

}  // namespace nestwalk::models
