// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <filesystem>

#include "commands/commands.hpp"
#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/traces/importer.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/trace_input.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;
using traces::ImportFormat;
using traces::ImportOption;

constexpr const char* kText =
    "Converts what other tools record to a trace. Inputs may be compressed with gzip, xz or zstd,\n"
    "or be zip archives; without one, or for -, standard input is read. What a format does not "
    "say\n"
    "is listed in the header as lacking (nestwalk trace info).";

std::string list_of_formats() {
  std::string text = "\n\nFormats, and what --set changes:\n";
  for (const ImportFormat* format : traces::import_formats()) {
    std::string line = "  " + std::string(format->name);
    line.resize(14, ' ');
    text += line + std::string(format->sentence) + "\n";
    for (const ImportOption& option : format->options) {
      text += std::string(16, ' ') + std::string(option.name) + "=" + std::string(option.value) +
              ": " + std::string(option.sentence) + "\n";
    }
  }
  return text;
}

traces::Architecture architecture_of(const std::string& name) {
  std::string known;
  for (const models::Extension* each : models::extensions()) {
    const traces::Architecture value = each->isa->architecture;
    if (&models::extension_of(value) != each) continue;
    if (name == to_string(value)) return value;
    known.append(known.empty() ? "" : ", ").append(to_string(value));
  }
  throw UsageError("nestwalk trace import: '" + name + "' is not an architecture (" + known + ")");
}

bool can_be_read_twice(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

traces::ImportRequest request_of(const CommandLine& line) {
  traces::ImportRequest request;
  if (line.has("from")) {
    request.format = &traces::import_format_of(line.get<std::string>("from"));
  }
  request.inputs = line.has("inputs") ? line.get<Words>("inputs") : Words{"-"};
  request.options = line.all("set");
  if (line.has("vcpus")) request.vcpus = line.get<addrspace::u32>("vcpus");
  if (line.has("architecture")) {
    request.architecture = architecture_of(line.get<std::string>("architecture"));
  }
  request.twice = std::all_of(request.inputs.begin(), request.inputs.end(), can_be_read_twice);
  request.lenient = line.has("lenient");
  request.writer.level = line.get<int>("level");
  request.command = line.command();
  request.producer = "nestwalk " NESTWALK_VERSION;
  request.report = warn;
  return request;
}

void declare(CommandLine& line) {
  declare_trace_output(line);
  Words formats;
  for (const ImportFormat* format : traces::import_formats()) formats.emplace_back(format->name);
  line.about(kText + list_of_formats())
      .option("from,f", po::value<std::string>()->value_name("FORMAT"),
              "the inputs' format; without it, the first input tells where its format allows")
      .option("set,s", po::value<Words>()->composing()->value_name("KEY=VALUE"),
              "an option of the format")
      .option("vcpus", po::value<addrspace::u32>()->value_name("N"),
              "how many vCPUs there are; without it, inputs with several are read twice")
      .option("architecture", po::value<std::string>()->value_name("NAME"),
              "x86_64, aarch64 or riscv64, where the format does not say")
      .flag("lenient", "leave out lines and records that make no sense, and count them")
      .option("level", po::value<int>()->default_value(3), "of zstd's compression")
      .operand("inputs", "[INPUT...]", po::value<Words>(), -1)
      .words("from", formats);
}

int run(const CommandLine& line) {
  traces::ImportRequest request = request_of(line);
  Progress progress;
  request.progress = [&](u64 done, u64 total, u64 records) {
    progress.update(done, total, records);
  };
  const auto sink = create_trace(line.get<std::string>("output"), request.inputs);
  traces::import_trace(request, *sink);
  return kDone;
}

}  // namespace

constexpr Command kTraceImport = {"import", "converts what other tools record", declare, run};

}  // namespace nestwalk::sim
