// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "check_command.hpp"

#include "check_log.hpp"
#include "check_trace.hpp"
#include "findings.hpp"
#include "output.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;

constexpr const char* kText =
    "Finds the fences that a hypervisor forgot, got wrong or wasted. A log has one line for each "
    "entry\n"
    "store, fence, entry, exit and free: models/checker/LOG.md. A trace is replayed under one or\n"
    "several fence policies: values of hypervisor.fences, or JSON files of rules (sim/README.md).\n"
    "With --storm the trace is generated: nestwalk trace gen storm --help lists its parameters.\n"
    "Exit code 3 when there are errors.";

}  // namespace

int run_check_command(const Arguments& arguments) {
  CommandLine line("nestwalk check [OPTIONS] LOG | TRACE | --storm [KEY=VALUE...]", kText);
  line.flag("json", "JSON instead of a table")
      .flag("strict", "fences that are excess or over-broad are errors, too")
      .flag("details", "all of each finding: the entry, what was issued, what is demanded")
      .operand("inputs", po::value<std::vector<std::string>>(), -1);
  add_trace_options(line);
  if (!line.parse(arguments)) return kDone;

  std::vector<std::string> inputs;
  if (line.has("inputs")) inputs = line.get<std::vector<std::string>>("inputs");
  if (!line.has("storm") && inputs.size() != 1) {
    throw UsageError("nestwalk check: one log or trace, or --storm");
  }
  if (line.has("storm") || is_trace(inputs[0])) return check_traces(line, inputs);
  const std::string& log = inputs[0];
  checker::LogReader reader;
  checker::Checker checker;
  check_log(log, reader, checker);
  const FindingsView view{line.has("json"), line.has("details")};
  TextOutput().write(findings_text(checker, log, view));
  return has_failed(checker, line.has("strict")) ? kFailed : kDone;
}

}  // namespace nestwalk::sim
