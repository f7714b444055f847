// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "output.hpp"

#include <fstream>
#include <iostream>

#include "command_line.hpp"

namespace nestwalk::sim {
namespace {

constexpr std::size_t kLargeBytes = 256 << 10;

}  // namespace

TextOutput::TextOutput() : sink_(traces::create_sink("-")) {}

void TextOutput::write(std::string_view text) {
  sink_->write({reinterpret_cast<const addrspace::u8*>(text.data()), text.size()});
}

void TextOutput::write_when_large() {
  if (buffer_.size() >= kLargeBytes) flush();
}

void TextOutput::flush() {
  write(buffer_);
  buffer_.clear();
}

void write_text(const std::string& file, std::string_view text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) throw UsageError(file + ": cannot be written");
}

void warn(const std::string& message) { std::cerr << "nestwalk: " << message << '\n'; }

}  // namespace nestwalk::sim
