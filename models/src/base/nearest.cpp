// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/base/nearest.hpp"

#include <algorithm>
#include <numeric>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {
namespace {

// Levenshtein's distance.
u32 edits_between(const std::string& a, const std::string& b) {
  std::vector<u32> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    u32 diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const u32 changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, diagonal + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  u32 fewest = 3;  // more edits are another word
  for (const std::string& candidate : known) {
    const u32 edits = edits_between(word, candidate);
    if (edits >= fewest) continue;
    fewest = edits;
    best = candidate;
  }
  return best;
}

}  // namespace nestwalk::models
