// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <sstream>

#include "nestwalk/traces/generator.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "trace_command.hpp"
#include "trace_input.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;
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
  return text + "\nNumbers may end in K, M, G or T: powers of 1024.\n";
}

}  // namespace

int run_trace_gen(const Arguments& arguments) {
  if (arguments.size() == 2 && arguments[1] == "--help") {
    TextOutput().write(help_of(traces::generator_of(arguments[0])));
    return kDone;
  }
  CommandLine line("nestwalk trace gen [OPTIONS] GENERATOR [KEY=VALUE...]",
                   kText + list_of_generators());
  line.option("output,o", po::value<std::string>()->default_value("-"), "the file to write")
      .option("level", po::value<int>()->default_value(3), "of zstd's compression")
      .operand("generator", po::value<std::string>()->required(), 1)
      .operand("parameters", po::value<std::vector<std::string>>(), -1);
  if (!line.parse(arguments)) return kDone;

  const Generator& generator = traces::generator_of(line.get<std::string>("generator"));
  traces::Values values(generator.parameters);
  if (line.has("parameters")) {
    for (const std::string& text : line.get<std::vector<std::string>>("parameters")) {
      values.set(text);
    }
  }
  const auto sink = create_trace(line.get<std::string>("output"));
  Progress progress;
  traces::generate(generator, values, *sink, {.level = line.get<int>("level")},
                   [&](addrspace::u64 done, addrspace::u64 total, addrspace::u64 records) {
                     progress.update(done, total, records);
                   });
  return kDone;
}

}  // namespace nestwalk::sim
