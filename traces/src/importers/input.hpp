// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an importer reads: lines or bytes, and where it is for messages.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/io.hpp"

namespace nestwalk::traces {

/// A line or record that makes no sense, after which the next one can be read.
class MalformedRecord : public InputError {
 public:
  using InputError::InputError;
};

class ImportInput {
 public:
  static constexpr std::size_t kMaxLine = 64 << 10;

  explicit ImportInput(std::unique_ptr<ByteSource> source);

  /// The next bytes, as many as asked for unless the input ends before. At most kMaxLine.
  std::string_view peek(std::size_t bytes);
  /// Takes the bytes that were peeked at.
  void skip(std::size_t bytes) { begin_ += bytes; }
  /// Takes a record of a fixed size; false at the end. A part of a record is an error.
  bool take(std::size_t bytes, std::string_view& record, const char* what);
  /// Takes a line, without its end; false at the end of the input.
  bool take_line(std::string_view& line);

  /// Throws MalformedRecord for the line or record that was taken.
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const;
  /// Throws InputError: nothing after this can be read.
  [[noreturn]] void fail_for_good(const std::string& expected, const std::string& found) const;
  /// A message about the line or record that was taken.
  std::string locate(const std::string& message) const;

  const std::string& name() const { return source_->name(); }
  u64 offset() const { return offset_ + begin_; }
  u64 bytes_read() const { return source_->bytes_read(); }

 private:
  void fill();

  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool ended_ = false;
  u64 offset_ = 0;  ///< of the buffer
  u64 line_ = 0;    ///< number of the line that was taken, 0 for bytes
  u64 record_ = 0;  ///< offset of the record that was taken
};

/// Text for a message: short, and without characters that a terminal acts on.
std::string quoted(std::string_view text);

}  // namespace nestwalk::traces
