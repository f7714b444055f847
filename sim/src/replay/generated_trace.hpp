// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A trace that a command makes for its own runs.
#pragma once

#include <functional>

#include "nestwalk/traces/io.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

class GeneratedTrace {
 public:
  /// A generator of `nestwalk trace gen` and its parameters, "key=value".
  GeneratedTrace(const std::string& generator, const Words& parameters);
  /// Whatever is written.
  explicit GeneratedTrace(const std::function<void(traces::ByteSink&)>& write);
  ~GeneratedTrace();
  GeneratedTrace(const GeneratedTrace&) = delete;
  GeneratedTrace& operator=(const GeneratedTrace&) = delete;
  /// This process and its children can open it.
  const std::string& path() const { return path_; }

 private:
  int file_ = -1;  ///< without a name, so that nothing is left behind, whatever happens
  std::string path_;
};

}  // namespace nestwalk::sim
