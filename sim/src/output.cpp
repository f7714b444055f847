// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "output.hpp"

#include <unistd.h>

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
  return isatty(STDOUT_FILENO) != 0 && (no == nullptr || *no == '\0') &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

std::span<const addrspace::u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const addrspace::u8*>(text.data()), text.size()};
}

}  // namespace

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

void warn(const std::string& message) { std::cerr << "nestwalk: " << message << '\n'; }

}  // namespace nestwalk::sim
