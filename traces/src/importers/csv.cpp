// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Comma-separated values whose first line names the columns. Numbers are decimal, or hexadecimal
// with 0x; an address may be left empty where it is not known. traces/IMPORTERS.md lists the
// columns.

#include <algorithm>
#include <vector>

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

enum class Column : u8 {
  Kind,
  Gva,
  Gpa,
  Hpa,
  Size,
  Vcpu,
  Instructions,
  Dependent,
  Root,
  Asid,
  Skip
};
constexpr std::string_view kColumnNames[] = {
    "kind", "gva", "gpa", "hpa", "size", "vcpu", "instructions", "dependent", "root", "asid", "-"};

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // of spreadsheets' UTF-8

std::string_view trimmed(std::string_view text) {
  skip_any(text, " \t");
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

// The next cell; false when there is none left. A line "a," has two.
bool take_cell(std::string_view& line, bool& more, std::string_view& cell) {
  if (!more) return false;
  const std::size_t comma = line.find(',');
  more = comma != line.npos;
  cell = trimmed(line.substr(0, comma));
  line.remove_prefix(more ? comma + 1 : line.size());
  return true;
}

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  std::string_view cell;
  for (bool more = true; take_cell(line, more, cell);) cells.push_back(cell);
  return cells;
}

Column column_of(std::string_view name) {
  const auto found = std::find(std::begin(kColumnNames), std::end(kColumnNames), name);
  return static_cast<Column>(found - std::begin(kColumnNames));
}
bool is_known(Column column) { return static_cast<std::size_t>(column) < std::size(kColumnNames); }

bool take_kind(std::string_view text, AccessKind& kind) {
  for (std::size_t n = 0; n < std::size(kAccessKindNames); ++n) {
    const std::string_view name = kAccessKindNames[n];
    const bool initial = text.size() == 1 && (text[0] | 0x20) == name[0];
    if (text != name && !initial) continue;
    kind = static_cast<AccessKind>(n);
    return true;
  }
  return false;
}

class CsvImporter : public Importer {
 public:
  CsvImporter(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input), output_(output) {
    std::string_view line;
    if (!input_.take_line(line)) input_.fail_for_good("a line that names columns", "nothing");
    take_prefix(line, kByteOrderMark);
    const std::vector<std::string_view> ignored = cells_of(values["ignore"]);
    for (const std::string_view name : cells_of(line)) {
      const bool skip = std::find(ignored.begin(), ignored.end(), name) != ignored.end();
      const Column column = skip ? Column::Skip : column_of(name);
      if (!is_known(column)) fail_column(name);
      if (!skip && has(column)) input_.fail_for_good("each column once", quoted(name) + " again");
      columns_.push_back(column);
    }
    if (!has(Column::Kind) || (!has(Column::Gva) && !has(Column::Gpa))) {
      input_.fail_for_good("columns kind and gva, gpa or both", quoted(line));
    }
    has_space_ = has(Column::Root) || has(Column::Asid);
    if (!output_.begun()) describe(output_.header());
  }

  bool step() override {
    std::string_view line;
    if (!input_.take_line(line)) return false;
    if (line.empty()) return true;
    row_ = {};
    std::string_view rest = line;
    std::string_view cell;
    bool more = true;
    for (const Column column : columns_) {
      if (!take_cell(rest, more, cell)) fail_count(line);
      take(column, cell);
    }
    if (more) fail_count(line);
    write();
    return true;
  }

 private:
  struct Row {
    Access access{};
    SpaceSwitch space;
    u32 vcpu = 0;
  };

  [[noreturn]] void fail_column(std::string_view name) const {
    std::string known;
    for (const std::string_view column : kColumnNames) known += std::string(column) + " ";
    input_.fail_for_good("columns of " + known + "(or --set ignore=NAME)", quoted(name));
  }
  [[noreturn]] void fail_count(std::string_view line) const {
    input_.fail(std::to_string(columns_.size()) + " values", quoted(line));
  }

  bool has(Column column) const {
    return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
  }

  void describe(Header& header) const {
    constexpr std::pair<Column, u64> kGives[] = {
        {Column::Gva, kNoGva},     {Column::Gpa, kNoGpa},
        {Column::Hpa, kNoHpa},     {Column::Size, kNoSize},
        {Column::Root, kNoSpaces}, {Column::Instructions, kNoInstructions},
        {Column::Asid, kNoSpaces}, {Column::Dependent, kNoDependence}};
    for (const auto& [column, lack] : kGives) {
      if (has(column)) header.lacks &= ~lack;
    }
    if (!has(Column::Gva)) header.mode = Mode::GuestPhysical;
    if (has(Column::Hpa)) header.mode = Mode::Nested;
  }

  void take(Column column, std::string_view cell) {
    switch (column) {
      case Column::Skip:
        return;
      case Column::Kind:
        if (!take_kind(cell, row_.access.kind)) input_.fail("read, write or fetch", quoted(cell));
        return;
      case Column::Gva:
      case Column::Gpa:
      case Column::Hpa:
        if (!cell.empty()) take_address(column, number(cell, ~u64{0}));
        return;
      case Column::Size:
        row_.access.size = static_cast<u16>(number(cell, kPageBytes));
        return;
      case Column::Vcpu:
        row_.vcpu = static_cast<u32>(number(cell, kMaxVcpus - 1));
        return;
      case Column::Instructions:
        row_.access.instructions = static_cast<u32>(number(cell, ~u32{0}));
        return;
      case Column::Dependent:
        if (number(cell, 1) != 0) row_.access.flags |= kDependent;
        return;
      case Column::Root:
        row_.space.root = number(cell, ~u64{0});
        return;
      case Column::Asid:
        row_.space.asid = number(cell, ~u64{0});
        return;
    }
  }

  void take_address(Column column, u64 value) {
    Access& access = row_.access;
    if (column == Column::Gva) {
      access.gva = Gva(value);
      access.flags |= kGvaKnown;
    } else if (column == Column::Gpa) {
      access.gpa = Gpa(value);
      access.flags |= kGpaKnown;
    } else {
      access.hpa = Hpa(value);
      access.flags |= kHpaKnown;
    }
  }

  u64 number(std::string_view cell, u64 most) const {
    const auto value = whole_number(cell);
    if (!value || *value > most) {
      input_.fail("a number up to " + std::to_string(most), quoted(cell));
    }
    return *value;
  }

  void write() {
    output_.select(row_.vcpu);
    if (has_space_) output_.space(row_.space);
    output_.access(row_.access);
  }

  ImportInput& input_;
  ImportOutput& output_;
  std::vector<Column> columns_;
  bool has_space_ = false;
  Row row_;
};

bool detect(std::string_view beginning) {
  take_prefix(beginning, kByteOrderMark);
  const std::vector<std::string_view> cells = cells_of(first_line(beginning));
  const auto has = [&](std::string_view name) {
    return std::find(cells.begin(), cells.end(), name) != cells.end();
  };
  return has("kind") && (has("gva") || has("gpa"));
}

constexpr ImportOption kOptions[] = {{"ignore", "", "names of columns to pass over, with commas"}};

}  // namespace

const ImportFormat kCsv = {"csv",
                           "comma-separated values; the first line names the columns",
                           kNoGva | kNoGpa | kNoHpa | kNoSize | kNoInstructions | kNoDependence |
                               kNoSpaces | kNoFences | kNoHypervisor,
                           Mode::User,
                           "",
                           kOptions,
                           streams_are_in_records,
                           detect,
                           make_importer<CsvImporter>};

}  // namespace nestwalk::traces
