// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/check_log.hpp"

#include <array>
#include <exception>
#include <istream>
#include <streambuf>

#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/io.hpp"

namespace nestwalk::sim {
namespace {

/// What a source gives, for streams. They swallow what it throws; `failure` keeps it.
class SourceBuffer final : public std::streambuf {
 public:
  explicit SourceBuffer(traces::ByteSource& source) : source_(source) {}
  std::exception_ptr failure() const { return failure_; }

 protected:
  int_type underflow() override {
    std::size_t bytes = 0;
    try {
      bytes = source_.read(buffer_);
    } catch (...) {
      failure_ = std::current_exception();
    }
    char* const start = reinterpret_cast<char*>(buffer_.data());
    setg(start, start, start + bytes);
    return bytes == 0 ? traits_type::eof() : traits_type::to_int_type(*start);
  }

 private:
  traces::ByteSource& source_;
  std::array<traces::u8, 65536> buffer_{};
  std::exception_ptr failure_;
};

}  // namespace

void check_log(traces::ByteSource& source, checker::LogReader& reader, checker::Checker& checker) {
  const auto buffer = std::make_unique<SourceBuffer>(source);
  std::istream in(buffer.get());
  try {
    reader.read(in, source.name(), checker);
  } catch (const checker::LogError& error) {
    // A source that failed ended the log too early.
    if (buffer->failure()) std::rethrow_exception(buffer->failure());
    throw traces::InputError(source.name(), error.problem());
  }
  if (buffer->failure()) std::rethrow_exception(buffer->failure());
  checker.finish();
}

}  // namespace nestwalk::sim
