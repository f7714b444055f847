// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk check`

#include "commands/check_log.hpp"
#include "commands/check_trace.hpp"
#include "commands/commands.hpp"
#include "configuration/configuration_options.hpp"
#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/traces/container.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/output.hpp"
#include "results/fence_prices.hpp"
#include "results/findings.hpp"

namespace nestwalk::sim {
namespace {

void declare(CommandLine& line) {
  line.about(
          "Finds the fences that a hypervisor forgot, got wrong or wasted. A log has one line for "
          "each entry\nstore, fence, entry, exit and free: models/checker/LOG.md. A trace is "
          "replayed under one or\nseveral fence policies: values of hypervisor.fences, or JSON "
          "files of rules (sim/README.md).\nWith --storm the trace is generated: nestwalk trace "
          "gen storm --help lists its parameters.\nWith --preset, what the fences of a log\nwould "
          "cost on that machine. Exit code 3 when there are errors.")
      .choice("format", {"table", "json", "sarif"},
              "table, json, or, of logs, sarif: SARIF 2.1.0 for code scanning")
      .flag("json", "the same as --format json")
      .flag("strict", "fences that are excess or over-broad are errors, too")
      .flag("details", "all of each finding: the entry, what was issued, what is demanded")
      .operand("inputs", "LOG | TRACE | KEY=VALUE...", po::value<Words>(), -1);
  add_trace_options(line);
}

FindingsView view_of(const CommandLine& line) {
  using Format = FindingsView::Format;
  const std::string format = line.get<std::string>("format");
  if (line.has("json") || format == "json") return {Format::Json};
  if (format == "sarif") return {Format::Sarif};
  return {line.has("details") ? Format::Details : Format::Table};
}

int run(const CommandLine& line) {
  const Words inputs = line.all("inputs");
  if (!line.has("storm") && inputs.size() != 1) {
    throw UsageError("nestwalk check: one log or trace, or --storm");
  }
  if (line.has("storm")) return check_traces(line, inputs);
  const std::string& log = inputs[0];
  std::unique_ptr<traces::ByteSource> source = traces::open_source(log);
  if (traces::begins_trace(traces::peek(source))) {
    if (source->seekable_size() != 0) {
      source->seek(0);  // of standard input, too
    } else {
      traces::spool(log, std::move(source));
    }
    (void)traces::Reader(traces::open_seekable(log));  // before there are children
    return check_traces(line, inputs);
  }
  line.found("on logs");
  if (!line.has("preset")) line.found("on logs without --preset");
  checker::LogReader reader(models::extensions());
  checker::Checker checker;
  // What is wrong with the options shows before the log is read.
  std::vector<models::MachineShape> machines;
  if (line.has("preset")) {
    for (const std::string& preset : line.get<Words>("preset")) {
      machines.push_back(configuration_of(line, preset).machine().shape);
    }
  }
  checker::FenceUses uses;
  if (!machines.empty()) checker.count_in(uses);
  check_log(*source, reader, checker);
  Json prices = Json::array();
  for (const auto& machine : machines) prices.push_back(prices_of(checker, uses, machine));
  TextOutput().write(findings_text(checker, log, view_of(line), prices));
  return has_failed(checker, line.has("strict")) ? kFailed : kDone;
}

}  // namespace

constexpr Command kCheckCommand = {"check", "finds fences that are missing, wrong or wasted",
                                   declare, run};

}  // namespace nestwalk::sim
