// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The structures that a fit looks for: sizes, replacement, and the pages beneath the guest. Each is
// a row of candidates; a search moves along it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibration/fit.hpp"

namespace nestwalk::sim {

/// A structure, and which points it can move: those that touch so many lines and so many pages.
struct Structure {
  std::string name;
  std::size_t row = 0;
  u64 least_lines = 0, most_lines = ~u64{0};
  u64 least_pages = 0, most_pages = ~u64{0};
  /// The row of another one that has to be sought again for each candidate of this one.
  std::optional<std::size_t> partner = {};

  bool moves(const Point& point) const;
};

class Structures {
 public:
  enum class Sought { All, None };
  /// Those of the preset. If they are sought, they begin with what the processor says of its
  /// caches, and the last level with the size that the curve of lines shows.
  Structures(const Configuration& base, const MeasuredMachine& measured,
             Sought sought = Sought::All);

  std::vector<Structure> all() const;
  const Structure& at(std::size_t row) const { return rows_[row].structure; }
  /// With the next candidate in this direction; nothing at the end of the row.
  std::optional<Structures> moved(const Structure& structure, int direction) const;
  /// With the preset's candidate, or the one that the processor says; nothing if that is chosen
  /// already, and for what surrounds the machine.
  std::optional<Structures> returned(const Structure& structure) const;
  std::string text_of(const Structure& structure) const;
  std::string named(const Structure& structure) const {
    return structure.name + " " + text_of(structure);
  }
  void apply(Configuration& machine) const;
  Surroundings surroundings() const;
  std::vector<FittedValue> values() const;
  /// What the report says of it where the preset's value stays.
  void note(const Structure& structure, const std::string& text);

 private:
  /// What one candidate sets in the machine; nothing for what is around it.
  using Settings = std::vector<std::pair<std::string, Json>>;
  struct Row {
    Structure structure;
    std::vector<Settings> candidates;
    std::vector<std::string> texts;
    std::size_t chosen = 0;
    Settings before = {};    ///< of the preset
    std::size_t home = 0;    ///< the candidate of the preset, or the one that the processor says
    bool is_known = false;   ///< by the processor
    bool is_around = false;  ///< not of the machine
    std::string note = {};
  };

  void add_around(const Configuration& base, const char* name,
                  const std::vector<std::string>& texts);
  void add_cache(const Configuration& base, const std::string& name, u64 least_lines,
                 u64 most_lines, unsigned octaves_down, unsigned octaves_up);
  void add_known(const Configuration& base, const KnownCache& cache);
  void add_ways(const Configuration& base, const std::string& path, u64 least_pages,
                u64 most_pages);
  void add_words(const Configuration& base, const std::string& path,
                 const std::vector<std::string>& words, u64 least_lines);
  void start_at(const std::string& path, u64 bytes);
  /// Without candidates that no machine can have.
  void add(const Configuration& base, Row row);

  bool nested_ = false;
  bool sought_ = true;
  std::vector<Row> rows_;
};

}  // namespace nestwalk::sim
