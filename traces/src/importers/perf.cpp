// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `perf script` (6.1, builtin-script.c) prints for samples with addresses:
//   COMM PID/TID [CPU] TIME: PERIOD EVENT: ADDR ...
// PID, CPU and PERIOD are there when -F asks for them. What follows the event depends on -F, so the
// user names those columns. Samples are a fraction of the accesses.

#include <algorithm>
#include <vector>

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::string_view kBlanks = " \t";

enum class Column : u8 { Skip, Address, Physical, DataSource };

std::vector<Column> columns_of(std::string_view names) {
  constexpr std::pair<std::string_view, Column> kNames[] = {
      {"addr", Column::Address}, {"phys_addr", Column::Physical}, {"data_src", Column::DataSource}};
  std::vector<Column> columns;
  while (!names.empty()) {
    const std::string_view name = take_word(names, ",");
    const auto found = std::find_if(std::begin(kNames), std::end(kNames),
                                    [&](const auto& row) { return row.first == name; });
    columns.push_back(found == std::end(kNames) ? Column::Skip : found->second);
  }
  if (std::find(columns.begin(), columns.end(), Column::Address) == columns.end()) {
    throw RecordError("the columns must have addr");
  }
  expect_each_once(columns);
  return columns;
}

struct Sample {
  u64 pid = 0;
  u64 cpu = 0;
  u64 time = 0;  ///< in ns
  std::string_view event;
  std::string_view rest;
};

bool take_bracketed(std::string_view word, u64& number) {
  if (!take_prefix(word, "[") || !word.ends_with(']')) return false;
  word.remove_suffix(1);
  const auto value = take_number(word, 10);
  number = value.value_or(0);
  return value && word.empty();
}

// "PID/TID" or, without pid in -F, "TID": then the thread stands for its process.
bool take_process(std::string_view word, u64& pid) {
  const auto first = take_number(word, 10);
  if (!first || (!word.empty() && (!take_prefix(word, "/") || !take_number(word, 10))))
    return false;
  pid = *first;
  return word.empty();
}

// The command's name may have blanks: the time is what is found first, then what is before it.
bool parse(std::string_view line, Sample& sample) {
  std::string_view rest = line;
  std::string_view before;
  std::string_view last;
  skip_any(rest, kBlanks);
  for (;;) {
    const std::string_view word = take_word(rest);
    if (word.empty()) return false;
    if (const auto time = time_of(word)) {
      sample.time = *time;
      break;
    }
    before = last;
    last = word;
  }
  if (take_bracketed(last, sample.cpu)) last = before;
  if (!take_process(last, sample.pid)) return false;
  std::string_view event = take_word(rest);
  if (whole_number(event)) event = take_word(rest);
  if (!event.ends_with(':')) return false;
  event.remove_suffix(1);
  sample.event = event;
  sample.rest = rest;
  return true;
}

class PerfImporter : public Importer {
 public:
  PerfImporter(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input), output_(output), columns_(columns_of(values["columns"])) {
    const std::string_view kind = values["kind"];
    if (kind != "read" && kind != "write" && kind != "") throw RecordError("kind is read or write");
    kind_known_ = kind != "";
    kind_ = kind == "write" ? AccessKind::Write : AccessKind::Read;
    const bool physical =
        std::find(columns_.begin(), columns_.end(), Column::Physical) != columns_.end();
    if (physical && !output.begun()) output.header().lacks &= ~u64{kNoGpa};
  }

  bool step() override {
    std::string_view line;
    if (!input_.take_line(line)) return false;
    if (line.empty() || line[0] == '#') return true;
    Sample sample;
    if (!parse(line, sample)) input_.fail("'COMM PID/TID TIME: EVENT: ...'", quoted(line));
    Access access{};
    const bool event_says = kind_of_event(sample.event, access.kind);
    const AccessKind said = access.kind;
    bool kind_found = event_says;
    for (const Column column : columns_) {
      kind_found = take(column, sample.rest, access) || kind_found;
    }
    if (!kind_found && !kind_known_) {
      input_.fail("an event or data_src that says load or store (or --set kind=read)",
                  quoted(sample.event));
    }
    if (!kind_found) access.kind = kind_;
    if ((access.flags & kAddressesKnown) == 0) {
      output_.note("samples without an address");
      return true;
    }
    // Whoever records can give an event any name; perf knows the operation.
    if (event_says && access.kind != said) {
      output_.note("names of events that say another operation than data_src");
    }
    output_.select(output_.number_of(sample.cpu), sample.time);
    output_.space({0, sample.pid, Precision::Inferred});
    output_.access(access);
    return true;
  }

 private:
  static bool kind_of_event(std::string_view event, AccessKind& kind) {
    const auto says = [&](const char* word, const char* capitals) {
      return event.find(word) != event.npos || event.find(capitals) != event.npos;
    };
    const bool load = says("load", "LOAD");
    const bool store = says("store", "STORE");
    kind = store ? AccessKind::Write : AccessKind::Read;
    return load != store;
  }

  // True when it told the kind.
  bool take(Column column, std::string_view& rest, Access& access) const {
    if (column == Column::DataSource) return take_data_source(rest, access);
    const std::string_view word = take_word(rest);
    if (word.empty()) input_.fail(std::to_string(columns_.size()) + " columns", "fewer");
    if (column == Column::Skip) return false;
    const auto value = whole_hex(word);
    if (!value) input_.fail("a hexadecimal address", quoted(word));
    if (*value == 0) return false;  // perf could not tell.
    if (column == Column::Address) {
      access.gva = Gva(*value);
      access.flags |= kGvaKnown;
    } else {
      access.gpa = Gpa(*value);
      access.flags |= kGpaKnown;
    }
    return false;
  }

  // "68100142 |OP LOAD|LVL L1 hit|SNP None|TLB L1 or L2 hit|LCK No|BLK  N/A": values within have
  // blanks, the last one has none.
  bool take_data_source(std::string_view& rest, Access& access) const {
    const std::size_t start = rest.find('|');
    const std::size_t end = rest.rfind('|');
    if (start == end) input_.fail("data_src as '... |OP LOAD|...'", quoted(rest));
    const std::string_view text = rest.substr(start, end - start);
    std::string_view before = rest.substr(0, start);
    const std::string_view number = take_word(before);
    rest.remove_prefix(end + 1);
    take_word(rest);
    take_word(rest);
    const bool store = text.find("OP STORE") != text.npos;
    const bool known = store || text.find("OP LOAD") != text.npos;
    if (text.find("OP ") != text.npos) expect_operation(number, store, known);
    if (known) access.kind = store ? AccessKind::Write : AccessKind::Read;
    return known;
  }

  // The number before has the operation in its lowest five bits, PERF_MEM_OP_* of
  // uapi/linux/perf_event.h: 1 not available, 2 load, 4 store, 8 prefetch, 16 execution.
  void expect_operation(std::string_view number, bool store, bool known) const {
    constexpr u64 kLoad = 2, kStore = 4, kAll = 31;
    const auto value = whole_hex(number);
    if (!value) input_.fail("data_src with a hexadecimal number", quoted(number));
    const u64 operation = *value & kAll;
    const bool agrees = known ? (operation & (store ? kStore : kLoad)) != 0
                              : operation != kLoad && operation != kStore;
    if (agrees) return;
    input_.fail("the operation that data_src " + in_hex(*value) + " says",
                !known  ? "neither OP LOAD nor OP STORE"
                : store ? "OP STORE"
                        : "OP LOAD");
  }

  ImportInput& input_;
  ImportOutput& output_;
  std::vector<Column> columns_;
  bool kind_known_ = false;
  AccessKind kind_ = AccessKind::Read;
};

bool detect(std::string_view beginning) {
  Sample sample;
  return parse(first_line(beginning, "#"), sample);
}

constexpr ImportOption kOptions[] = {
    {"columns", "addr",
     "what follows the event: addr, phys_addr, data_src; others are passed over"},
    {"kind", "", "read or write, for events that do not say"}};

}  // namespace

const ImportFormat kPerf = {
    "perf",
    "perf script of sampled addresses: each CPU a vCPU; the address space is the process id",
    kNoGpa | kNoHpa | kNoSize | kNoInstructions | kNoDependence | kNoFetches | kNoFences |
        kNoHypervisor,
    Mode::User,
    "commands, threads, periods, and columns and details of data_src that are not used",
    kOptions,
    streams_are_in_records,
    detect,
    make_importer<PerfImporter>};

}  // namespace nestwalk::traces
