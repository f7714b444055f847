// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {

InputError::InputError(const std::string& name, const std::string& message)
    : std::runtime_error(name + ": " + message) {}

InputError::InputError(const std::string& name, addrspace::u64 offset, const std::string& expected,
                       const std::string& found)
    : std::runtime_error(name + ": at byte " + std::to_string(offset) + ": expected " + expected +
                         ", found " + found) {}

OutputError::OutputError(const std::string& name, int error_number)
    : std::system_error(error_number, std::generic_category(), name + ": cannot be written") {}

}  // namespace nestwalk::traces
