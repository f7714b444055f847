// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/error.hpp"

namespace nestwalk::addrspace {
namespace {

struct ErrorRow {
  ErrorClass error_class;
  const char* text;
};

// In the order of the enumerators.
constexpr ErrorRow kErrors[] = {
    {ErrorClass::InvalidInput, "out of range"},
    {ErrorClass::InvalidInput, "not aligned to the page size"},
    {ErrorClass::InvalidInput, "address overflow"},
    {ErrorClass::InvalidInput, "empty range"},
    {ErrorClass::InvalidInput, "flags that the format cannot encode"},
    {ErrorClass::InvalidInput, "geometry that the architecture does not have"},
    {ErrorClass::InvalidInput, "feature that the machine does not have"},
    {ErrorClass::AlreadyExists, "already mapped"},
    {ErrorClass::BadState, "mapped differently"},
    {ErrorClass::BadState, "not mapped"},
    {ErrorClass::InvalidInput, "insufficient access"},
    {ErrorClass::BadState, "wrong state"},
    {ErrorClass::NoMemory, "out of memory"},
    {ErrorClass::NoMemory, "a frame that the tables cannot name"},
};
static_assert(sizeof(kErrors) / sizeof(kErrors[0]) == kErrorCount);

constexpr const char* kClasses[] = {"InvalidInput", "AlreadyExists", "BadState", "NoMemory"};

}  // namespace

ErrorClass class_of(Error error) { return kErrors[static_cast<unsigned>(error)].error_class; }
const char* to_string(Error error) { return kErrors[static_cast<unsigned>(error)].text; }
const char* to_string(ErrorClass error_class) {
  return kClasses[static_cast<unsigned>(error_class)];
}

}  // namespace nestwalk::addrspace
