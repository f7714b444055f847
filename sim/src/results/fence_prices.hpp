// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the fences of a log would cost on a machine: those that were needed, and those that were
// not.
#pragma once

#include <string>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/models/base/json.hpp"
#include "nestwalk/models/machine/machine_shape.hpp"

namespace nestwalk::sim {

/// What prices are made of.
struct UnitPrices {
  addrspace::u64 interrupt =
      0;  ///< cycles of a processor in the guest that fences: IPI, kick, answer
  addrspace::u64 references = 0;  ///< of a two-dimensional walk without walk caches
  addrspace::u64 refill = 0;      ///< its cycles, if the level where walks look first serves all
  addrspace::u64 entries = 0;     ///< that a processor's TLBs hold
};
UnitPrices unit_prices(const models::MachineShape& machine, unsigned levels);

/// By place and class of use, the dearest first. Throws UsageError if the log is of another
/// virtualization extension than the machine.
models::Json prices_of(const checker::Checker& checker, const checker::FenceUses& uses,
                       const models::MachineShape& machine);
/// These in words.
std::string prices_text(const models::Json& prices);

}  // namespace nestwalk::sim
