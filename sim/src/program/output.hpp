// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Standard output, and what is said on standard error.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "nestwalk/models/base/json.hpp"
#include "nestwalk/traces/io.hpp"

namespace nestwalk::sim {

using models::Json;

/// Text for standard output. Throws traces::OutputError; `flush` is for the end.
class TextOutput {
 public:
  TextOutput();

  /// Writes at once.
  void write(std::string_view text);
  /// What the next `write_when_large` looks at.
  std::string& buffer() { return buffer_; }
  void write_when_large();
  void flush();

 private:
  std::unique_ptr<traces::ByteSink> sink_;
  std::string buffer_;
};

enum class Colour { Plain, Red, Yellow, Green };
/// In colour where standard output is a terminal and nobody asked for NO_COLOR.
std::string coloured(const std::string& text, Colour colour);

/// Standard output.
bool is_terminal();
/// How standard output shows bars: not at all, unless it is a terminal.
enum class Bars { None, Signs, Blocks };
Bars bars_of_output();
/// Of the terminal, or 100 where there is none.
unsigned width_of_output();

/// Writes a whole file as traces::create_sink does. Throws traces::OutputError.
void write_text(const std::string& file, std::string_view text);

/// UTF-8 without control characters, for a terminal, a table or XML: any other byte, a line's end
/// among them, is spelled as in C (\\n, \\x1b). Names of files may have any.
std::string printable(const std::string& text);
/// "draw" of 1, else "draws"; "guess" and "guesses" with "es".
std::string noun(addrspace::u64 count, const std::string& what, const char* plural = "s");
/// "1 draw", "2 draws", "0 guesses".
std::string counted(addrspace::u64 count, const std::string& what, const char* plural = "s");
/// JSON, with U+FFFD for what is not UTF-8.
std::string json_document(const Json& json);

/// One line on standard error, whatever is in the message: `nestwalk: ` and the message.
void warn(const std::string& message);
/// The same without `nestwalk: `.
void complain(const std::string& message);

}  // namespace nestwalk::sim
