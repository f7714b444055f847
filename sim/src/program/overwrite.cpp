// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/overwrite.hpp"

#include <filesystem>

#include "program/exit_code.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

// A file that is not there yet has its name alone.
bool is_same(const std::string& one, const std::string& other) {
  if (one == "-" || other == "-") return false;
  std::error_code none;
  if (fs::equivalent(one, other, none)) return true;
  const auto name_of = [&](const std::string& file) {
    return fs::weakly_canonical(fs::absolute(file, none), none);
  };
  return !fs::exists(one, none) && name_of(one) == name_of(other);
}

}  // namespace

void expect_not_read(const std::string& output, std::span<const std::string> inputs) {
  for (const std::string& input : inputs) {
    if (is_same(output, input)) throw UsageError(output + " is read; write to another file");
  }
}

void expect_different(std::span<const std::string> outputs) {
  for (std::size_t n = 1; n < outputs.size(); ++n) {
    for (std::size_t before = 0; before < n; ++before) {
      if (!is_same(outputs[n], outputs[before])) continue;
      throw UsageError(outputs[n] + " is written twice; write to another file");
    }
  }
}

}  // namespace nestwalk::sim
