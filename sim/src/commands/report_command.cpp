// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk report`

#include "commands/commands.hpp"
#include "comparisons/page.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"

namespace nestwalk::sim {
namespace {

void declare(CommandLine& line) {
  line.about(
          "Makes a page of HTML of directories that nestwalk run and nestwalk compare wrote: the\n"
          "verdict, where the time went, who served the entries that walks read, latencies, "
          "phases,\n"
          "and all statistics. The page is whole in one file, and needs no network.")
      .option("output,o",
              po::value<std::string>()->default_value("report.html")->value_name("FILE"),
              "the page; - for standard output")
      .operand("directories", "DIR...", po::value<Words>()->required(), -1);
}

int run(const CommandLine& line) {
  const Words directories = line.all("directories");
  const auto& output = line.get<std::string>("output");
  Words read;
  for (const std::string& each : directories) {
    for (const char* const file : {"/config.resolved.json", "/stats.json", "/run.json"}) {
      read.push_back(each + file);
    }
  }
  expect_not_read(output, read);
  std::vector<PageCase> cases;
  std::vector<Case> runs;
  for (const std::string& each : directories) {
    cases.push_back(read_page_case(each));
    runs.push_back(cases.back().run);
  }
  const ExitCode code = report_trouble(runs);
  write_text(output, as_page(page_document(std::move(cases))));
  return code;
}

}  // namespace

constexpr Command kReportCommand = {"report", "makes a page to look at of runs", declare, run};

}  // namespace nestwalk::sim
