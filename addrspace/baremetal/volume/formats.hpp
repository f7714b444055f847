// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The formats that the emulators have, by name.
#pragma once

#include <memory>
#include <string>

#include "trial.hpp"

namespace nestwalk::baremetal {

struct TrialOptions {
  u64 seed = 1;
  unsigned probes = 50'000;
  unsigned plants = 0;
  bool one_bit_wrong = false;
};

struct FormatRow {
  const char* name;
  Architecture architecture;
  std::unique_ptr<Trial> (*make)(const TrialOptions& options);
};
std::span<const FormatRow> formats();

}  // namespace nestwalk::baremetal
