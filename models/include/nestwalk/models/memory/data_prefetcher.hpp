// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Prefetchers of data caches: which lines will be missed soon. A prefetcher is one file in
// prefetchers/, and its row in data_prefetcher.cpp. It only names lines; the cache fetches them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "nestwalk/models/base/parameter.hpp"

namespace nestwalk::models {

struct DataPrefetchShape;

class DataPrefetcher {
 public:
  virtual ~DataPrefetcher() = default;
  /// Called for each miss of the cache, and for the first use of a prefetched line. Appends the
  /// lines to fetch, most wanted first; the cache ignores lines that it has, and lines outside the
  /// same page of 4 KiB.
  virtual void look(u64 line, std::vector<u64>& wanted) = 0;

 protected:
  DataPrefetcher() = default;
  DataPrefetcher(const DataPrefetcher&) = default;
  DataPrefetcher& operator=(const DataPrefetcher&) = default;
};

/// One of the prefetchers that there are.
class DataPrefetcherKind {
 public:
  struct Row {
    const char* name;  ///< in presets
    std::unique_ptr<DataPrefetcher> (*make)(const DataPrefetchShape& shape);
  };

  DataPrefetcherKind() : row_(&all().front()) {}
  constexpr explicit DataPrefetcherKind(const Row& row) : row_(&row) {}
  static std::span<const Row> all();

  const char* name() const { return row_->name; }
  std::unique_ptr<DataPrefetcher> make(const DataPrefetchShape& shape) const {
    return row_->make(shape);
  }

 private:
  const Row* row_;
};

struct DataPrefetchShape {
  DataPrefetcherKind policy{};
  u32 degree = 1;
  u32 distance = 1;
  u32 table_rows = 16;
  u32 page_lines = 64;  ///< of the machine: lines of 4 KiB

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"policy", &DataPrefetchShape::policy, Registered{},
            "a prefetcher of the cache: told of misses, and of the first use of a line that was "
            "prefetched"},
        Row{"degree", &DataPrefetchShape::degree, Number{1, 64},
            "lines that the prefetcher asks for at a time, at most"},
        Row{"distance", &DataPrefetchShape::distance, Number{1, 64},
            "how many lines (strides) ahead of the access they are, at most"},
        Row{"table_rows", &DataPrefetchShape::table_rows, Number{1, 4096},
            "pages of 4 KiB that the prefetcher follows at a time, the least recently used of "
            "which "
            "it forgets first"}};
  }
};

}  // namespace nestwalk::models
