// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "isa/isa.hpp"

namespace nestwalk::traces {
namespace {

constexpr const TracedIsa* kIsas[] = {&kTracedX86_64, &kTracedAArch64, &kTracedRiscV64};

}  // namespace

std::span<const TracedIsa* const> traced_isas() { return kIsas; }

const TracedIsa& traced(Architecture architecture) {
  const TracedIsa* found = kIsas[0];
  for (const TracedIsa* each : kIsas) {
    if (each->architecture == architecture) found = each;
  }
  return *found;
}

}  // namespace nestwalk::traces
