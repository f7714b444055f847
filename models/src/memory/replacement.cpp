// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/replacement.hpp"

#include <algorithm>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/memory/replacement/brrip.hpp"
#include "nestwalk/models/memory/replacement/drrip.hpp"
#include "nestwalk/models/memory/replacement/lru_list.hpp"
#include "nestwalk/models/memory/replacement/lru_word.hpp"
#include "nestwalk/models/memory/replacement/mru_plru4.hpp"
#include "nestwalk/models/memory/replacement/nru.hpp"
#include "nestwalk/models/memory/replacement/random.hpp"
#include "nestwalk/models/memory/replacement/srrip.hpp"
#include "nestwalk/models/memory/replacement/tree_plru.hpp"

namespace nestwalk::models {
namespace {

using Made = std::unique_ptr<Replacement>;

Made lru(u32 ways, u64) {
  if (ways <= LruWord::kMostWays) return std::make_unique<LruWord>(ways);
  return std::make_unique<LruList>(ways);
}
Made random(u32 ways, u64 seed) { return std::make_unique<RandomReplacement>(ways, seed); }

/// Of a policy that knows its ways, and draws nothing.
template <class Policy>
Made made(u32 ways, u64) {
  return std::make_unique<Policy>(ways);
}
constexpr ReplacementKind::Row kSrrip{"srrip", made<Srrip>};
constexpr ReplacementKind::Row kBrrip{"brrip", made<Brrip>};
constexpr ReplacementKind::Row kDrrip{"drrip", made<Drrip>};
constexpr ReplacementKind::Row kNru{"nru", made<Nru>};
constexpr ReplacementKind::Row kMruPlru4{"mru+1-plru4", made<MruPlru4>};

/// A row of one's own goes above.
constexpr const ReplacementKind::Row* kReplacements[] = {&kLru,   &kTreePlru, &kRandom, &kSrrip,
                                                         &kBrrip, &kDrrip,    &kNru,    &kMruPlru4};

}  // namespace

constinit const ReplacementKind::Row kLru{"lru", lru};
constinit const ReplacementKind::Row kTreePlru{"tree-plru", made<TreePlru>};
constinit const ReplacementKind::Row kRandom{"random", random};

std::span<const ReplacementKind::Row* const> ReplacementKind::all() { return kReplacements; }

ReplacementKind ReplacementKind::called(std::string_view name) {
  const auto row = std::find_if(std::begin(kReplacements), std::end(kReplacements),
                                [&](const Row* each) { return name == each->name; });
  check(row != std::end(kReplacements), "replacement", "a policy of that name", 0, 0);
  return ReplacementKind(**row);
}

}  // namespace nestwalk::models
