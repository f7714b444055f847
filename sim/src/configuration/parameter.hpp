// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A parameter of runs: what it may be, what it means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nestwalk/models/base/json.hpp"
#include "nestwalk/software/shape.hpp"

namespace nestwalk::sim {

using models::Json;

/// What a user may set, beside the machine.
struct Parameter {
  enum class Kind { Choice, Word, Number, Size, Flag, Object, List, Ranges, SizeOrRanges };
  const char* path;
  Kind kind;
  const char* standard;                ///< its value if nobody sets it
  std::vector<const char*> choices;    ///< of a Choice, and words that the others may be
  addrspace::u64 least = 0, most = 0;  ///< of a Number or a Size
  const char* sentence;
};
const std::vector<Parameter>& parameters();
/// Null if there is none.
const Parameter* parameter_at(const std::string& path);

/// "a number from 0 to 9, or auto"
std::string range_of(const Parameter& row);
/// Its JSON Schema.
Json schema_of(const Parameter& row);
/// Throws UsageError if the value is none for it; `where` is what the user wrote.
void check(const Parameter& row, const Json& value, const std::string& where);

/// "64M"
std::optional<addrspace::u64> size_of(const std::string& text);
/// A list of "0x80000000+512M", or a word that has commas between them.
std::optional<std::vector<software::MemoryRange>> ranges_of(const Json& value);

}  // namespace nestwalk::sim
