// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <array>

#include "calibration/agreement.hpp"
#include "commands/commands.hpp"
#include "commands/probe_options.hpp"
#include "comparisons/cases.hpp"
#include "configuration/configuration_options.hpp"
#include "nestwalk/traces/error.hpp"
#include "program/late_output.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

constexpr const char* kText =
    "Says how far a simulated machine is from a real one: dependent loads over footprints, as "
    "they\n"
    "were measured there (nestwalk calibrate --only-measure), or are measured now on this "
    "machine,\n"
    "and as they are simulated; the error of each point, the worst, and the mean.";

void declare(CommandLine& line) {
  line.about(kText);
  declare_preset(line);
  declare_settings(line);
  line.option("against", po::value<std::string>()->value_name("FILE"),
              "what was measured; without: this machine is measured");
  declare_probes(line);
  declare_times(line);
  declare_surroundings(line);
  declare_jobs(line);
  line.flag("json", "print JSON")
      .option("picture", po::value<std::string>()->value_name("FILE"), "both curves, as SVG")
      .ignores("with --against", {"seconds"});
}

int run(const CommandLine& line) {
  const Configuration machine = configuration_of(line);
  machine.check_machine();
  std::optional<LateOutput> picture;
  if (line.has("picture")) {
    const std::string file = line.get<std::string>("picture");
    if (line.has("against")) expect_not_read(file, std::array{line.get<std::string>("against")});
    picture.emplace(file);
  }
  MeasuredMachine measured =
      line.has("against") ? measured_before(line, "against") : measured_now(line);
  choose_times(line, measured);
  const std::vector<Point> points = wanted_points(line, simulated_points(measured));
  const Interruptible guard;
  SimulatedProbes probes(jobs_of(line));
  const Surroundings surroundings = surroundings_of(line, measured);
  const Agreement agreement = agreement_of(
      measured, points, probes.costs(machine, surroundings, points), ns_of_cycle(machine));
  const std::string& real = measured.name.empty() ? measured.cpu : measured.name;
  const std::string title = machine.machine_name() + " beside " + real;
  if (picture) picture->write(as_picture(agreement, title));
  if (line.has("json")) {
    Json json = as_json(agreement);
    json["machine"] = machine.machine_name();
    json["measured"] = real;
    json["surroundings"] = text_of(surroundings);
    TextOutput().write(json_document(json));
  } else {
    TextOutput().write(formatted(as_table(agreement), "table") + sentence_of(agreement) + "; " +
                       text_of(surroundings) + "\n");
  }
  return kDone;
}

}  // namespace

constexpr Command kValidateCommand = {
    "validate", "says how far a preset is from a machine that was measured", declare, run};

}  // namespace nestwalk::sim
