// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// nestwalk man: the manual page, from what the commands declare.

#include "commands/commands.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

// Backslashes, and what groff would make other characters of; lines must not begin requests.
std::string escaped(const std::string& text) {
  std::string result;
  bool begins = true;
  for (const char letter : text) {
    if (begins && (letter == '.' || letter == '\'')) result += "\\&";
    begins = letter == '\n';
    switch (letter) {
      case '\\':
        result += "\\e";
        break;
      case '-':
        result += "\\-";
        break;
      case '\'':
        result += "\\(aq";
        break;
      case '`':
        result += "\\(ga";
        break;
      case '^':
        result += "\\(ha";
        break;
      case '~':
        result += "\\(ti";
        break;
      default:
        result += letter;
    }
  }
  return result;
}

// Lines as they are.
std::string verbatim(const std::string& text) {
  return text.empty() ? "" : std::string(".nf\n").append(escaped(text)).append("\n.fi\n");
}

void append_command(std::string& page, const Command& command, const std::string& path,
                    const CommandLine* line) {
  page.append(".SS ").append(escaped(path)) += '\n';
  if (line == nullptr) {
    page += escaped(std::string(command.sentence)) + ".\n";
    return;
  }
  page.append(".B ").append(escaped(line->synopsis())).append("\n.PP\n");
  page += verbatim(line->text());
  for (const auto& option : line->options()) {
    page += ".TP\n.B " + escaped(option->format_name() + " " + option->format_parameter()) + "\n" +
            escaped(option->description()) + "\n";
  }
}

std::string exit_status() {
  std::string text = ".SH EXIT STATUS\n";
  for (const ExitCodeRow& row : exit_codes()) {
    text += ".TP\n.B " + std::to_string(row.code) + "\n" + escaped(row.meaning) + "\n";
  }
  return text;
}

std::string page() {
  std::string text = ".TH NESTWALK 1 \"\" \"nestwalk " NESTWALK_VERSION
                     "\" \"User Commands\"\n"
                     ".SH NAME\nnestwalk \\- a cycle\\-level simulator of nested paging\n"
                     ".SH SYNOPSIS\n.B nestwalk\n.I COMMAND\n[ARGUMENTS]\n.br\n"
                     ".B nestwalk \\-\\-version\n.br\n.B nestwalk \\-\\-help\n"
                     ".SH DESCRIPTION\n" +
                     escaped(std::string(kNestwalk.sentence)) + "\n.SH COMMANDS\n";
  for_each_command(kNestwalk, std::string(kNestwalk.name),
                   [&](const Command& command, const std::string& path, const CommandLine* line) {
                     if (&command != &kNestwalk) append_command(text, command, path, line);
                   });
  return text + exit_status() +
         ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nif set and not empty: no colours on terminals\n";
}

void declare(CommandLine& line) { line.about("Prints the manual page: nestwalk man | man -l -"); }

int run(const CommandLine&) {
  TextOutput().write(page());
  return kDone;
}

}  // namespace

constexpr Command kManCommand = {"man", "prints the manual page", declare, run};

}  // namespace nestwalk::sim
