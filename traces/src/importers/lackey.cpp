// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// valgrind --tool=lackey --trace-mem=yes (valgrind 3.19, lackey/lk_main.c): "I  04017990,3",
// " L 1ffefff8,8", " S ...", " M ..." (a read and a write of one instruction); addresses in
// hexadecimal, sizes in decimal. Lines of valgrind itself begin with "==" or, for warnings, "--";
// its summary at the end says how many instructions there were: "==7==   guest instrs:  131,096".

#include <optional>

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

struct LackeyLine {
  char kind;
  u64 address;
  u64 size;
};

constexpr u64 kMostBytes = 4096;  // XSAVE areas are the largest operands.

bool parse(std::string_view line, LackeyLine& result) {
  if (line.size() < 3) return false;
  const std::string_view prefix = line.substr(0, 3);
  if (prefix != "I  " && prefix != " L " && prefix != " S " && prefix != " M ") return false;
  line.remove_prefix(3);
  const auto address = take_number(line, 16);
  if (!address || !take_prefix(line, ",")) return false;
  const auto size = take_number(line, 10);
  if (!size || !line.empty() || *size == 0 || *size > kMostBytes) return false;
  result = {prefix[0] == 'I' ? 'I' : prefix[1], *address, *size};
  return true;
}

class LackeyImporter : public Importer {
 public:
  LackeyImporter(ImportInput& input, const ImportValues&, ImportOutput& output)
      : input_(input), output_(output) {}

  bool step() override {
    std::string_view line;
    if (!input_.take_line(line)) {
      if (!ended_) output_.note("the end: inputs without lackey's summary may have been cut");
      return false;
    }
    LackeyLine found{};
    if (parse(line, found)) {
      if (ended_) input_.fail("no accesses after lackey's summary", quoted(line));
      write(found);
    } else if (line.starts_with("==")) {
      compare_process(line);
      compare_total(line);
    } else if (!line.starts_with("--") && !line.empty()) {
      input_.fail("'I  ADDRESS,SIZE', ' L ...', ' S ...' or ' M ...'", quoted(line));
    }
    return true;
  }

 private:
  // "==7== " or, with --time-stamp=yes, "==00:00:00:00.123 7== ". With --trace-children=yes the
  // lines of several processes are mixed, and nothing says of which one an access is.
  void compare_process(std::string_view line) {
    std::string_view head = line.substr(2);
    head = head.substr(0, head.find("=="));
    head.remove_prefix(head.rfind(' ') + 1);
    const auto process = whole_number(head);
    if (!process) return;
    if (process_.value_or(*process) != *process) {
      input_.fail("lines of process " + std::to_string(*process_) +
                      " (--log-file=NAME.%p has a file for each)",
                  "one of process " + std::to_string(*process));
    }
    process_ = process;
  }

  // Where the lines of instructions were filtered out, nothing tells whether others are missing.
  void compare_total(std::string_view line) {
    constexpr std::string_view kTotal = "guest instrs:";
    const std::size_t at = line.find(kTotal);
    if (at == line.npos) return;
    ended_ = true;
    if (instructions_ == 0) return;
    std::string digits(line.substr(at + kTotal.size()));
    std::erase_if(digits, [](char letter) { return letter == ' ' || letter == ','; });
    const auto total = whole_number(digits);
    if (total && *total != instructions_) {
      input_.fail("as many instructions as lines of them, " + std::to_string(instructions_),
                  std::to_string(*total));
    }
  }

  void write(const LackeyLine& line) {
    if (line.kind == 'I') {
      ++instructions_;
      output_.access(gva_access(line.address, line.size, AccessKind::Fetch, 1));
      return;
    }
    if (line.kind != 'S') output_.access(gva_access(line.address, line.size, AccessKind::Read));
    if (line.kind != 'L') output_.access(gva_access(line.address, line.size, AccessKind::Write));
  }

  ImportInput& input_;
  ImportOutput& output_;
  u64 instructions_ = 0;
  std::optional<u64> process_;
  bool ended_ = false;  ///< by the summary
};

bool detect(std::string_view beginning) {
  LackeyLine line{};
  const std::string_view first = first_line(beginning, "==");
  return beginning.find("Lackey, an example Valgrind tool") != beginning.npos || parse(first, line);
}

}  // namespace

const ImportFormat kLackey = {
    "lackey",
    "valgrind --tool=lackey --trace-mem=yes: one process, each input a vCPU",
    kUserOnly | kNoGpa | kNoDependence,
    Mode::User,
    "",
    {},
    streams_are_inputs,
    detect,
    make_importer<LackeyImporter>};

}  // namespace nestwalk::traces
