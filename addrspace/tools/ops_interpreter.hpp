// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Operation scripts for the engine: one operation a line, one line printed for each. README.md
// beside this file describes the operations.
#pragma once

#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ops_space.hpp"
#include "script_line.hpp"

namespace nestwalk::addrspace {

class OpsInterpreter {
 public:
  /// 4 GiB for tables and guest memory. What nobody touches takes none of the host's memory.
  static constexpr u64 kFrames = u64{1} << 20;

  /// Each space gets a machine with so many frames.
  explicit OpsInterpreter(u64 frames = kFrames) : frames_(frames) {}

  /// Carries out a line and says what it prints; blank lines and comments print nothing. Throws
  /// MalformedLine before anything has changed.
  std::optional<std::string> run(std::string_view line);

  /// The space that the last successful `space` made; null before.
  const OpsSpace* space() const { return space_.get(); }

 private:
  struct Operation;
  static const Operation kOperations[];

  static const Operation& operation_named(std::string_view name);

  std::string make_space(ScriptLine& line);
  std::string map_linear(ScriptLine& line);
  std::string map_alloc(ScriptLine& line);
  std::string unmap(ScriptLine& line);
  std::string protect(ScriptLine& line);
  std::string clear(ScriptLine& line);
  std::string fault(ScriptLine& line);
  std::string query(ScriptLine& line);

  std::string outcome(ScriptLine& line);
  std::string areas(ScriptLine& line);
  std::string runs(ScriptLine& line);
  std::string usage(ScriptLine& line);
  std::string config(ScriptLine& line);
  std::string fences(ScriptLine& line);
  std::string why(ScriptLine& line);

  /// The record of the last operation makes room for that of the next.
  OpsSpace& begin_change();
  std::string report(Result<void> done);

  u64 frames_;
  std::unique_ptr<OpsSpace> space_;
  std::optional<Error> last_error_;
};

/// Runs a script to its end, or to its first malformed line or a read that fails. Says whether it
/// got to the end; if not, `errors` has one line that begins with `name`, and `output` what the
/// operations before it printed.
bool run_script(std::istream& script, const std::string& name, std::ostream& output,
                std::ostream& errors);

}  // namespace nestwalk::addrspace
