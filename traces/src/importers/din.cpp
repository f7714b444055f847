// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Dinero's "din" input (Dinero III and IV, option -informat d): "LABEL ADDRESS [anything]", the
// label 0 read, 1 write, 2 instruction fetch, 3 unknown, 4 cache flush; the address in hexadecimal.

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

struct DinLine {
  u64 label;
  u64 address;
  bool is_all;  ///< of the line
};

bool parse(std::string_view line, DinLine& result) {
  skip_any(line, " \t");
  const auto label = take_number(line, 10);
  if (!label || *label > 4 || line.find_first_of(" \t") != 0) return false;
  skip_any(line, " \t");
  const auto address = take_hex(line);
  result = {*label, address.value_or(0), line.empty()};
  return address && (line.empty() || line[0] == ' ' || line[0] == '\t');
}

class DinImporter : public Importer {
 public:
  DinImporter(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input), output_(output), physical_(values["addresses"] == "physical") {
    if (!physical_ && values["addresses"] != "virtual") {
      throw RecordError("addresses are virtual or physical");
    }
    if (!physical_ || output.begun()) return;
    output.header().mode = Mode::GuestPhysical;
    output.header().lacks |= kNoGva;
    output.header().lacks &= ~u64{kNoGpa};
  }

  bool step() override {
    std::string_view line;
    if (!input_.take_line(line)) return false;
    DinLine found{};
    if (parse(line, found)) {
      write(found);
    } else if (!line.empty()) {
      input_.fail("a label from 0 to 4 and a hexadecimal address", quoted(line));
    }
    return true;
  }

 private:
  void write(const DinLine& line) {
    constexpr AccessKind kKinds[] = {AccessKind::Read, AccessKind::Write, AccessKind::Fetch};
    if (line.label < std::size(kKinds)) {
      const AccessKind kind = kKinds[line.label];
      output_.access(physical_ ? gpa_access(line.address, 0, kind)
                               : gva_access(line.address, 0, kind));
    } else {
      output_.note(line.label == 3 ? "references of unknown kind" : "cache flushes");
    }
  }

  ImportInput& input_;
  ImportOutput& output_;
  bool physical_;
};

// Stricter than the format, for prose may begin with a number and a word such as "add".
bool is_plain(std::string_view line) {
  constexpr u64 kNoSmallNumber = 0x100;
  DinLine found{};
  return parse(line, found) && (found.is_all || found.address >= kNoSmallNumber) &&
         line.find_first_of("0123456789", line.find_first_of("01234") + 1) != line.npos;
}

// At least half of the lines: one that makes no sense is better named than the format not found.
bool detect(std::string_view beginning) {
  if (!is_plain(first_line(beginning))) return false;
  int plausible = 0;
  for (std::size_t end; (end = beginning.find('\n')) != beginning.npos;) {
    const std::string_view line = first_line(beginning.substr(0, end));
    DinLine found{};
    if (!line.empty()) plausible += parse(line, found) ? 1 : -1;
    beginning.remove_prefix(end + 1);
  }
  return plausible >= 0;
}

constexpr ImportOption kOptions[] = {{"addresses", "virtual", "virtual or physical"}};

}  // namespace

const ImportFormat kDin = {"din",
                           "Dinero's text: each input a vCPU",
                           kUserOnly | kNoGpa | kNoSize | kNoInstructions | kNoDependence,
                           Mode::User,
                           "what follows the addresses",
                           kOptions,
                           streams_are_inputs,
                           detect,
                           make_importer<DinImporter>};

}  // namespace nestwalk::traces
