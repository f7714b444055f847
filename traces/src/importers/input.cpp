// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "input.hpp"

#include <algorithm>
#include <cstring>

namespace nestwalk::traces {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;

}  // namespace

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string result = "'";
  for (const char letter : text.substr(0, kLongest)) {
    result += letter >= ' ' && letter <= '~' ? letter : '?';
  }
  return result + (text.size() > kLongest ? "...'" : "'");
}

ImportInput::ImportInput(std::unique_ptr<ByteSource> source)
    : source_(std::move(source)), buffer_(kBufferBytes) {}

// Moves what is left to the front of the buffer and reads behind it.
void ImportInput::fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  offset_ += begin_;
  end_ -= begin_;
  begin_ = 0;
  const std::size_t count =
      source_->read({reinterpret_cast<u8*>(buffer_.data()) + end_, buffer_.size() - end_});
  end_ += count;
  ended_ = count == 0;
}

std::string_view ImportInput::peek(std::size_t bytes) {
  while (end_ - begin_ < bytes && !ended_) fill();
  return {buffer_.data() + begin_, std::min(bytes, end_ - begin_)};
}

bool ImportInput::take(std::size_t bytes, std::string_view& record, const char* what) {
  record = peek(bytes);
  if (record.empty()) return false;
  record_ = offset();
  skip(record.size());
  if (record.size() < bytes) {
    fail(std::string(what) + " of " + std::to_string(bytes) + " bytes",
         "the end of the input after " + std::to_string(record.size()));
  }
  return true;
}

bool ImportInput::take_line(std::string_view& line) {
  for (;;) {
    const std::size_t count = end_ - begin_;
    const char* start = buffer_.data() + begin_;
    const auto* end = static_cast<const char*>(std::memchr(start, '\n', std::min(count, kMaxLine)));
    if (end == nullptr && count < kMaxLine && !ended_) {
      fill();
      continue;
    }
    if (end == nullptr && count == 0) return false;
    ++line_;
    if (end == nullptr && count >= kMaxLine)
      fail_for_good("a line", "more than 64 KiB without one");
    const std::size_t length = end == nullptr ? count : static_cast<std::size_t>(end - start);
    skip(length + (end != nullptr));
    line = {start, length};
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return true;
  }
}

std::string ImportInput::locate(const std::string& message) const {
  const std::string place =
      line_ != 0 ? "line " + std::to_string(line_) : "at byte " + std::to_string(record_);
  return place + ": " + message;
}

void ImportInput::fail(const std::string& expected, const std::string& found) const {
  throw MalformedRecord(name(), locate("expected " + expected + ", found " + found));
}

void ImportInput::fail_for_good(const std::string& expected, const std::string& found) const {
  throw InputError(name(), locate("expected " + expected + ", found " + found));
}

}  // namespace nestwalk::traces
