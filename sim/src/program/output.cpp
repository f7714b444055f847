// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/output.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <span>

namespace nestwalk::sim {
namespace {

constexpr std::size_t kLargeBytes = 256 << 10;

// https://no-color.org
bool takes_colours() {
  const char* const no = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return is_terminal() && (no == nullptr || *no == '\0') &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

// Of the letter at the front, if it is whole UTF-8 (RFC 3629), and a character that is no control
// and that XML may have; else 0.
std::size_t bytes_of_letter(std::string_view text) {
  const auto byte = [&](std::size_t n) -> unsigned {
    return n < text.size() ? static_cast<unsigned char>(text[n]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return first < 0x20 || first == 0x7f ? 0 : 1;
  const std::size_t bytes = first < 0xc2   ? 0
                            : first < 0xe0 ? 2
                            : first < 0xf0 ? 3
                            : first < 0xf5 ? 4
                                           : 0;
  for (std::size_t n = 1; n < bytes; ++n) {
    if ((byte(n) & 0xc0) != 0x80) return 0;
  }
  const bool control = first == 0xc2 && byte(1) < 0xa0;
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool surrogate = first == 0xed && byte(1) >= 0xa0;
  const bool too_large = first == 0xf4 && byte(1) >= 0x90;
  const bool none = first == 0xef && byte(1) == 0xbf && byte(2) >= 0xbe;  // U+FFFE, U+FFFF
  return control || overlong || surrogate || too_large || none ? 0 : bytes;
}

std::string escaped(char letter) {
  if (letter == '\n') return "\\n";
  if (letter == '\r') return "\\r";
  if (letter == '\t') return "\\t";
  char text[5];
  std::snprintf(text, sizeof text, "\\x%02x",
                static_cast<unsigned>(static_cast<unsigned char>(letter)));
  return text;
}

std::span<const addrspace::u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const addrspace::u8*>(text.data()), text.size()};
}

}  // namespace

bool is_terminal() { return isatty(STDOUT_FILENO) != 0; }

Bars bars_of_output() {
  if (!is_terminal()) return Bars::None;
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const locale = std::getenv(name);
    if (locale == nullptr || *locale == '\0') continue;
    const std::string_view text = locale;
    const bool utf8 = text.find("UTF-8") != text.npos || text.find("utf8") != text.npos;
    return utf8 ? Bars::Blocks : Bars::Signs;
  }
  return Bars::Signs;
}

unsigned width_of_output() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20;
  return known ? size.ws_col : 100;
}

std::string coloured(const std::string& text, Colour colour) {
  static const bool kTakes = takes_colours();
  constexpr const char* kBegin[] = {"", "\x1b[31m", "\x1b[33m", "\x1b[32m"};
  if (!kTakes || colour == Colour::Plain) return text;
  return std::string(kBegin[static_cast<unsigned>(colour)]).append(text).append("\x1b[0m");
}

TextOutput::TextOutput() : sink_(traces::create_sink("-")) {}

void TextOutput::write(std::string_view text) { sink_->write(bytes_of(text)); }

void TextOutput::write_when_large() {
  if (buffer_.size() >= kLargeBytes) flush();
}

void TextOutput::flush() {
  write(buffer_);
  buffer_.clear();
}

void write_text(const std::string& file, std::string_view text) {
  const auto sink = traces::create_sink(file);
  sink->write(bytes_of(text));
  sink->finish();
}

std::string noun(addrspace::u64 count, const std::string& what, const char* plural) {
  return count == 1 ? what : what + plural;
}

std::string counted(addrspace::u64 count, const std::string& what, const char* plural) {
  return std::to_string(count) + " " + noun(count, what, plural);
}

std::string printable(const std::string& text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = bytes_of_letter(std::string_view(text).substr(at));
    if (bytes == 0) {
      result += escaped(text[at++]);
    } else {
      result.append(text, at, bytes);
      at += bytes;
    }
  }
  return result;
}

std::string json_document(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void complain(const std::string& message) {
  // A value of a file of megabytes may be quoted: its begin and the message's end are enough.
  constexpr std::size_t kBegin = 1500;
  constexpr std::size_t kEnd = 300;
  std::string line = message;
  if (line.size() > kBegin + kEnd) line.replace(kBegin, line.size() - kBegin - kEnd, " ... ");
  std::cerr << printable(line) << '\n';
}

void warn(const std::string& message) { complain("nestwalk: " + message); }

}  // namespace nestwalk::sim
