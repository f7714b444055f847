// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A trace that a command makes for its own runs.
#pragma once

#include <functional>

#include "nestwalk/traces/spool.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

class GeneratedTrace {
 public:
  /// A generator of `nestwalk trace gen` and its parameters, "key=value".
  GeneratedTrace(const std::string& generator, const Words& parameters);
  /// Whatever is written.
  explicit GeneratedTrace(const std::function<void(traces::ByteSink&)>& write);
  /// This process and its children can open it.
  const std::string& path() const { return file_.path(); }

 private:
  traces::UnnamedFile file_;
};

}  // namespace nestwalk::sim
