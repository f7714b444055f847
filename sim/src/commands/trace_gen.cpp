// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <sstream>

#include "commands/commands.hpp"
#include "nestwalk/traces/generator.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/trace_input.hpp"

namespace nestwalk::sim {
namespace {

using traces::Generator;
using traces::Parameter;

constexpr const char* kText =
    "Makes a synthetic trace. The same parameters give the same bytes on every machine.\n"
    "nestwalk trace gen GENERATOR --help lists the parameters of one.";

std::string padded(std::string_view text, std::size_t width) {
  std::string result(text);
  result.resize(std::max(width, result.size() + 1), ' ');
  return result;
}

std::string list_of_generators() {
  std::string text = "\n\nGenerators:\n";
  for (const Generator& generator : traces::generators()) {
    text += "  " + padded(generator.name, 14) + std::string(generator.sentence) + "\n";
  }
  return text;
}

std::string help_of(const Generator& generator) {
  std::string text = "usage: nestwalk trace gen " + std::string(generator.name) +
                     " [KEY=VALUE...] [-o FILE]\nGenerates " + std::string(generator.sentence) +
                     ".\n\n";
  for (const Parameter& row : generator.parameters) {
    text += "  " + padded(std::string(row.name) + "=" + std::to_string(row.value), 24) +
            std::string(row.sentence) + " (" + std::to_string(row.least) + " to " +
            std::to_string(row.most) + ")\n";
  }
  return text + "\nNumbers may end in K, M, G or T, powers of 1024, or be as 1e6.\n";
}

std::string help(const CommandLine& line) {
  if (!line.has("generator")) return line.help();
  return help_of(traces::generator_of(line.get<std::string>("generator")));
}

void declare(CommandLine& line) {
  declare_trace_output(line);
  Words names;
  for (const Generator& generator : traces::generators()) names.emplace_back(generator.name);
  line.about(kText + list_of_generators())
      .option("level", po::value<int>()->default_value(3), "of zstd's compression")
      .operand("generator", "GENERATOR", po::value<std::string>()->required())
      .words("generator", names)
      .operand("parameters", "[KEY=VALUE...]", po::value<Words>(), -1);
}

int run(const CommandLine& line) {
  const Generator& generator = traces::generator_of(line.get<std::string>("generator"));
  traces::Values values(generator.parameters);
  for (const std::string& text : line.all("parameters")) values.set(text);
  const auto sink = create_trace(line.get<std::string>("output"));
  Progress progress;
  traces::generate(generator, values, *sink, {.level = line.get<int>("level")},
                   [&](addrspace::u64 done, addrspace::u64 total, addrspace::u64 records) {
                     progress.update(done, total, records);
                   });
  return kDone;
}

}  // namespace

constexpr Command kTraceGen = {.name = "gen",
                               .sentence = "makes a synthetic trace",
                               .declare = declare,
                               .run = run,
                               .help = help};

}  // namespace nestwalk::sim
