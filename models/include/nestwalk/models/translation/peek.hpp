// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the tables say about an address, now: for debuggers. It takes no time, reads past every
// cache, asks for no rights, sets no flag and leaves no trace. The walker is the one that the cores
// have.
#pragma once

#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models {

class Peek final {
 public:
  explicit Peek(HostMemory& memory);

  struct Found {
    Fault fault;
    Translation translation;  ///< without fault
  };
  Found translate(const Regime& regime, const Mmu::Request& request);

 private:
  Wheel wheel_;
  MemoryHierarchy hierarchy_;
  Walker walker_;
};

}  // namespace nestwalk::models
