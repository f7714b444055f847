// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How commands end: the exit codes, and which error has which.
#pragma once

#include <span>
#include <stdexcept>
#include <string>

namespace nestwalk::sim {

enum ExitCode { kDone = 0, kInternal = 1, kUsage = 2, kFailed = 3, kBadInput = 4, kIncomplete = 5 };

struct ExitCodeRow {
  ExitCode code;
  const char* meaning;
};
std::span<const ExitCodeRow> exit_codes();
/// A line for each code: "  0  done".
std::string exit_code_help();
/// Of two, the one that says more against the result.
ExitCode worse_of(ExitCode one, ExitCode other);

/// A command line that makes no sense.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A result that cannot be, since a run that it needs failed or is incomplete.
class NoResult : public std::runtime_error {
 public:
  NoResult(ExitCode code, const std::string& why) : std::runtime_error(why), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// What an exception means to a user.
struct Failure {
  ExitCode code;
  std::string message;
  bool begins_with_command = false;
};
/// In a catch block: of the exception that was caught.
Failure current_failure();

/// What to do when there is no memory. A literal: there is none to make it of.
extern const char kOutOfMemory[];

}  // namespace nestwalk::sim
