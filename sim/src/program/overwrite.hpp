// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// No command writes over what it reads.
#pragma once

#include <span>
#include <string>

namespace nestwalk::sim {

/// Throws UsageError if `output` is one of the files, or another name of one. "-" is none.
void expect_not_read(const std::string& output, std::span<const std::string> inputs);
/// Throws UsageError if two of the outputs are one file.
void expect_different(std::span<const std::string> outputs);

}  // namespace nestwalk::sim
