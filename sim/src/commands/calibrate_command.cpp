// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <filesystem>

#include "calibration/fit.hpp"
#include "calibration/known_cpus.hpp"
#include "calibration/this_machine.hpp"
#include "commands/commands.hpp"
#include "commands/probe_options.hpp"
#include "comparisons/cases.hpp"
#include "program/late_output.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Measures the machine that it runs on, native or in a VM, as any user can: dependent loads "
    "over\n"
    "footprints in pages of 4K, 2M and 1G, several lists at once, streams. Then simulates the same "
    "loads\n"
    "of one list, fits latencies and sizes of caches and TLBs to their times, and writes a preset "
    "that is\n"
    "`like` the one it began with, and has the values that differ. A value stays the preset's "
    "where "
    "that\n"
    "is as good. One that changes although the times do not determine it is written as a guess "
    "with "
    "a\n"
    "range. Prints the error of each point, and what the times say of each value.";

void declare(CommandLine& line) {
  line.about(kText)
      .option("preset,p", po::value<std::string>()->value_name("PRESET"),
              "what to begin with: a name, or a JSON file; without: that of this kind of processor")
      .option("output,o", po::value<std::string>()->value_name("FILE"), "the file to write")
      .option("measured", po::value<std::string>()->value_name("FILE"),
              "what was measured before (--only-measure): measure nothing now")
      .option("simulate", po::value<std::string>()->value_name("PRESET"),
              "measure this simulated machine instead of the one that it runs on")
      .option("name", po::value<std::string>()->value_name("NAME"), "what the machine is called")
      .option("seed", po::value<u64>()->default_value(1)->value_name("N"),
              "of the random numbers that the search for latencies starts again from");
  line.choice("fit", {"all", "latencies"},
              "what is fitted: structures and latencies, or these alone");
  declare_probes(line);
  declare_times(line);
  declare_surroundings(line);
  declare_jobs(line);
  line.flag("only-measure", "write what was measured, and fit nothing")
      .flag("json", "print the fit as JSON")
      .words("preset", preset_names())
      .ignores("with --measured", {"seconds"})
      .ignores("with --simulate", {"seconds", "environment"})
      .ignores("with --only-measure", {"preset", "seed", "json", "fit", "times"})
      .ignores("without --simulate", {"host-pages", "guest-frames"});
}

// Its own loads, as if they had been measured.
MeasuredMachine simulated_now(const CommandLine& line) {
  const std::string preset = line.get<std::string>("simulate");
  const Configuration machine(preset_file(preset));
  machine.check_machine();
  MeasuredMachine measured;
  measured.name = machine.machine_name();
  measured.cpu = "simulated " + machine.machine_name();
  measured.is_virtual = true;
  measured.clock_mhz = static_cast<u64>(1e3 / ns_of_cycle(machine) + 0.5);
  const std::vector<Point> points = wanted_points(line, usual_points(most_of(line), false));
  const std::vector<Cost> costs =
      SimulatedProbes(jobs_of(line)).costs(machine, surroundings_of(line, measured), points);
  for (std::size_t n = 0; n < points.size(); ++n) {
    measured.points.push_back({points[n], costs[n].cycles * ns_of_cycle(machine), {}, 1, {}});
  }
  return measured;
}

// What was measured before, or else what is known of the machine without measuring it.
MeasuredMachine known_of(const CommandLine& line) {
  if (line.has("measured") && line.has("simulate")) {
    throw UsageError(line.path() + ": --measured and --simulate: one of them");
  }
  if (line.has("measured")) return measured_before(line, "measured");
  if (!line.has("simulate")) return this_machine();
  MeasuredMachine machine;
  machine.cpu = "simulated " + line.get<std::string>("simulate");
  return machine;
}

MeasuredMachine measured_of(const CommandLine& line, MeasuredMachine known) {
  MeasuredMachine measured = std::move(known);
  if (!line.has("measured")) {
    measured = line.has("simulate") ? simulated_now(line) : measured_now(line);
  }
  if (line.has("name")) measured.name = line.get<std::string>("name");
  if (measured.name.empty()) measured.name = "this-machine";
  return measured;
}

std::string base_of(const CommandLine& line, const MeasuredMachine& measured) {
  if (line.has("preset")) return line.get<std::string>("preset");
  if (const std::optional<std::string> known = preset_like(measured)) return *known;
  std::string names;
  for (const std::string& each : preset_names()) names.append(" ").append(each);
  throw UsageError(line.path() + ": no preset is known for " + printable(measured.cpu) +
                   "; name one with --preset:" + names);
}

// A preset that is `like` another one finds that by its name: in its own folder, or among those of
// everybody.
void expect_finds(const std::string& output, const std::string& base) {
  std::error_code none;
  if (output == "-" || (fs::exists(output, none) && !fs::is_regular_file(output, none))) return;
  const std::string name = fs::path(base).stem().string();
  const std::string beside = fs::path(output).parent_path() / (name + ".json");
  if (fs::weakly_canonical(fs::absolute(output, none), none) ==
      fs::weakly_canonical(fs::absolute(beside, none), none)) {
    throw UsageError(output + ": would be like " + name +
                     ", which is itself; write to another file");
  }
  std::string found = beside;
  const std::vector<std::string> names = preset_names();
  if (!fs::exists(beside, none) && std::find(names.begin(), names.end(), name) != names.end()) {
    found = preset_file(name);
  }
  if (fs::equivalent(found, base, none)) return;
  throw UsageError(output + ": would be like " + name + ", and there that is not " + base +
                   "; write beside that file");
}

// The preset to begin with, which --only-measure does not need; the outputs are none of what is
// read.
std::optional<Configuration> base_for(const CommandLine& line, const MeasuredMachine& known) {
  std::vector<std::string> inputs;
  if (line.has("measured")) inputs.push_back(line.get<std::string>("measured"));
  if (line.has("simulate")) inputs.push_back(preset_file(line.get<std::string>("simulate")));
  std::optional<Configuration> base;
  if (!line.has("only-measure")) {
    inputs.push_back(preset_file(base_of(line, known)));
    base.emplace(inputs.back());
    base->check_machine();
  }
  if (!line.has("output")) return base;
  const std::string output = line.get<std::string>("output");
  expect_not_read(output, inputs);
  if (base) expect_finds(output, inputs.back());
  return base;
}

Json as_json(const Fit& fit) {
  Json values = Json::array();
  for (const FittedValue& each : fit.values) {
    values.push_back(
        {{"path", each.path}, {"before", each.before}, {"value", each.value}, {"note", each.note}});
  }
  Json json = as_json(fit.agreement);
  json["surroundings"] = text_of(fit.surroundings);
  json["values"] = values;
  return json;
}

std::string as_text(const Fit& fit) {
  Table table = {{"value", "preset", "fitted", ""}};
  for (const FittedValue& each : fit.values) {
    table.push_back({each.path, each.before.dump(), each.value.dump(), each.note});
  }
  return formatted(as_table(fit.agreement), "table") + "\n" + formatted(table, "table") + "\n" +
         sentence_of(fit.agreement) + "; " + text_of(fit.surroundings) + "\n";
}

int run(const CommandLine& line) {
  const Interruptible guard;
  MeasuredMachine known = known_of(line);
  const std::optional<Configuration> base = base_for(line, known);
  std::optional<LateOutput> output;
  if (line.has("output")) output.emplace(line.get<std::string>("output"));
  MeasuredMachine measured = measured_of(line, std::move(known));
  if (!base) {
    if (!output) output.emplace();
    output->write(json_document(as_json(measured)));
    return kDone;
  }
  choose_times(line, measured);
  FitOptions options;
  options.jobs = jobs_of(line);
  options.seed = line.get<u64>("seed");
  if (line.get<std::string>("fit") == "latencies") options.passes = 0;
  options.progress = [](const std::string& text) { complain(text); };
  const Fit found = fit(measured, *base, wanted_points(line, simulated_points(measured)), options);
  TextOutput().write(line.has("json") ? json_document(as_json(found)) : as_text(found));
  if (output) output->write(json_document(preset_of(found, measured, *base, measured.name)));
  return kDone;
}

}  // namespace

constexpr Command kCalibrateCommand = {
    "calibrate", "measures this machine, and fits a preset to it", declare, run};

}  // namespace nestwalk::sim
