// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/summary.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "configuration/configuration.hpp"
#include "configuration/values.hpp"
#include "nestwalk/models/base/hex.hpp"
#include "results/cause.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;

template <class... Values>
std::string print(const char* format, Values... values) {
  char text[128];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string percent(double share) { return print("%.1f%%", 100 * share); }

// Three digits, or all before the point.
std::string three_digits(double value) {
  int digits = 0;
  for (double least = 99.95; value < least && digits < 6; least /= 10) ++digits;
  return print("%.*f", value == 0 ? 0 : digits, value);
}

std::string file_name(const std::string& path) {
  return printable(std::filesystem::path(path).filename().string());
}

// All of a run, without folders.
std::string traces_of(const Json& record) {
  const Json& trace = record.at("trace");
  if (trace.is_string()) return file_name(trace.get<std::string>());
  std::string text;
  for (const Json& each : trace) {
    text.append(text.empty() ? "" : ", ").append(file_name(each.get<std::string>()));
  }
  return text;
}

std::string value_text(const Json& value);

// "0x80000000+512 MiB": of what is said as START+SIZE in bytes, as resolved configurations do.
std::string range_text(const std::string& text) {
  u64 start = 0, size = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%lu+%lu%c", &start, &size, &rest) != 2) return text;
  return models::hex(start) + "+" + bytes_text(static_cast<double>(size));
}

std::string value_text(const Json& value) {
  if (value.is_array()) {
    std::string text;
    for (const Json& each : value) {
      text.append(text.empty() ? "" : ", ");
      text.append(each.is_string() ? range_text(each.get<std::string>()) : value_text(each));
    }
    return text;
  }
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// The statistics of a run, or of a part of it.
class Values {
 public:
  Values(const Json& statistics, std::string prefix = "")
      : statistics_(statistics), prefix_(std::move(prefix)) {}

  /// 0 where there is none.
  double operator()(const std::string& name) const {
    const auto found = statistics_.find(prefix_ + name);
    return found == statistics_.end() ? 0 : found->get<double>();
  }
  u64 count(const std::string& name) const { return static_cast<u64>((*this)(name)); }
  /// 0 of nothing.
  double share(const std::string& part, const std::string& whole) const {
    return per((*this)(part), (*this)(whole));
  }
  static double per(double what, double of) { return of == 0 ? 0 : what / of; }

 private:
  const Json& statistics_;
  std::string prefix_;
};

class Summariser {
 public:
  explicit Summariser(const RunDocuments& run)
      : run_(run),
        is_(run.stats.at("statistics")),
        machine_(run.configuration.at("machine")),
        clock_mhz_(values_of(machine_).at("clock_mhz").get<double>()) {}

  Summary make() {
    title();
    settings();
    time();
    latency();
    causes();
    translation();
    exits();
    memory();
    phases();
    return std::move(summary_);
  }

 private:
  void line(const char* label, std::string text) {
    summary_.lines.push_back({label, std::move(text), {}});
  }
  double nanoseconds(double cycles) const { return cycles * 1000 / clock_mhz_; }
  static std::string many_of(u64 count, const char* what, const char* plural = "s") {
    return with_commas(count) + " " + noun(count, what, plural);
  }
  std::string many(const char* name, const char* what, const char* plural = "s") const {
    return many_of(is_.count(name), what, plural);
  }
  std::string cycles_as_time(double cycles) const { return duration_text(nanoseconds(cycles)); }
  std::string per_thousand(double events) const {
    const double instructions = is_("access.instructions");
    if (instructions == 0) return "";
    return " (" + three_digits(1000 * events / instructions) + " per 1000 instructions)";
  }

  void title();
  void settings();
  void time();
  void latency();
  void causes();
  void translation();
  void exits();
  void memory();
  void phases();

  const RunDocuments& run_;
  Values is_;
  const Json& machine_;
  double clock_mhz_;
  Summary summary_;
};

void Summariser::title() {
  summary_.title = traces_of(run_.record) + " on " + machine_.at("name").get<std::string>() + ": " +
                   three_digits(clock_mhz_ / 1000) + " GHz, " +
                   run_.stats.at("core").get<std::string>();
}

void Summariser::settings() {
  const Json& is = run_.configuration;
  const std::string ended = run_.stats.at("ended_early").get<std::string>();
  if (!ended.empty()) {
    summary_.incomplete.append("incomplete: the run ended early: ").append(ended);
  }
  std::vector<std::string> values;
  const char* const kAlways[] = {"hypervisor.backing", "guest.tables", "guest.memory"};
  const Json chosen = run_.record.value("instead_of_auto", Json::array());  // older ones lack it
  for (const Parameter& each : parameters()) {
    const std::string path = each.path;
    const std::size_t dot = path.find('.');
    Json::json_pointer place;
    place.push_back(path.substr(0, dot));
    place.push_back(path.substr(dot + 1));
    if (!is.contains(place)) continue;
    const Json& value = is.at(place);
    const bool always =
        std::find(std::begin(kAlways), std::end(kAlways), path) != std::end(kAlways);
    const bool decided =
        each.standard == "auto" && std::find(chosen.begin(), chosen.end(), path) == chosen.end();
    if (always || (!decided && value != each.standard)) {
      values.push_back(path + "=" + value_text(value));
    }
  }
  const std::string name = machine_.at("name").get<std::string>();
  const std::vector<std::string> known = preset_names();
  if (std::find(known.begin(), known.end(), name) != known.end()) {
    const Json own = values_of(machine_);
    const Json preset = values_of(Configuration(preset_file(name)).document().at("machine"));
    for (const auto& [path, value] : own.items()) {
      if (preset.value(path, Json()) == value || path == "cores") continue;
      values.push_back("machine." + path + "=" + value_text(value));
    }
  }
  std::string text;
  for (const std::string& each : values) text.append(text.empty() ? "" : ", ").append(each);
  summary_.settings.push_back(std::move(text));
  if (const auto used = used_values_from(run_.stats.at("values"))) {
    summary_.settings.push_back(std::string("guesses: ").append(text_of(*used)));
  }
}

void Summariser::time() {
  const double accesses = is_("access.total"), instructions = is_("access.instructions");
  const double begin = is_("time.begin");
  const bool tells_begin = begin >= 0.005 * is_("time.cycles") && begin != 0;
  std::string first;
  if (is_("time.first_access") != 0) {  // 0: it was before what is measured
    first.append("; the first access was over after ");
    first.append(cycles_as_time(is_("time.first_access")));
  }
  line("time", duration_text(is_("time.ns")) + ", " + many("time.cycles", "cycle") +
                   (tells_begin ? ", " + cycles_as_time(begin) + " before the guest ran" : "") +
                   first);
  std::string pace = many("access.total", "access", "es") + ", " +
                     duration_text(nanoseconds(Values::per(is_("time.vcpus"), accesses))) + " each";
  if (instructions != 0) {
    pace += "; " + many("access.instructions", "instruction") + ", IPC " +
            three_digits(is_.share("access.instructions", "time.vcpus"));
  }
  line("pace", std::move(pace));
}

void Summariser::latency() {
  const auto at = [&](const char* name) { return cycles_as_time(is_(name)); };
  line("latency", "mean " + at("latency.mean") + ", p50 " + at("latency.p50") + ", p99 " +
                      at("latency.p99") + ", p99.9 " + at("latency.p99.9") + ", max " +
                      at("latency.max"));
}

// All time of the vCPUs. Exits and the guest's kernel come one after the other, so that they are
// time; in switches of the address space, too. The rest of what accesses took together is shared
// out by their latencies in TLBs and walks, and for data: where accesses overlap, these are more.
void Summariser::causes() {
  const double all = is_("time.vcpus");
  if (all == 0) return;
  const double in_switches = is_("guest.cycles") - is_("latency.guest");
  const double serial = is_("latency.exits") + is_("latency.guest");
  const double overlapping = std::max(0.0, is_("time.accesses") - serial);
  const double latencies = is_("latency.translation") + is_("latency.data");
  std::vector<SummaryLine> chart;
  const auto add = [&](const char* label, double cycles) {
    chart.push_back({std::string("  ").append(label), "", cycles / all});
  };
  add(name_of(Cause::Exits), is_("latency.exits") + is_("guest.cycles.exits"));
  add(name_of(Cause::Guest), is_("guest.cycles") - is_("guest.cycles.exits"));
  add(name_of(Cause::Translation),
      Values::per(is_("latency.translation"), latencies) * overlapping);
  add(name_of(Cause::Data), Values::per(is_("latency.data"), latencies) * overlapping);
  if (latencies == 0) add("store buffer full", overlapping);
  add("instructions", is_("time.instructions"));
  add("switches of spaces", std::max(0.0, is_("time.switches") - in_switches));
  add("guest's fences", is_("time.fences"));
  add("host's operations", is_("time.operations"));
  add("others' fences", is_("time.interrupted"));
  add("sharing of cores", is_("time.scheduling") + is_("time.waiting"));
  add("order of vCPUs", is_("time.ordered"));
  std::stable_sort(chart.begin(), chart.end(),
                   [](const SummaryLine& a, const SummaryLine& b) { return *a.share > *b.share; });
  for (SummaryLine& each : chart) {
    if (*each.share < 0.0005) continue;
    each.text = percent(*each.share);
    summary_.lines.push_back(std::move(each));
  }
}

void Summariser::translation() {
  const double walks = is_("walk.count");
  const double last = walks + is_("walk.merged") + is_("tlb.prefetch.used");
  const double first = last + is_("tlb.second_hits");
  const double lookups = first + is_("tlb.first_hits");
  std::string text =
      "first level misses " + percent(Values::per(first, lookups)) + per_thousand(first);
  if (is_("tlb.second_hits") != 0) {
    text += "; second " + percent(Values::per(last, first)) + " of these";
  }
  line("TLB", std::move(text));
  if (walks == 0) return;
  text = with_commas(is_.count("walk.count")) + per_thousand(walks) + ": " +
         three_digits(is_("walk.references_mean")) + " references and " +
         three_digits(is_("walk.cycles_mean")) + " cycles (" +
         cycles_as_time(is_("walk.cycles_mean")) + ") each";
  std::string served;
  const double references = is_("walk.references");
  double elsewhere = references;
  for (const char* const each : {"l1", "l2", "l3", "memory"}) {
    const double here = is_(std::string("cache.") + each + ".walks");
    elsewhere -= here;
    if (here == 0) continue;
    served += ", " + percent(here / references) + " from " +
              (std::string(each) == "memory" ? "memory" : "L" + std::string(each + 1));
  }
  if (elsewhere > 0) served += ", the rest from walk caches";
  line("walks", text + served);
}

void Summariser::exits() {
  const double exits = is_("exit.total");
  if (exits != 0) {
    static constexpr const char* kCauses[][2] = {
        {"exit.mapped", "backed a page"},          {"exit.made_writable", "dirty log"},
        {"exit.already_mapped", "backed already"}, {"exit.no_area", "devices"},
        {"exit.no_permission", "forbidden"},       {"exit.not_backed", "taken away"},
        {"exit.out_of_memory", "no frame left"}};
    std::string causes;
    for (const auto& [name, words] : kCauses) {
      if (is_(name) == 0) continue;
      causes.append(causes.empty() ? ": " : ", ").append(with_commas(is_.count(name)));
      causes.append(" ").append(words);
    }
    line("exits", with_commas(is_.count("exit.total")) + ", " +
                      cycles_as_time(is_("exit.cycles") / exits) + " each" + causes);
  }
  if (is_("guest.faults") != 0) {
    line("guest faults", with_commas(is_.count("guest.faults")));
  }
  u64 fences = 0;
  for (const char* const cause : {"map", "zap", "protect", "log_start", "log_harvest", "log_stop",
                                  "inflate", "deflate", "exits", "begin", "entries"}) {
    fences += is_.count(std::string("fence.") + cause);
  }
  if (fences != 0) {
    line("fences", with_commas(fences) + " of the hypervisor, " +
                       many("fence.interrupts", "interrupt") + " of cores, " +
                       with_commas(is_.count("fence.refills")) + " entries filled again");
  }
}

void Summariser::memory() {
  if (is_("memory.backed") == 0 && is_("memory.tables") == 0) return;  // no hypervisor
  line("memory", bytes_text(is_("memory.backed")) + " of the guest backed, in tables of " +
                     bytes_text(is_("memory.tables")) + "; " +
                     bytes_text(is_("engine.bytes_zeroed")) + " zeroed");
}

// The three that took most time.
void Summariser::phases() {
  std::vector<std::string> labels;
  const Json& statistics = run_.stats.at("statistics");
  constexpr const char* kCycles = ".time.cycles";
  for (const auto& [name, value] : statistics.items()) {
    if (!name.starts_with("phase.") || !name.ends_with(kCycles)) continue;
    labels.push_back(name.substr(0, name.size() - std::string(kCycles).size()));
  }
  const auto cycles = [&](const std::string& label) { return is_(label + kCycles); };
  std::stable_sort(labels.begin(), labels.end(),
                   [&](const auto& a, const auto& b) { return cycles(a) > cycles(b); });
  for (std::size_t n = 0; n < std::min<std::size_t>(3, labels.size()); ++n) {
    const Values phase(statistics, labels[n] + ".");
    line(n == 0 ? "phases" : "",
         labels[n].substr(6) + ": " +
             percent(Values::per(phase("time.cycles"), is_("time.cycles"))) + " of the time, " +
             duration_text(nanoseconds(Values::per(phase("time.vcpus"), phase("access.total")))) +
             " an access, " + many_of(phase.count("exit.total"), "exit") + ", " +
             many_of(phase.count("walk.count"), "walk"));
  }
}

// Words of a text in lines of at most `width`, after what is in front of the first; the later ones
// begin with so many blanks.
std::string wrapped(std::string line, const std::string& text, unsigned width, unsigned indent) {
  std::string result;
  bool is_empty = true;  // but for blanks or a label
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    if (!is_empty && line.size() + 1 + word.size() > width) {
      result += line + "\n";
      line.assign(indent, ' ');
      is_empty = true;
    }
    line.append(is_empty ? "" : " ").append(word);
    is_empty = false;
  }
  return result + line + "\n";
}

// Of blocks: in eighths of a letter.
std::string bar(double share, unsigned width, Bars bars) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  if (bars == Bars::Signs) {
    return std::string(static_cast<std::size_t>(std::lround(share * width)), '#');
  }
  const auto eighths = static_cast<unsigned>(std::lround(share * width * 8));
  std::string text;
  for (unsigned n = 0; n < eighths / 8; ++n) text += "█";
  return text + kEighths[eighths % 8];
}

}  // namespace

std::string with_commas(u64 number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t n = 0; n < digits.size(); ++n) {
    if (n != 0 && (digits.size() - n) % 3 == 0) text.push_back(',');
    text.push_back(digits[n]);
  }
  return text;
}

std::string duration_text(double nanoseconds) {
  if (nanoseconds == 0) return "0";
  constexpr const char* kUnits[] = {" ns", " us", " ms", " s"};
  unsigned unit = 0;
  while (unit < 3 && nanoseconds >= 999.5) {
    nanoseconds /= 1000;
    ++unit;
  }
  return three_digits(nanoseconds) + kUnits[unit];
}

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  unsigned unit = 0;
  while (unit < 4 && bytes >= 1024) {
    bytes /= 1024;
    ++unit;
  }
  return (bytes == std::floor(bytes) ? print("%.0f", bytes) : three_digits(bytes)) + kUnits[unit];
}

Summary summary_of(const RunDocuments& run) { return Summariser(run).make(); }

std::string as_text(const Summary& summary, unsigned width, Bars bars) {
  std::string text = summary.incomplete.empty() ? "" : wrapped("", summary.incomplete, width, 2);
  text += wrapped("", summary.title, width, 2);
  for (const std::string& each : summary.settings) text += wrapped("", each, width, 2);
  text += "\n";
  std::size_t widest = 0;
  for (const SummaryLine& each : summary.lines) widest = std::max(widest, each.label.size());
  const auto column = static_cast<unsigned>(widest + 2);
  for (const SummaryLine& each : summary.lines) {
    std::string label = each.label;
    label.resize(column, ' ');
    if (!each.share) {
      text += wrapped(label, each.text, width, column);
      continue;
    }
    std::string share = each.text;
    share.insert(0, share.size() < 7 ? 7 - share.size() : 0, ' ');
    text += label + share;
    const unsigned room = width > column + 9 ? width - column - 9 : 0;
    if (bars != Bars::None && room > 0) text += "  " + bar(*each.share, room, bars);
    text += "\n";
  }
  return text;
}

std::string as_comments(const Summary& summary) {
  std::string text = summary.incomplete.empty() ? "" : "# " + summary.incomplete + "\n";
  text += "# " + summary.title + "\n";
  for (const std::string& each : summary.settings) text += "# " + each + "\n";
  return text;
}

}  // namespace nestwalk::sim
