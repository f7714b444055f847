// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A table as text.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "program/output.hpp"

namespace nestwalk::sim {

struct Cell {
  template <class Text>
  Cell(Text words, Colour in = Colour::Plain) : text(std::move(words)), colour(in) {}
  std::string text;
  Colour colour;
};
/// Rows of cells; the first row names the columns.
using Table = std::vector<std::vector<Cell>>;

/// A `|` in it does not end it.
std::string markdown_cell(const std::string& text);
/// As a "table" in columns, "markdown" or "csv".
std::string formatted(Table table, const std::string& format);

}  // namespace nestwalk::sim
