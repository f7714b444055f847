// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/flags.hpp"

namespace nestwalk::addrspace {
namespace {

constexpr const char* kMemoryTypes[] = {
    "WRITE_BACK", "WRITE_THROUGH", "WRITE_PROTECTED", "WRITE_COMBINING", "UNCACHED",
    "DEVICE",     "DEVICE_NGNRE",  "DEVICE_NGRE",     "DEVICE_GRE",      "OTHER"};
static_assert(sizeof(kMemoryTypes) / sizeof(kMemoryTypes[0]) == kMemoryTypeCount);

struct AccessName {
  Access access;
  const char* name;
};
constexpr AccessName kAccessNames[] = {{kRead, "READ"},
                                       {kWrite, "WRITE"},
                                       {kExecute, "EXECUTE"},
                                       {kUser, "USER"},
                                       {kGlobal, "GLOBAL"}};

}  // namespace

const char* to_string(MemoryType type) { return kMemoryTypes[static_cast<unsigned>(type)]; }

Text<96> to_text(MappingFlags flags) {
  Text<96> text;
  const auto add = [&](const char* name) { text.add(text.size() == 0 ? "" : " | ").add(name); };
  for (const AccessName& row : kAccessNames) {
    if (flags.access.has(row.access)) add(row.name);
  }
  // Ordinary memory goes without saying.
  if (flags.memory != MemoryType::WriteBack) add(to_string(flags.memory));
  if (text.size() == 0) text.add("0x0");
  return text;
}

}  // namespace nestwalk::addrspace
