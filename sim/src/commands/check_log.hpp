// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A hypervisor's own log under the checker.
#pragma once

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/checker/log.hpp"
#include "nestwalk/traces/io.hpp"

namespace nestwalk::sim {

/// Feeds the log to the checker. Throws traces::InputError. The reader has to outlive the checker.
void check_log(traces::ByteSource& source, checker::LogReader& reader, checker::Checker& checker);

}  // namespace nestwalk::sim
