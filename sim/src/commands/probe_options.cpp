// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/probe_options.hpp"

#include "calibration/agreement.hpp"
#include "calibration/probe.hpp"
#include "configuration/parameter.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

constexpr u64 kLeastMost = addrspace::kMiB;

}  // namespace

void declare_probes(CommandLine& line) {
  line.option("seconds", po::value<unsigned>()->default_value(60)->value_name("N"),
              "measure for so long at most, once the lists are laid out")
      .option("most", po::value<std::string>()->default_value("4G")->value_name("BYTES"),
              "the largest footprint; to measure takes twice as much memory, and up to 256M more")
      .choice("environment", {"auto", "native", "VM"},
              "where it is measured; auto: as the kernel says, or the file");
}

u64 most_of(const CommandLine& line) {
  const std::string text = line.get<std::string>("most");
  const std::optional<u64> size = size_of(text);
  if (!size || !std::has_single_bit(*size) || *size < kLeastMost) {
    throw UsageError(line.path() + ": --most: expected a power of two from 1M on, found " +
                     printable(text));
  }
  return *size;
}

namespace {

MeasuredMachine in_environment(const CommandLine& line, MeasuredMachine machine) {
  const std::string environment = line.get<std::string>("environment");
  if (environment != "auto") machine.set_environment(environment == "VM");
  return machine;
}

}  // namespace

MeasuredMachine measured_before(const CommandLine& line, const char* option) {
  return in_environment(line, read_measured(line.get<std::string>(option)));
}

MeasuredMachine measured_now(const CommandLine& line) {
  ProbeLimits limits;
  limits.most_bytes = most_of(line);
  limits.seconds = line.get<unsigned>("seconds");
  ProbeResult result;
  {
    const Interruptible guard;
    result = measure(limits);
    if (interrupted()) throw NoResult(kIncomplete, "interrupted: the measurement is incomplete");
  }
  result.machine = in_environment(line, std::move(result.machine));
  for (const std::string& note : result.machine.notes) warn(note);
  if (!result.unstable.empty()) {
    std::string which;
    for (const std::string& each : result.unstable) which += (which.empty() ? "" : ", ") + each;
    throw NoResult(kIncomplete, "not stable after " + std::to_string(result.rounds) +
                                    " rounds: the least times still fall, of " + which +
                                    "; give it more --seconds, or a quieter machine");
  }
  return result.machine;
}

std::vector<Point> wanted_points(const CommandLine& line, std::vector<Point> points) {
  const u64 most = most_of(line);
  std::erase_if(points,
                [&](const Point& each) { return !is_simulated(each) || each.bytes > most; });
  if (points.empty()) {
    throw UsageError(line.path() +
                     ": no point can be simulated: expected lines or pages, in pages of 4K or 2M, "
                     "of a power of two of bytes up to --most " +
                     size_text(most));
  }
  return points;
}

void declare_times(CommandLine& line) {
  line.choice("times", {"least", "median"},
              "which time of a point counts: the least, or the median, which is what is usual on a "
              "machine that others share");
}

void choose_times(const CommandLine& line, MeasuredMachine& machine) {
  if (line.get<std::string>("times") != "median" || machine.use_medians()) return;
  throw UsageError("--times median: no point of " + printable(machine.name) +
                   " has quantiles, p25, p50 and p90");
}

void declare_surroundings(CommandLine& line) {
  line.choice("host-pages", {"2M", "4K"}, "pages of the host, under what was measured in a VM")
      .choice("guest-frames", {"side-by-side", "scattered"},
              "whether neighbouring pages of 4K are neighbours in memory");
}

Surroundings surroundings_of(const CommandLine& line, const MeasuredMachine& machine) {
  return {machine.is_virtual, *size_of(line.get<std::string>("host-pages")),
          line.get<std::string>("guest-frames") == "scattered"};
}

}  // namespace nestwalk::sim
