// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The trace that a command reads, and how.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "nestwalk/traces/reader.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

/// Warns of each loss, or is empty: damage is an error then.
traces::OnLoss on_loss_when(bool salvage);

class TraceInput {
 public:
  /// Adds the operand FILE and the options --salvage and --vcpu.
  static void declare(CommandLine& line);
  explicit TraceInput(const CommandLine& line);

  std::unique_ptr<traces::ByteSource> open() const { return traces::open_source(path_); }
  const std::string& path() const { return path_; }
  traces::OnLoss on_loss() const { return on_loss_when(salvage_); }
  bool wants(addrspace::u32 vcpu) const { return !vcpu_ || *vcpu_ == vcpu; }
  /// Throws UsageError when the trace does not have the vCPU that is wanted.
  void check(const traces::Header& header) const;

 private:
  std::string path_ = "-";
  bool salvage_ = false;
  std::optional<addrspace::u32> vcpu_;
};

/// Adds the option --output.
void declare_trace_output(CommandLine& line);
/// Creates the trace that a command writes; "-" is standard output, unless that is a terminal.
/// None of the inputs may be overwritten.
std::unique_ptr<traces::ByteSink> create_trace(const std::string& path,
                                               std::span<const std::string> inputs = {});

}  // namespace nestwalk::sim
