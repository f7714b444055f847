// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// nestwalk completion: for shells, from what the commands declare.

#include "commands/commands.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

/// An option as a shell sees it.
struct Option {
  std::string name;  ///< without dashes
  char letter = 0;   ///< of its short form; 0: none
  bool value = false;
  Words words;  ///< that the value may be; none: a file
  std::string sentence;
};

std::vector<Option> options_of(const CommandLine& line) {
  std::vector<Option> options;
  for (const auto& each : line.options()) {
    const std::string letter =
        each->canonical_display_name(po::command_line_style::allow_dash_for_short);
    Option option;
    option.name = each->long_name();
    if (letter.size() == 2 && letter[0] == '-') option.letter = letter[1];
    option.value = each->semantic()->max_tokens() != 0;
    option.words = line.words_of(option.name);
    option.sentence = each->description();
    options.push_back(std::move(option));
  }
  return options;
}

std::string concat(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : " ").append(word);
  return text;
}

// The words of operands; none: files.
Words operand_words(const CommandLine& line) {
  Words words;
  for (const CommandLine::Operand& operand : line.operands()) {
    for (const std::string& word : line.words_of(operand.name)) words.push_back(word);
  }
  return words;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

// In single quotes.
std::string quoted(const std::string& text, const char* quote_inside) {
  return concat({"'", replaced(text, "'", quote_inside), "'"});
}

// For a case statement: every path but the program's.
std::string all_paths() {
  std::string paths;
  for_each_command(kNestwalk, std::string(kNestwalk.name),
                   [&](const Command& command, const std::string& path, const CommandLine*) {
                     if (&command == &kNestwalk) return;
                     paths.append(paths.empty() ? "" : " | ").append("'").append(path) += '\'';
                   });
  return paths;
}

// ---- bash ----

// $words is what fits at $path; where it is empty, bash takes files.
std::string for_bash() {
  std::string values;
  std::string commands;
  for_each_command(
      kNestwalk, std::string(kNestwalk.name),
      [&](const Command& command, const std::string& path, const CommandLine* line) {
        Words words;
        for (const Command* const each : command.commands) words.emplace_back(each->name);
        if (line != nullptr) words = operand_words(*line);
        std::string dashed;
        if (line != nullptr) {
          for (const Option& option : options_of(*line)) {
            dashed.append(dashed.empty() ? "--" : " --").append(option.name);
            if (!option.value) continue;
            values += concat({"    '", path, ":--", option.name, "'"});
            if (option.letter != 0) {
              values += concat({" | '", path, ":-", std::string_view(&option.letter, 1), "'"});
            }
            values += concat({") words='", joined(option.words), "' ;;\n"});
          }
        }
        if (dashed.empty()) dashed = "--help";
        commands += concat({"    '", path, ":-'*) words='", dashed, "' ;;\n"});
        commands += concat({"    '", path, ":'*) words='", joined(words), "' ;;\n"});
      });
  return "# bash completion of nestwalk\n"
         "_nestwalk() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} path=nestwalk words n\n"
         "  for ((n = 1; n < COMP_CWORD; ++n)); do\n"
         "    case \"$path ${COMP_WORDS[n]}\" in\n"
         "      " +
         all_paths() +
         ") path+=\" ${COMP_WORDS[n]}\" ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$path:${COMP_WORDS[COMP_CWORD - 1]}\" in\n" +
         values +
         "    *)\n"
         "  case \"$path:$word\" in\n" +
         commands +
         "  esac\n"
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "  [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null\n"
         "}\n"
         "complete -o default -F _nestwalk nestwalk\n";
}

// ---- zsh ----

std::string zsh_text(const std::string& text) {
  return replaced(replaced(replaced(text, "[", "("), "]", ")"), ":", "\\:");
}

std::string zsh_values(const Words& words) {
  return words.empty() ? "_files" : concat({"(", joined(words), ")"});
}

std::string zsh_option(const Option& option) {
  const std::string value =
      option.value ? concat({":", option.name, ":", zsh_values(option.words)}) : "";
  const std::string rest = quoted(concat({"[", zsh_text(option.sentence), "]", value}), "'\\''");
  if (option.letter == 0) return concat({"'*'--", option.name, rest});
  return concat({"'*'{-", std::string_view(&option.letter, 1), ",--", option.name, "}", rest});
}

std::string for_zsh() {
  std::string commands;
  for_each_command(
      kNestwalk, std::string(kNestwalk.name),
      [&](const Command& command, const std::string& path, const CommandLine* line) {
        commands += concat({"    '", path, "')\n"});
        if (line == nullptr) {
          commands += "      rows=(\n";
          for (const Command* const each : command.commands) {
            const std::string name(each->name);
            const std::string row = concat({name, ":", zsh_text(std::string(each->sentence))});
            commands += concat({"        ", quoted(row, "'\\''"), "\n"});
          }
          commands += "      )\n      _describe command rows ;;\n";
          return;
        }
        commands += "      _arguments";
        for (const Option& option : options_of(*line)) {
          commands += concat({" \\\n        ", zsh_option(option)});
        }
        commands +=
            concat({" \\\n        '*:operand:", zsh_values(operand_words(*line)), "' ;;\n"});
      });
  return "#compdef nestwalk\n"
         "_nestwalk() {\n"
         "  local at=nestwalk n\n"
         "  local -a rows\n"
         "  for ((n = 2; n < CURRENT; ++n)); do\n"
         "    case \"$at ${words[n]}\" in\n"
         "      " +
         all_paths() +
         ") at+=\" ${words[n]}\" ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$at\" in\n" +
         commands +
         "  esac\n"
         "}\n"
         "_nestwalk \"$@\"\n";
}

// ---- fish ----

std::string for_fish() {
  std::string text =
      "# fish completion of nestwalk\n"
      "function __nestwalk_at\n"
      "    set -l path nestwalk\n"
      "    for word in (commandline -opc)[2..-1]\n"
      "        switch \"$path $word\"\n"
      "            case " +
      replaced(all_paths(), " | ", " ") +
      "\n"
      "                set path \"$path $word\"\n"
      "        end\n"
      "    end\n"
      "    test \"$path\" = \"$argv\"\n"
      "end\n";
  for_each_command(
      kNestwalk, std::string(kNestwalk.name),
      [&](const Command& command, const std::string& path, const CommandLine* line) {
        const std::string row = concat({"complete -c nestwalk -n '__nestwalk_at ", path, "'"});
        for (const Command* const each : command.commands) {
          text += row + " -f -a " + std::string(each->name) + " -d " +
                  quoted(std::string(each->sentence), "\\'") + "\n";
        }
        if (line == nullptr) return;
        for (const Option& option : options_of(*line)) {
          text += row + " -l " + option.name;
          if (option.letter != 0) text.append(" -s ") += option.letter;
          if (option.value) text += " -r";
          if (!option.words.empty())
            text += concat({" -f -a ", quoted(joined(option.words), "\\'")});
          text += concat({" -d ", quoted(option.sentence, "\\'"), "\n"});
        }
        const Words words = operand_words(*line);
        if (!words.empty()) text += row + " -f -a " + quoted(joined(words), "\\'") + "\n";
      });
  return text;
}

// ---- the command ----

constexpr struct {
  const char* name;
  std::string (*script)();
} kShells[] = {{"bash", for_bash}, {"zsh", for_zsh}, {"fish", for_fish}};

void declare(CommandLine& line) {
  Words names;
  for (const auto& shell : kShells) names.emplace_back(shell.name);
  line.about(
          "Prints a script that completes nestwalk's commands, options and their values in bash,\n"
          "zsh or fish:\n"
          "  source <(nestwalk completion bash)\n"
          "  nestwalk completion zsh > ~/.zfunc/_nestwalk\n"
          "  nestwalk completion fish > ~/.config/fish/completions/nestwalk.fish")
      .operand("shell", "SHELL", po::value<std::string>()->required())
      .words("shell", std::move(names));
}

int run(const CommandLine& line) {
  const auto& name = line.get<std::string>("shell");
  for (const auto& shell : kShells) {
    if (name != shell.name) continue;
    TextOutput().write(shell.script());
    return kDone;
  }
  throw UsageError(line.path() + ": " + name + ": not one of bash, zsh, fish");
}

}  // namespace

constexpr Command kCompletionCommand = {"completion", "prints a completion script for a shell",
                                        declare, run};

}  // namespace nestwalk::sim
