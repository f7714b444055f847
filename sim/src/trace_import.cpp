// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/recording.hpp"
#include "output.hpp"
#include "trace_command.hpp"
#include "trace_input.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;

constexpr const char* kText =
    "Converts what other tools record. Formats:\n"
    "  recording   a folder that scripts/record made; its stream may be a FIFO";

}  // namespace

int run_trace_import(const Arguments& arguments) {
  CommandLine line("nestwalk trace import --from FORMAT [OPTIONS] INPUT", kText);
  line.option("from", po::value<std::string>()->required(), "the format")
      .option("output,o", po::value<std::string>()->default_value("-"), "the file to write")
      .operand("input", po::value<std::string>()->required(), 1);
  if (!line.parse(arguments)) return kDone;
  if (line.get<std::string>("from") != "recording") {
    throw UsageError("nestwalk trace import: --from " + line.get<std::string>("from") +
                     ": no such format; see --help");
  }
  const auto sink = create_trace(line.get<std::string>("output"));
  traces::import_recording(line.get<std::string>("input"), *sink, warn);
  return kDone;
}

}  // namespace nestwalk::sim
