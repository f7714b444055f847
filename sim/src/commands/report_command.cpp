// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk report`

#include <filesystem>

#include "commands/commands.hpp"
#include "comparisons/page.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

void declare(CommandLine& line) {
  line.about(
          "Makes a page of HTML of directories that nestwalk run and nestwalk compare wrote: the\n"
          "verdict, where the time went, who served the entries that walks read, latencies, "
          "phases,\n"
          "and all statistics. The page is whole in one file, and needs no network. It also shows\n"
          "the JSON files that are named: single walks step by step (nestwalk explain --json),\n"
          "measured and simulated curves (validate --json), findings (check --json) and spreads\n"
          "(compare --sure --format json).")
      .option("output,o",
              po::value<std::string>()->default_value("report.html")->value_name("FILE"),
              "the page; - for standard output")
      .operand("inputs", "DIR | FILE...", po::value<Words>()->required(), -1);
}

int run(const CommandLine& line) {
  const Words operands = line.all("inputs");
  const auto& output = line.get<std::string>("output");
  const auto is_file = [](const std::string& name) {
    std::error_code none;
    return fs::exists(name, none) && !fs::is_directory(name, none);
  };
  Words read;
  for (const std::string& each : operands) {
    if (is_file(each)) read.push_back(each);
    for (const char* const file : {"/config.resolved.json", "/stats.json", "/run.json"}) {
      read.push_back(each + file);
    }
  }
  expect_not_read(output, read);
  std::vector<PageCase> cases;
  std::vector<Case> runs;
  PageInputs inputs;
  for (const std::string& each : operands) {
    if (is_file(each)) {
      add_page_input(inputs, each);
      continue;
    }
    cases.push_back(read_page_case(each));
    runs.push_back(cases.back().run);
  }
  const ExitCode code = report_trouble(runs);
  write_text(output, as_page(page_document(std::move(cases), inputs)));
  return code;
}

}  // namespace

constexpr Command kReportCommand = {"report", "makes a page to look at of runs", declare, run};

}  // namespace nestwalk::sim
