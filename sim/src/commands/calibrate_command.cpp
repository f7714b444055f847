// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"
#include "commands/probe_options.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

constexpr const char* kText =
    "Measures the machine that it runs on, native or in a VM, as any user can: dependent loads over\n"
    "footprints in pages of 4K, 2M and 1G, how many lists overlap, streams.";

void declare(CommandLine& line) {
  line.about(kText);
  declare_probes(line);
  line.option("output,o", po::value<std::string>()->value_name("FILE"), "the file to write")
      .flag("only-measure", "write what was measured, and fit nothing");
}

int run(const CommandLine& line) {
  const std::string text = json_document(as_json(measured_now(line)));
  if (line.has("output")) {
    write_text(line.get<std::string>("output"), text);
  } else {
    TextOutput().write(text);
  }
  return kDone;
}

}  // namespace

constexpr Command kCalibrateCommand = {"calibrate", "fits a preset to this machine", declare, run};

}  // namespace nestwalk::sim
