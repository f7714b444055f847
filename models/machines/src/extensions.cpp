// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/machines/extensions.hpp"

#include "nestwalk/models/check.hpp"

namespace nestwalk::models {
namespace {

constexpr const Extension* kExtensions[] = {&kVmx, &kStage2, &kHext};

}  // namespace

std::span<const Extension* const> extensions() { return kExtensions; }

const Extension& extension_of(Architecture architecture) {
  const Extension* found = nullptr;
  for (const Extension* each : kExtensions) {
    if (found == nullptr && each->isa->architecture == architecture) found = each;
  }
  return *found;
}

const Isa& isa_of(Architecture architecture) { return *extension_of(architecture).isa; }

}  // namespace nestwalk::models
