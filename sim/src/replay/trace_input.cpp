// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/trace_input.hpp"

#include <unistd.h>

#include "program/output.hpp"
#include "program/overwrite.hpp"

namespace nestwalk::sim {

void TraceInput::declare(CommandLine& line) {
  line.flag("salvage", "pass over damage, and say what is lost")
      .option("vcpu", po::value<addrspace::u32>()->value_name("N"), "only this vCPU")
      .operand("file", "[FILE]", po::value<std::string>());
}

TraceInput::TraceInput(const CommandLine& line) {
  if (line.has("file")) path_ = line.get<std::string>("file");
  if (line.has("vcpu")) vcpu_ = line.get<addrspace::u32>("vcpu");
  salvage_ = line.has("salvage");
}

void TraceInput::check(const traces::Header& header) const {
  if (!vcpu_ || *vcpu_ < header.vcpus) return;
  throw UsageError("--vcpu " + std::to_string(*vcpu_) + ": " + path_ + " has only vCPUs 0 to " +
                   std::to_string(header.vcpus - 1));
}

traces::OnLoss on_loss_when(bool salvage) {
  if (!salvage) return {};
  return [](const std::string& message) { warn("lost: " + message); };
}

void declare_trace_output(CommandLine& line) {
  line.option("output,o", po::value<std::string>()->default_value("-")->value_name("FILE"),
              "the file to write");
}

std::unique_ptr<traces::ByteSink> create_trace(const std::string& path,
                                               std::span<const std::string> inputs) {
  expect_not_read(path, inputs);
  if (path == "-" && isatty(STDOUT_FILENO) != 0) {
    throw UsageError("a trace is not for a terminal: name a file with -o, or redirect the output");
  }
  return traces::create_sink(path);
}

}  // namespace nestwalk::sim
