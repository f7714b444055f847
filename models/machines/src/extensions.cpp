// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/machines/extensions.hpp"

#include <algorithm>
#include <iterator>

#include "nestwalk/models/base/check.hpp"

namespace nestwalk::models {
namespace {

constexpr const Extension* kExtensions[] = {&kVmx, &kSvm, &kStage2, &kHext};

}  // namespace

std::span<const Extension* const> extensions() { return kExtensions; }

const Extension& extension_of(Architecture architecture) {
  const auto found = std::find_if(std::begin(kExtensions), std::end(kExtensions), [&](auto* each) {
    return each->isa->architecture == architecture;
  });
  check(found != std::end(kExtensions), "extensions", "one of each architecture", 0,
        static_cast<u64>(architecture));
  return **found;
}

const Isa& isa_of(Architecture architecture) { return *extension_of(architecture).isa; }

}  // namespace nestwalk::models
