// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// info and stats: the same document, as text and as JSON.

#include "commands/commands.hpp"
#include "nestwalk/models/base/hex.hpp"
#include "nestwalk/models/base/json.hpp"
#include "nestwalk/traces/summary.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/trace_input.hpp"

namespace nestwalk::sim {

using models::hex;

namespace {

using addrspace::u64;
using traces::Reader;
using traces::Summary;

// A list where there are several of one name, as of inputs.
Json json_of(const std::vector<std::pair<std::string, std::string>>& notes) {
  Json json = Json::object();
  for (const auto& [key, value] : notes) {
    if (!json.contains(key)) {
      json[key] = value;
      continue;
    }
    Json& known = json[key];
    if (known.is_string()) known = Json::array({known});
    known.push_back(value);
  }
  return json;
}

Json json_of(const traces::Header& header) {
  Json json;
  json["architecture"] =
      header.architecture ? addrspace::to_string(*header.architecture) : "not known";
  json["mode"] = traces::kModeNames[static_cast<std::size_t>(header.mode)];
  json["vcpus"] = header.vcpus;
  json["lacks"] = Json::array();
  for (std::size_t bit = 0; bit < std::size(traces::kLackNames); ++bit) {
    if (header.lacks >> bit & 1) json["lacks"].push_back(traces::kLackNames[bit]);
  }
  json["guest_tables"] = header.guest_tables;
  json["host_tables"] = header.host_tables;
  json["producer"] = header.producer;
  json["command"] = header.command;
  json["memory"] = Json::array();
  for (const traces::MemoryRange& range : header.memory) {
    json["memory"].push_back({{"stage", traces::kStageNames[static_cast<std::size_t>(range.stage)]},
                              {"start", hex(range.start)},
                              {"bytes", range.bytes},
                              {"kind", range.kind}});
  }
  json["provenance"] = json_of(header.provenance);
  return json;
}

template <std::size_t... kIndex>
Json events_of(const Summary& summary, std::index_sequence<kIndex...>) {
  Json json;
  ((json[std::string(std::variant_alternative_t<kIndex, traces::EventDetail>::kName)] =
        summary.events(kIndex)),
   ...);
  return json;
}

Json reuse_of(const Summary& summary) {
  Json json;
  json["first"] = summary.first_accesses();
  const auto& buckets = summary.reuse();
  std::size_t used = buckets.size();
  while (used > 0 && buckets[used - 1] == 0) --used;
  for (std::size_t n = 0; n < used; ++n) {
    const u64 least = n == 0 ? 0 : u64{1} << (n - 1);
    json["from_" + std::to_string(least)] = buckets[n];
  }
  return json;
}

Json json_of(const Summary& summary, u64 window) {
  constexpr auto kKinds = std::variant_size_v<traces::EventDetail>;
  Json json;
  json["accesses"] = {{"read", summary.accesses(traces::AccessKind::Read)},
                      {"write", summary.accesses(traces::AccessKind::Write)},
                      {"fetch", summary.accesses(traces::AccessKind::Fetch)},
                      {"with_gva", summary.flagged(traces::kGvaKnown)},
                      {"with_gpa", summary.flagged(traces::kGpaKnown)},
                      {"with_hpa", summary.flagged(traces::kHpaKnown)},
                      {"dependent", summary.flagged(traces::kDependent)},
                      {"continued", summary.flagged(traces::kContinues)}};
  json["instructions"] = summary.instructions();
  json["events"] = events_of(summary, std::make_index_sequence<kKinds>());
  json["address_spaces"] = summary.spaces();
  json["footprint_pages"] = {
      {"4K", summary.pages(12)}, {"2M", summary.pages(21)}, {"1G", summary.pages(30)}};
  json["reuse_distance_pages"] = reuse_of(summary);
  json["working_set"] = {{"window_accesses", window}, {"pages", summary.working_sets()}};
  return json;
}

std::string scalar_text(const Json& value) {
  return value.is_string() ? printable(value.get<std::string>()) : value.dump();
}

std::string array_text(const Json& array) {
  constexpr std::size_t kShown = 16;
  std::string text;
  for (std::size_t n = 0; n < std::min(array.size(), kShown); ++n) {
    text += (n == 0 ? "" : ", ") + scalar_text(array[n]);
  }
  if (array.size() > kShown) text += ", ... (" + std::to_string(array.size()) + " in all)";
  return text;
}

void append_lines(std::string& to, const Json& object, const std::string& indent) {
  for (const auto& [name, value] : object.items()) {
    const std::string key = printable(name);
    if (value.is_object()) {
      to += indent + key + "\n";
      append_lines(to, value, indent + "  ");
    } else {
      to +=
          indent + key + ": " + (value.is_array() ? array_text(value) : scalar_text(value)) + "\n";
    }
  }
}

Json read_document(const TraceInput& input, u64 window) {
  auto source = input.open();
  const std::string name = source->name();
  Reader reader(std::move(source), input.on_loss());
  input.check(reader.header());
  Progress progress;
  Summary summary(window);
  traces::LackRules lacks(reader.header());
  for (Reader::Item item = reader.next(); item != Reader::Item::End; item = reader.next()) {
    if (item != Reader::Item::Records) continue;
    lacks.check(reader.chunk(), name, input.on_loss());
    if (!input.wants(reader.chunk().vcpu)) continue;
    summary.add(reader.chunk());
    progress.update(reader.offset(), reader.size(), reader.totals().accesses);
  }
  Json json = {{"header", json_of(reader.header())},
               {"blocks", reader.totals().blocks},
               {"side_sections", reader.totals().side_sections}};
  json.update(json_of(summary, window));
  return json;
}

constexpr const char* kContents =
    "its header, counts, the memory that it touches (in distinct\n"
    "pages), how many other pages are accessed before a page is again (from 0: none), and how\n"
    "many pages each window of accesses needs.";

std::string render_text(const Json& json) {
  std::string text;
  append_lines(text, json, "");
  return text;
}

void declare(CommandLine& line) {
  TraceInput::declare(line);
  line.option("window", po::value<u64>()->default_value(1'000'000)->value_name("N"),
              "accesses per window of the working set");
}

void declare_info(CommandLine& line) {
  declare(line.about(std::string("Says what is in a trace: ") + kContents));
  line.flag("json", "as JSON");
}

void declare_stats(CommandLine& line) {
  declare(line.about(std::string("Prints as JSON: ") + kContents));
  line.flag("json", "as JSON, which is the only form; `info` has the same as text");
}

Json document_of(const CommandLine& line) {
  const auto window = line.get<u64>("window");
  if (window == 0) throw UsageError("--window is at least 1");
  return read_document(TraceInput(line), window);
}

int run_info(const CommandLine& line) {
  const Json document = document_of(line);
  TextOutput().write(line.has("json") ? json_document(document) : render_text(document));
  return kDone;
}

int run_stats(const CommandLine& line) {
  TextOutput().write(json_document(document_of(line)));
  return kDone;
}

}  // namespace

constexpr Command kTraceInfo = {"info", "says what is in a trace", declare_info, run_info};
constexpr Command kTraceStats = {"stats", "counts, as JSON", declare_stats, run_stats};

}  // namespace nestwalk::sim
