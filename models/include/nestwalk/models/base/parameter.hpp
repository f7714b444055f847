// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a user may set in a struct, as rows beside its members: a name, the member, what it may be,
// a sentence, and perhaps the unit of its values. The default is the member's initialiser; presets
// have no defaults.
//
//   struct SliceShape {
//     u64 slice = 1000;
//
//     static constexpr auto parameters() {
//       using namespace models::parameter;
//       return std::tuple{Row{"host.slice", &SliceShape::slice, Number{1, 1000}, "cycles ..."}};
//     }
//   };
#pragma once

#include <concepts>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

/// What a user writes for a value.
template <class Value>
struct Word {
  const char* word;
  Value value;
};

template <class List>
using ValueOf = std::remove_cvref_t<decltype(std::declval<const List&>()[0].value)>;
template <class List>
constexpr const char* word_of(const List& words, const ValueOf<List>& value) {
  for (const auto& each : words) {
    if (each.value == value) return each.word;
  }
  throw std::logic_error("a value has no word");
}

namespace parameter {

struct Flag {};
struct Number {
  u64 least, most;
};
struct PowerOfTwo {
  u64 least, most;
};
/// One of Value::all(), by its name.
struct Registered {};
/// A list of page sizes, stored as log2.
struct PageSizes {};
/// In bytes; users may write 64M.
struct Size {
  u64 least, most;
};
template <class Value>
struct OneOf {
  std::span<const Word<Value>> words;
};
template <class List>
OneOf(const List&) -> OneOf<ValueOf<List>>;
/// Of memory, in whole pages.
struct Ranges {
  u64 page;
};
/// A size (memory from address 0) or a list of ranges.
struct SizeOrRanges {
  u64 least, most, page;
};
/// A name or a number; none if it is empty.
struct Name {};
struct Object {};
struct List {};

/// Of presets: the key may be left out, and the member keeps its initialiser.
template <class Rule>
struct OrLeftOut : Rule {};
template <class Rule>
OrLeftOut(Rule) -> OrLeftOut<Rule>;
/// Or "auto", the default: decided from the trace.
template <class Rule>
struct OrAuto : Rule {};
template <class Rule>
OrAuto(Rule) -> OrAuto<Rule>;
template <class Rule>
inline constexpr bool kMayBeAuto = false;
template <class Rule>
inline constexpr bool kMayBeAuto<OrAuto<Rule>> = true;

/// What values are counted in, as users read it.
struct Unit {
  const char* name;
};
inline constexpr Unit kNoUnit{""};
inline constexpr Unit kInCycles{"cycles"};
inline constexpr Unit kInMegahertz{"MHz"};
inline constexpr Unit kInPicoseconds{"picoseconds"};
inline constexpr Unit kInBytes{"bytes"};
inline constexpr Unit kInPages{"pages"};
inline constexpr Unit kInEntries{"entries"};
inline constexpr Unit kInPerCent{"per cent"};
/// "a sentence (cycles)"
inline std::string with_unit(std::string sentence, Unit unit) {
  return *unit.name == '\0' ? sentence : std::move(sentence) + " (" + unit.name + ")";
}

template <class Shape, class Value, class Rule>
struct Row {
  /// Fails to compile if the member cannot hold `most`.
  constexpr Row(const char* name_, Value Shape::*member_, Rule rule_, const char* sentence_,
                Unit unit_ = kNoUnit)
      : name(name_), member(member_), rule(rule_), sentence(sentence_), unit(unit_) {
    if constexpr (std::integral<Value> && requires { rule.most; }) {
      if (!std::in_range<Value>(rule.most)) {
        throw std::logic_error("the member cannot hold the largest value");
      }
    }
  }

  const char* name;  ///< of a parameter of runs, or of a whole machine: its path
  Value Shape::*member;
  Rule rule;
  const char* sentence;
  Unit unit;
};

/// Calls `visit` with each row of a struct.
template <class Shape, class Visit>
constexpr void for_each_row(Visit&& visit) {
  constexpr auto kRows = Shape::parameters();
  std::apply([&](const auto&... row) { (visit(row), ...); }, kRows);
}

}  // namespace parameter
}  // namespace nestwalk::models
