// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/frame_policy.hpp"

#include <algorithm>
#include <iterator>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/memory/frames/contiguous_tables.hpp"
#include "nestwalk/models/memory/frames/next.hpp"
#include "nestwalk/models/memory/frames/reservation.hpp"

namespace nestwalk::models {
namespace {

template <class Policy>
constexpr FramePolicyKind::Row row() {
  return {Policy::kName, [](FreeFrames& free) -> std::unique_ptr<FramePolicy> {
            return std::make_unique<Policy>(free);
          }};
}

/// Add new policies at the end.
constexpr FramePolicyKind::Row kFramePolicies[] = {row<NextFrames>(), row<ReservedFrames>(),
                                                   row<ContiguousTables>()};

}  // namespace

std::span<const FramePolicyKind::Row> FramePolicyKind::all() { return kFramePolicies; }

FramePolicyKind FramePolicyKind::called(std::string_view name) {
  const Row* const row = std::find_if(std::begin(kFramePolicies), std::end(kFramePolicies),
                                      [&](const Row& each) { return each.name == name; });
  check(row != std::end(kFramePolicies), "frame policies", "a name that is in the list", 0, 0);
  return FramePolicyKind(*row);
}

}  // namespace nestwalk::models
