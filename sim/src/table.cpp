// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "table.hpp"

#include <algorithm>

namespace nestwalk::sim {

std::string aligned(const Table& table, std::size_t left, bool words_at_end) {
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& row : table) {
    for (std::size_t n = 0; n < row.size(); ++n) widths[n] = std::max(widths[n], row[n].size());
  }
  std::string text;
  for (const auto& row : table) {
    std::string line;
    for (std::size_t n = 0; n < row.size(); ++n) {
      if (n != 0) line += "  ";
      const std::string padding(widths[n] - row[n].size(), ' ');
      const bool last = n + 1 == row.size();
      if (last && words_at_end) {
        line += row[n];
      } else {
        line += n < left ? row[n] + padding : padding + row[n];
      }
    }
    text += line + "\n";
  }
  return text;
}

}  // namespace nestwalk::sim
