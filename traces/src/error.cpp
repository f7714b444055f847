// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/error.hpp"

#include <cerrno>
#include <cstring>

namespace nestwalk::traces {

InputError::InputError(const std::string& name, const std::string& message)
    : std::runtime_error(name + ": " + message) {}

InputError::InputError(const std::string& name, addrspace::u64 offset, const std::string& expected,
                       const std::string& found)
    : std::runtime_error(name + ": at byte " + std::to_string(offset) + ": expected " + expected +
                         ", found " + found) {}

void throw_cannot_be_opened(const std::string& name, int error_number) {
  if (error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM) {
    throw std::system_error(error_number, std::generic_category(), name + ": cannot be opened");
  }
  throw InputError(name, std::string("cannot be opened: ") + std::strerror(error_number));
}

OutputError::OutputError(const std::string& name, int error_number)
    : std::system_error(error_number, std::generic_category(), name + ": cannot be written") {}

}  // namespace nestwalk::traces
