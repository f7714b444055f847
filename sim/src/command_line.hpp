// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What every command of the program shares: options, help and the errors of usage.
#pragma once

#include <boost/program_options.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace nestwalk::sim {

enum ExitCode { kDone = 0, kInternal = 1, kUsage = 2, kFailed = 3, kBadInput = 4 };

using Arguments = std::vector<std::string>;

/// A command line that makes no sense.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A row of a table of commands.
struct Command {
  std::string_view name;
  std::string_view sentence;
  int (*run)(const Arguments&);  ///< null: not built yet
};

/// Runs the command that the first argument names. `path` is how the user got here, such as
/// "nestwalk trace". Explains itself on --help.
int run_command(std::span<const Command> commands, const std::string& path,
                std::string_view sentence, const Arguments& arguments);

/// The options of one command.
class CommandLine {
 public:
  /// `synopsis` is the command with its operands; `text` says what it does.
  CommandLine(std::string synopsis, std::string text);

  /// An option: its name (or "name,n"), what kind of value it takes (null: none), a sentence.
  CommandLine& option(const char* name, const boost::program_options::value_semantic* value,
                      const char* sentence);
  CommandLine& flag(const char* name, const char* sentence);
  /// The operand at the next position, or all that are left.
  CommandLine& operand(const char* name, const boost::program_options::value_semantic* value,
                       int count);

  /// False when the user asked for help and got it. Throws UsageError.
  bool parse(const Arguments& arguments);

  bool has(const char* name) const { return values_.count(name) != 0; }
  template <class T>
  const T& get(const char* name) const {
    return values_[name].as<T>();
  }

 private:
  std::string synopsis_;
  std::string text_;
  boost::program_options::options_description options_;
  boost::program_options::options_description operands_;
  boost::program_options::positional_options_description positions_;
  boost::program_options::variables_map values_;
};

}  // namespace nestwalk::sim
