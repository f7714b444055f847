// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/replacement.hpp"

#include "nestwalk/models/memory/replacement/lru_list.hpp"
#include "nestwalk/models/memory/replacement/lru_word.hpp"
#include "nestwalk/models/memory/replacement/random.hpp"
#include "nestwalk/models/memory/replacement/tree_plru.hpp"

namespace nestwalk::models {
namespace {

using Made = std::unique_ptr<Replacement>;

Made lru(u32 ways, u64) {
  if (ways <= LruWord::kMostWays) return std::make_unique<LruWord>(ways);
  return std::make_unique<LruList>(ways);
}
Made tree_plru(u32 ways, u64) { return std::make_unique<TreePlru>(ways); }
Made random(u32 ways, u64 seed) { return std::make_unique<RandomReplacement>(ways, seed); }

/// A row of one's own goes above.
constexpr const ReplacementKind::Row* kReplacements[] = {&kLru, &kTreePlru, &kRandom};

}  // namespace

constinit const ReplacementKind::Row kLru{"lru", lru};
constinit const ReplacementKind::Row kTreePlru{"tree-plru", tree_plru};
constinit const ReplacementKind::Row kRandom{"random", random};

std::span<const ReplacementKind::Row* const> ReplacementKind::all() { return kReplacements; }

}  // namespace nestwalk::models
