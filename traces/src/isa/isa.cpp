// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "isa/isa.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>

namespace nestwalk::traces {
namespace {

constexpr const TracedIsa* kIsas[] = {&kTracedX86_64, &kTracedAArch64, &kTracedRiscV64};

}  // namespace

std::span<const TracedIsa* const> traced_isas() { return kIsas; }

const TracedIsa& traced(Architecture architecture) {
  const auto found = std::find_if(std::begin(kIsas), std::end(kIsas),
                                  [&](auto* each) { return each->architecture == architecture; });
  if (found == std::end(kIsas)) std::abort();  // every architecture has a row
  return **found;
}

}  // namespace nestwalk::traces
