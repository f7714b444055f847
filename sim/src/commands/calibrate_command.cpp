// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/fit.hpp"
#include "calibration/known_cpus.hpp"
#include "commands/commands.hpp"
#include "commands/probe_options.hpp"
#include "comparisons/cases.hpp"
#include "program/output.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

constexpr const char* kText =
    "Measures the machine that it runs on, native or in a VM, as any user can: dependent loads "
    "over\n"
    "footprints in pages of 4K, 2M and 1G, how many lists overlap, streams. Then runs the same "
    "loads on\n"
    "a simulated machine, fits the values that they depend on, and writes a preset that is `like` "
    "the one\n"
    "it began with. Says what was measured beside what is simulated, and which values the loads do "
    "not\n"
    "determine: those stay as they are.";

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
              "of the latencies that the search starts again from");
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
      .ignores("with --simulate", {"seconds"})
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

MeasuredMachine measured_of(const CommandLine& line) {
  if (line.has("measured") && line.has("simulate")) {
    throw UsageError(line.path() + ": --measured and --simulate: one of them");
  }
  MeasuredMachine measured;
  if (line.has("measured")) {
    measured = read_measured(line.get<std::string>("measured"));
  } else {
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
  MeasuredMachine measured = measured_of(line);
  if (line.has("only-measure")) {
    const std::string text = json_document(as_json(measured));
    if (!line.has("output")) TextOutput().write(text);
    if (line.has("output")) write_text(line.get<std::string>("output"), text);
    return kDone;
  }
  choose_times(line, measured);
  const Configuration base(preset_file(base_of(line, measured)));
  base.check_machine();
  FitOptions options;
  options.jobs = jobs_of(line);
  options.seed = line.get<u64>("seed");
  if (line.get<std::string>("fit") == "latencies") options.passes = 0;
  options.progress = [](const std::string& text) { complain(text); };
  const Fit found = fit(measured, base, wanted_points(line, simulated_points(measured)), options);
  TextOutput().write(line.has("json") ? json_document(as_json(found)) : as_text(found));
  if (line.has("output")) {
    write_text(line.get<std::string>("output"),
               json_document(preset_of(found, measured, base, measured.name)));
  }
  return kDone;
}

}  // namespace

constexpr Command kCalibrateCommand = {
    "calibrate", "measures this machine, and fits a preset to it", declare, run};

}  // namespace nestwalk::sim
