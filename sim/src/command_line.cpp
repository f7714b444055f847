// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "command_line.hpp"

#include <algorithm>
#include <sstream>

#include "output.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;

std::string list_of(std::span<const Command> commands) {
  std::string text;
  for (const Command& command : commands) {
    std::string line = "  " + std::string(command.name);
    line.resize(std::max<std::size_t>(line.size() + 1, 12), ' ');
    text += line + std::string(command.sentence);
    text += command.run == nullptr ? " (not supported yet)\n" : "\n";
  }
  return text;
}

std::string help_of(std::span<const Command> commands, const std::string& path,
                    std::string_view sentence) {
  return "usage: " + path + " COMMAND [ARGUMENTS]\n" + std::string(sentence) + "\n\n" +
         list_of(commands) + "\n" + path + " COMMAND --help says more about one of them.\n";
}

bool is_help(const std::string& argument) { return argument == "--help" || argument == "-h"; }

}  // namespace

int run_command(std::span<const Command> commands, const std::string& path,
                std::string_view sentence, const Arguments& arguments) {
  const std::string hint = " (" + path + " --help lists the commands)";
  if (arguments.empty()) throw UsageError(path + ": which command?" + hint);
  if (is_help(arguments[0])) {
    TextOutput().write(help_of(commands, path, sentence));
    return kDone;
  }
  const auto command = std::find_if(commands.begin(), commands.end(),
                                    [&](const Command& row) { return row.name == arguments[0]; });
  if (command == commands.end()) {
    throw UsageError(path + ": '" + arguments[0] + "' is not a command" + hint);
  }
  if (command->run == nullptr) {
    throw UsageError(path + " " + arguments[0] + ": not supported yet");
  }
  return command->run({arguments.begin() + 1, arguments.end()});
}

CommandLine::CommandLine(std::string synopsis, std::string text)
    : synopsis_(std::move(synopsis)), text_(std::move(text)), options_("Options", 100, 60) {
  flag("help,h", "this text");
}

CommandLine& CommandLine::option(const char* name, const po::value_semantic* value,
                                 const char* sentence) {
  options_.add_options()(name, value, sentence);
  return *this;
}

CommandLine& CommandLine::flag(const char* name, const char* sentence) {
  options_.add_options()(name, sentence);
  return *this;
}

CommandLine& CommandLine::operand(const char* name, const po::value_semantic* value, int count) {
  operands_.add_options()(name, value);
  positions_.add(name, count);
  return *this;
}

bool CommandLine::parse(const Arguments& arguments) {
  const std::string command = synopsis_.substr(0, synopsis_.find(" ["));
  try {
    po::options_description all;
    all.add(options_).add(operands_);
    const int style =
        po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(
        po::command_line_parser(arguments).options(all).positional(positions_).style(style).run(),
        values_);
    if (has("help")) {
      std::ostringstream help;
      help << "usage: " << synopsis_ << "\n" << text_ << "\n\n" << options_;
      TextOutput().write(help.str());
      return false;
    }
    po::notify(values_);
    // Boost reads -1 into an unsigned number as a very large one, and no option here is signed.
    const auto negative = std::find_if(arguments.begin(), arguments.end(), [](const auto& text) {
      const std::string_view value = std::string_view(text).substr(text.find('=') + 1);
      return value.size() > 1 && value[0] == '-' && value[1] >= '0' && value[1] <= '9';
    });
    if (negative != arguments.end()) {
      throw UsageError(command + ": '" + *negative + "' is negative");
    }
  } catch (const po::error& error) {
    throw UsageError(command + ": " + error.what() + " (" + command + " --help says more)");
  }
  return true;
}

}  // namespace nestwalk::sim
