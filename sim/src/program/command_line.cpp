// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/command_line.hpp"

#include <algorithm>
#include <sstream>

#include "nestwalk/models/base/nearest.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

std::string list_of(std::span<const Command* const> commands) {
  std::string text;
  for (const Command* command : commands) {
    std::string line = "  " + std::string(command->name);
    line.resize(std::max<std::size_t>(line.size() + 1, 12), ' ');
    text += line + std::string(command->sentence);
    const bool there = command->run != nullptr || !command->commands.empty();
    text += there ? "\n" : " (not supported yet)\n";
  }
  return text;
}

std::string help_of(const Command& list, const std::string& path) {
  std::string text = "usage: " + path + " COMMAND [ARGUMENTS]\n" + std::string(list.sentence) +
                     "\n\n" + list_of(list.commands) + "\n" + path +
                     " COMMAND --help says more about one of them.\n";
  if (list.epilogue != nullptr) text.append("\n").append(list.epilogue());
  return text;
}

bool is_help(const std::string& argument) { return argument == "--help" || argument == "-h"; }

std::string suggestion(std::span<const Command* const> commands, const std::string& word) {
  Words known;
  for (const Command* const each : commands) known.emplace_back(each->name);
  const std::string similar = models::nearest(word, known);
  return similar.empty() ? "" : "; did you mean '" + similar + "'?";
}

int run_listed(const Command& list, const std::string& path, const Arguments& arguments) {
  const std::string hint = " (" + path + " --help lists the commands)";
  if (arguments.empty()) throw UsageError(path + ": which command?" + hint);
  if (is_help(arguments[0])) {
    TextOutput().write(help_of(list, path));
    return kDone;
  }
  const auto named = std::find_if(list.commands.begin(), list.commands.end(),
                                  [&](const Command* row) { return row->name == arguments[0]; });
  if (named == list.commands.end()) {
    throw UsageError(path + ": '" + arguments[0] + "' is not a command" +
                     suggestion(list.commands, arguments[0]) + hint);
  }
  return run_command(**named, path + " " + arguments[0], {arguments.begin() + 1, arguments.end()});
}

// Boost reads -1 into an unsigned number as a very large one, and no option here is signed.
bool is_negative(const std::string& text) {
  const std::string_view value = std::string_view(text).substr(text.find('=') + 1);
  return value.size() > 1 && value[0] == '-' && value[1] >= '0' && value[1] <= '9';
}

}  // namespace

int run_command(const Command& command, const std::string& path, const Arguments& arguments) {
  if (!command.commands.empty()) return run_listed(command, path, arguments);
  if (command.run == nullptr) throw UsageError(path + ": not supported yet");
  CommandLine line(path);
  command.declare(line);
  line.parse(arguments);
  if (!line.has("help")) return command.run(line);
  TextOutput().write(command.help != nullptr ? command.help(line) : line.help());
  return kDone;
}

void for_each_command(
    const Command& command, const std::string& path,
    const std::function<void(const Command&, const std::string& path, const CommandLine*)>& tell) {
  if (command.commands.empty() && command.run == nullptr) return;
  if (command.commands.empty()) {
    CommandLine line(path);
    command.declare(line);
    tell(command, path, &line);
    return;
  }
  tell(command, path, nullptr);
  for (const Command* const each : command.commands) {
    for_each_command(*each, path + " " + std::string(each->name), tell);
  }
}

CommandLine::CommandLine(std::string path) : path_(std::move(path)), options_("Options", 100, 60) {
  flag("help,h", "this text");
}

CommandLine& CommandLine::about(std::string text) {
  text_ = std::move(text);
  while (text_.ends_with('\n')) text_.pop_back();  // help has its own
  return *this;
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

CommandLine& CommandLine::choice(const char* name, Words words, const char* sentence) {
  option(name, po::value<std::string>()->default_value(words[0])->value_name("WORD"), sentence);
  choices_.push_back(name);
  return this->words(name, std::move(words));
}

CommandLine& CommandLine::operand(const char* name, const char* label,
                                  const po::value_semantic* value, int count) {
  hidden_.add_options()(name, value);
  positions_.add(name, count);
  operands_.push_back({name, label});
  return *this;
}

CommandLine& CommandLine::words(const char* name, Words words) {
  words_[name] = std::move(words);
  return *this;
}

CommandLine& CommandLine::ignores(const char* where, std::initializer_list<const char*> options) {
  ignored_.emplace_back(where, options);
  return *this;
}

const Words& CommandLine::words_of(const std::string& name) const {
  static const Words kNone;
  const auto found = words_.find(name);
  return found == words_.end() ? kNone : found->second;
}

std::string CommandLine::command() const {
  std::string text = path_;
  for (const std::string& argument : arguments_) text += " " + argument;
  return text;
}

std::string CommandLine::synopsis() const {
  std::string text = path_ + " [OPTIONS]";
  for (const Operand& operand : operands_) text.append(" ").append(operand.label);
  return text;
}

std::string CommandLine::help() const {
  std::ostringstream help;
  help << "usage: " << synopsis() << "\n" << text_ << "\n\n" << options_;
  return help.str();
}

void CommandLine::parse(const Arguments& arguments) {
  arguments_ = arguments;
  try {
    po::options_description all;
    all.add(options_).add(hidden_);
    const int style =
        po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(
        po::command_line_parser(arguments).options(all).positional(positions_).style(style).run(),
        values_);
    if (has("help")) return;
    po::notify(values_);
  } catch (const po::error& error) {
    throw UsageError(path_ + ": " + error.what() + " (" + path_ + " --help says more)");
  }
  const auto negative = std::find_if(arguments.begin(), arguments.end(), is_negative);
  if (negative != arguments.end()) throw UsageError(path_ + ": '" + *negative + "' is negative");
  check_choices();
  for (const auto& [where, options] : ignored_) {
    if (holds(where)) found(where);
  }
}

// "with --NAME", "with --NAME WORD", "without --NAME"
bool CommandLine::holds(const std::string& where) const {
  std::istringstream words(where);
  std::string with, name, value;
  words >> with >> name >> value;
  if (name.rfind("--", 0) != 0) return false;
  const std::string option = name.substr(2);
  if (with == "without") return !given(option.c_str());
  return given(option.c_str()) && (value.empty() || get<std::string>(option.c_str()) == value);
}

void CommandLine::found(std::string_view where) const {
  for (const auto& [condition, options] : ignored_) {
    if (condition != where) continue;
    const auto useless =
        std::find_if(options.begin(), options.end(), [&](const char* name) { return given(name); });
    if (useless == options.end()) continue;
    throw UsageError(path_ + ": --" + *useless + " has no effect " + condition);
  }
}

void CommandLine::check_choices() const {
  for (const char* const name : choices_) {
    const Words& words = words_of(name);
    const auto& word = get<std::string>(name);
    if (std::find(words.begin(), words.end(), word) != words.end()) continue;
    std::string known;
    for (const std::string& each : words) known.append(known.empty() ? "" : ", ").append(each);
    throw UsageError("--" + std::string(name) + " " + word + ": not one of " + known);
  }
}

Words once(const Words& words, const std::string& what) {
  Words different;
  for (const std::string& word : words) {
    if (std::find(different.begin(), different.end(), word) == different.end()) {
      different.push_back(word);
    } else {
      warn(what + " " + printable(word) + " is given twice: it counts once");
    }
  }
  return different;
}

}  // namespace nestwalk::sim
