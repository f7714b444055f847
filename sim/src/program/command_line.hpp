// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Commands, what they take, and the errors of usage. A command declares its options and operands
// without running: help, completion and the manual are made of the same declaration.
#pragma once

#include <boost/program_options.hpp>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "program/exit_code.hpp"

namespace nestwalk::sim {

namespace po = boost::program_options;

using Arguments = std::vector<std::string>;
using Words = std::vector<std::string>;

class CommandLine;

/// What a user can ask for: a list of other commands, or something that is done.
struct Command {
  std::string_view name;
  std::string_view sentence;
  void (*declare)(CommandLine&) = nullptr;
  int (*run)(const CommandLine&) = nullptr;       ///< null, without a list: not built yet
  std::span<const Command* const> commands = {};  ///< of which the first argument names one
  /// More than the usual help, where operands ask for it.
  std::string (*help)(const CommandLine&) = nullptr;
  std::string (*epilogue)() = nullptr;  ///< the last part of a list's help
};

/// Runs a command, or what its arguments name. `path` is how the user got here, such as
/// "nestwalk trace". Explains itself on --help.
int run_command(const Command& command, const std::string& path, const Arguments& arguments);

/// Tells of a command and all those below it, and what they take (null for a list). Those that are
/// not built are left out.
void for_each_command(
    const Command& command, const std::string& path,
    const std::function<void(const Command&, const std::string& path, const CommandLine*)>& tell);

/// What one command takes; and, after `parse`, what it was given.
class CommandLine {
 public:
  struct Operand {
    const char* name;
    const char* label;  ///< "[FILE]", "FILE..."
  };
  using Options = std::vector<boost::shared_ptr<po::option_description>>;

  /// `path` is the command.
  explicit CommandLine(std::string path);
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// What it does.
  CommandLine& about(std::string text);
  /// An option: its name (or "name,n"), what kind of value it takes (null: none), a sentence.
  CommandLine& option(const char* name, const po::value_semantic* value, const char* sentence);
  CommandLine& flag(const char* name, const char* sentence);
  /// One of these words; the first one is what it is without the option.
  CommandLine& choice(const char* name, Words words, const char* sentence);
  /// The operand at the next position, or (-1) all that are left.
  CommandLine& operand(const char* name, const char* label, const po::value_semantic* value,
                       int count = 1);
  /// What an option or an operand often is, for completion. Without: a file.
  CommandLine& words(const char* name, Words words);

  /// These have no effect `where`: "with --json", "with --format csv", "without --output", or "on"
  /// a kind of input, which the command has to find out.
  CommandLine& ignores(const char* where, std::initializer_list<const char*> options);
  /// The input is of this kind: throws UsageError where an option is given that has no effect then.
  void found(std::string_view where) const;

  /// Throws UsageError; nothing is required when help is asked for.
  void parse(const Arguments& arguments);

  const std::string& path() const { return path_; }
  /// The whole command as it was given.
  std::string command() const;
  std::string synopsis() const;
  const std::string& text() const { return text_; }
  std::string help() const;
  const Options& options() const { return options_.options(); }
  const std::vector<Operand>& operands() const { return operands_; }
  const Words& words_of(const std::string& name) const;

  bool has(const char* name) const { return values_.count(name) != 0; }
  /// Did the user say it?
  bool given(const char* name) const { return has(name) && !values_[name].defaulted(); }
  template <class T>
  const T& get(const char* name) const {
    return values_[name].as<T>();
  }
  /// Of an option that may be repeated: none if it is not there.
  Words all(const char* name) const { return has(name) ? get<Words>(name) : Words(); }

 private:
  void check_choices() const;
  bool holds(const std::string& where) const;

  std::string path_;
  std::string text_;
  Arguments arguments_;
  po::options_description options_;
  po::options_description hidden_;
  po::positional_options_description positions_;
  std::vector<Operand> operands_;
  std::map<std::string, Words> words_;
  std::vector<const char*> choices_;
  std::vector<std::pair<std::string, std::vector<const char*>>> ignored_;
  po::variables_map values_;
};

/// Each of them once; a warning says which were there again. `what` they are: "policy".
Words once(const Words& words, const std::string& what);

}  // namespace nestwalk::sim
