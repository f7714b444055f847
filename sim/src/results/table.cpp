// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/table.hpp"

#include <algorithm>

namespace nestwalk::sim {
namespace {

std::string aligned(const Table& table) {
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& row : table) {
    for (std::size_t n = 0; n < row.size(); ++n)
      widths[n] = std::max(widths[n], row[n].text.size());
  }
  std::string text;
  for (const auto& row : table) {
    std::string line = row[0].text;
    line.resize(widths[0], ' ');
    for (std::size_t n = 1; n < row.size(); ++n) {
      line.append(2 + widths[n] - row[n].text.size(), ' ');
      line += coloured(row[n].text, row[n].colour);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

// For CSV.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char letter : text) result.append(letter == '"' ? 2 : 1, letter);
  return result + '"';
}

std::string separated(const Table& table, const char* begin, const char* between, const char* end) {
  std::string text;
  for (std::size_t r = 0; r < table.size(); ++r) {
    text += begin;
    for (std::size_t n = 0; n < table[r].size(); ++n) {
      if (n != 0) text += between;
      text += *begin == '\0' ? quoted(table[r][n].text) : markdown_cell(table[r][n].text);
    }
    text += end;
    if (r != 0 || *begin == '\0') continue;
    text += "|---|";  // Markdown: numbers to the right
    for (std::size_t n = 1; n < table[0].size(); ++n) text += "---:|";
    text += "\n";
  }
  return text;
}

}  // namespace

std::string markdown_cell(const std::string& text) {
  std::string result;
  for (const char letter : text) result.append(letter == '|' ? "\\" : "").append(1, letter);
  return result;
}

std::string formatted(Table table, const std::string& format) {
  for (auto& row : table) {
    for (auto& cell : row) cell.text = printable(cell.text);
  }
  if (format == "markdown") return separated(table, "| ", " | ", " |\n");
  return format == "csv" ? separated(table, "", ",", "\n") : aligned(table);
}

}  // namespace nestwalk::sim
