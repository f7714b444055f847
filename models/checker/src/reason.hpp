// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Why a fence does not do, or was in vain, in sentences.
#pragma once

#include <string>

#include "nestwalk/checker/checker.hpp"
#include "obligation.hpp"

namespace nestwalk::checker {

/// `fence`: the one that this is about; null: none. `processors` may use what is stale.
std::string explain(const Obligation& obligation, const Vm& vm, Failure failure, Failure because,
                    const Executed* fence, u64 processors);
/// Of a fence that is excess or over-broad.
std::string explain(const Issued& issued, Failure failure);

}  // namespace nestwalk::checker
