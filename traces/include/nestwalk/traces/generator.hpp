// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Synthetic traces, by name and parameters. The same parameters give the same bytes everywhere.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nestwalk/traces/io.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {

struct Parameter {
  std::string_view name;
  u64 value;  ///< unless the user gives another one
  u64 least;
  u64 most;
  std::string_view sentence;
};

/// The values of a generator's parameters.
class Values {
 public:
  explicit Values(std::span<const Parameter> parameters);

  /// Sets a parameter from "key=value", once; the value is a number, with K, M, G or T for powers
  /// of 1024. Throws RecordError, with a suggestion for a key that is not known.
  void set(std::string_view assignment);
  u64 operator[](std::string_view name) const;
  /// Every parameter, as the command line would say it.
  std::string text() const;

 private:
  std::size_t index_of(std::string_view name) const;

  std::span<const Parameter> parameters_;
  std::vector<u64> values_;
  std::set<std::size_t> set_;  ///< by the user
};

struct Generator {
  std::string_view name;
  std::string_view sentence;
  std::span<const Parameter> parameters;
  u64 lacks;  ///< of Lack
  u64 (*accesses)(const Values& values);
  void (*run)(const Values& values, Writer& writer);
};

std::span<const Generator> generators();
/// Throws RecordError, with a suggestion.
const Generator& generator_of(std::string_view name);
/// Writes the trace of a generator, from its header to its footer. Progress is in accesses.
void generate(
    const Generator& generator, const Values& values, ByteSink& sink,
    const Writer::Options& options = {}, const OnProgress& progress = [](u64, u64, u64) {});

}  // namespace nestwalk::traces
