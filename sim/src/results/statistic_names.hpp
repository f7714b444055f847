// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Names and patterns of statistics that a user wrote, judged before there is a run.
#pragma once

#include <string>

namespace nestwalk::sim {

/// Throws UsageError, which begins with `what`, unless some run can have a statistic of this name,
/// or of this pattern ("exit.*"). Whether these runs have it is known when they are over.
void expect_possible_statistic(const std::string& pattern, const std::string& what);

}  // namespace nestwalk::sim
