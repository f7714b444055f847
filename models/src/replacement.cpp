// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/replacement.hpp"

#include "nestwalk/models/replacement/lru_list.hpp"
#include "nestwalk/models/replacement/lru_word.hpp"
#include "nestwalk/models/replacement/random.hpp"
#include "nestwalk/models/replacement/tree_plru.hpp"

namespace nestwalk::models {

std::unique_ptr<Replacement> make_replacement(ReplacementKind kind, u32 ways, u64 seed) {
  switch (kind) {
    case ReplacementKind::Lru:
      if (ways <= LruWord::kMostWays) return std::make_unique<LruWord>(ways);
      return std::make_unique<LruList>(ways);
    case ReplacementKind::TreePlru:
      return std::make_unique<TreePlru>(ways);
    case ReplacementKind::Random:
      return std::make_unique<RandomReplacement>(ways, seed);
  }
  return nullptr;
}

}  // namespace nestwalk::models
