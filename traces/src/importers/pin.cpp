// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Text of Pin tools: pinatrace.cpp of the kit prints "0x7f..: R 0x7ffe.." and "#eof" at the end;
// its many descendants print the same things in another order, with other separators. So the user
// names the columns, and separators are blanks, commas, semicolons and colons.

#include <algorithm>
#include <vector>

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::string_view kSeparators = " \t,:;";

enum class Column : u8 { Skip, Address, Op, Size, Thread };

Column column_of(std::string_view name) {
  constexpr std::pair<std::string_view, Column> kNames[] = {
      {"-", Column::Skip}, {"ip", Column::Skip},   {"address", Column::Address},
      {"op", Column::Op},  {"size", Column::Size}, {"thread", Column::Thread}};
  for (const auto& [known, column] : kNames) {
    if (name == known) return column;
  }
  throw RecordError("column " + quoted(name) + " is not known: ip, op, address, size, thread, -");
}

std::vector<Column> columns_of(std::string_view names) {
  std::vector<Column> columns;
  while (!names.empty()) columns.push_back(column_of(take_word(names, ",")));
  const auto has = [&](Column column) {
    return std::find(columns.begin(), columns.end(), column) != columns.end();
  };
  if (!has(Column::Address) || !has(Column::Op)) {
    throw RecordError("the columns must have op and address");
  }
  expect_each_once(columns);
  return columns;
}

bool take_op(std::string_view word, AccessKind& kind) {
  const bool read = word == "R" || word == "r" || word == "L" || word == "read";
  const bool write = word == "W" || word == "w" || word == "S" || word == "write";
  kind = write ? AccessKind::Write : AccessKind::Read;
  return read || write;
}

class PinImporter : public Importer {
 public:
  PinImporter(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input), output_(output), columns_(columns_of(values["columns"])) {
    const auto sized = std::find(columns_.begin(), columns_.end(), Column::Size);
    if (sized != columns_.end() && !output.begun()) output.header().lacks &= ~u64{kNoSize};
  }

  bool step() override {
    std::string_view line;
    if (!input_.take_line(line)) {
      if (!ended_) output_.note("the end: inputs without #eof may have been cut");
      return false;
    }
    if (line.starts_with('#')) ended_ = ended_ || line.starts_with("#eof");
    if (line.empty() || line.starts_with('#')) return true;
    if (ended_) input_.fail("nothing after #eof", quoted(line));
    Access access = gva_access(0, 0, AccessKind::Read);
    u64 thread = 0;
    std::string_view rest = line;
    skip_any(rest, kSeparators);
    for (const Column column : columns_) take(column, take_word(rest, kSeparators), access, thread);
    if (!rest.empty()) input_.fail(std::to_string(columns_.size()) + " columns", quoted(line));
    output_.select(output_.number_of(thread));
    output_.access(access);
    return true;
  }

 private:
  void take(Column column, std::string_view word, Access& access, u64& thread) const {
    if (word.empty()) {
      input_.fail(std::to_string(columns_.size()) + " columns", "fewer");
    } else if (column == Column::Op) {
      if (!take_op(word, access.kind)) input_.fail("R or W", quoted(word));
    } else if (column == Column::Address) {
      const auto value = whole_hex(word);
      if (!value) input_.fail("a hexadecimal address", quoted(word));
      access.gva = Gva(*value);
    } else if (column == Column::Size) {
      const auto value = whole_number(word);
      if (!value || *value > kPageBytes) input_.fail("a size up to 4096", quoted(word));
      access.size = static_cast<u16>(*value);
    } else if (column == Column::Thread) {
      const auto value = whole_number(word);
      if (!value) input_.fail("the number of a thread", quoted(word));
      thread = *value;
    }
  }

  ImportInput& input_;
  ImportOutput& output_;
  std::vector<Column> columns_;
  bool ended_ = false;
};

Streams streams(const ImportValues& values) {
  return values["columns"].find("thread") == std::string_view::npos ? Streams::Inputs
                                                                    : Streams::Records;
}

bool detect(std::string_view beginning) {
  std::string_view line = first_line(beginning, "#");
  AccessKind kind{};
  return take_prefix(line, "0x") && take_number(line, 16) && take_prefix(line, ": ") &&
         take_op(take_word(line), kind) && take_prefix(line, "0x") && take_number(line, 16) &&
         line.empty();
}

constexpr ImportOption kOptions[] = {
    {"columns", "ip,op,address",
     "what a line has: ip, op, address, size, thread, - (passed over)"}};

}  // namespace

const ImportFormat kPin = {
    "pin",
    "text of Pin tools such as pinatrace: each input, or each thread, a vCPU",
    kUserOnly | kNoGpa | kNoSize | kNoInstructions | kNoDependence | kNoFetches,
    Mode::User,
    "instruction pointers and columns that are passed over",
    kOptions,
    streams,
    detect,
    make_importer<PinImporter>};

}  // namespace nestwalk::traces
