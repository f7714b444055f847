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
  const char* path = "";
  Kind kind = Kind::Flag;
  Json standard = {};                     ///< its value if nobody sets it
  std::vector<const char*> choices = {};  ///< of a Choice, and words that the others may be
  addrspace::u64 least = 0, most = 0;     ///< of a Number or a Size
  const char* sentence = "";
  models::parameter::Unit unit = models::parameter::kNoUnit;
};
/// Those of all structs, as rows stand beside them (parameter_rows.hpp).
const std::vector<Parameter>& parameters();
/// Null if there is none.
const Parameter* parameter_at(const std::string& path);

/// "a number from 0 to 9, or auto"
std::string range_of(const Parameter& row);
/// Its JSON Schema.
Json schema_of(const Parameter& row);
/// Throws UsageError if the value is none for it; `where` is what the user wrote.
void check(const Parameter& row, const Json& value, const std::string& where);

/// What traces decide.
inline constexpr const char* kAuto = "auto";

/// "64M"
std::optional<addrspace::u64> size_of(const std::string& text);
/// A number, or that.
std::optional<addrspace::u64> size_of(const Json& value);
std::string size_text(addrspace::u64 size);
/// A list of "0x80000000+512M", or a word that has commas between them.
std::optional<std::vector<software::MemoryRange>> ranges_of(const Json& value);
Json json_of(const std::vector<software::MemoryRange>& ranges);
/// In whole pages, in ascending order; ranges that touch are one.
std::vector<software::MemoryRange> whole_pages(std::vector<software::MemoryRange> ranges,
                                               addrspace::u64 page);
/// Of a document that has all parameters.
const Json& value_in(const Json& document, const std::string& path);

}  // namespace nestwalk::sim
