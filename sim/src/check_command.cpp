// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk check`

#include "check_log.hpp"
#include "commands.hpp"
#include "findings.hpp"
#include "output.hpp"

namespace nestwalk::sim {
namespace {

void declare(CommandLine& line) {
  line.about(
          "Finds the fences that a hypervisor forgot, got wrong or wasted. A log has one line for "
          "each entry\nstore, fence, entry, exit and free: models/checker/LOG.md. Exit code 3 when "
          "there are errors.")
      .flag("json", "JSON instead of a table")
      .flag("strict", "fences that are excess or over-broad are errors, too")
      .flag("details", "all of each finding: the entry, what was issued, what is demanded")
      .operand("log", "LOG", po::value<std::string>()->required());
}

int run(const CommandLine& line) {
  const auto& log = line.get<std::string>("log");
  checker::LogReader reader;
  checker::Checker checker;
  check_log(log, reader, checker);
  const FindingsView view{line.has("json"), line.has("details")};
  TextOutput().write(findings_text(checker, log, view));
  return has_failed(checker, line.has("strict")) ? kFailed : kDone;
}

}  // namespace

constexpr Command kCheckCommand = {"check", "finds fences that are missing, wrong or wasted",
                                   declare, run};

}  // namespace nestwalk::sim
