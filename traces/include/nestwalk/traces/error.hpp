// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What can go wrong with files and records.
#pragma once

#include <stdexcept>
#include <string>
#include <system_error>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::traces {

/// Input that cannot be used. what() is one line that names the file, the offset, what was expected
/// there and what was found.
class InputError : public std::runtime_error {
 public:
  InputError(const std::string& name, const std::string& message);
  InputError(const std::string& name, addrspace::u64 offset, const std::string& expected,
             const std::string& found);
};

/// What a rule asks for, and what there is instead.
struct Breach {
  std::string expected;
  std::string found;
};

/// Why a file cannot be opened: a std::system_error where the process has too many open files or no
/// memory, which is not the file's fault; otherwise an InputError.
[[noreturn]] void throw_cannot_be_opened(const std::string& name, int error_number);

/// Output that cannot be written; code() is the reason.
class OutputError : public std::system_error {
 public:
  OutputError(const std::string& name, int error_number);
};

/// A record that the format cannot hold, or a request that makes no sense.
class RecordError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

}  // namespace nestwalk::traces
