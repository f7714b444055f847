// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// TLB prefetchers: which translations will be missed soon. A prefetcher is one file in
// prefetchers/, and its row in tlb_prefetcher.cpp. It only names pages; prefetch_queue.hpp walks
// for them.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "nestwalk/models/base/parameter.hpp"
#include "nestwalk/models/translation/rights.hpp"

namespace nestwalk::models {

struct TlbPrefetchShape;

/// A lookup that ended with a translation.
struct TlbLookup {
  enum class Found : u8 {
    FirstLevel,
    SecondLevel,
    PrefetchBuffer,  ///< a miss of the last TLB level, as the next one
    ByWalk,
  };
  u64 page = 0;   ///< address of the first byte of what the last TLB level holds
  u8 shift = 0;   ///< log2 of its size
  u16 space = 0;  ///< number of the address space's tags
  AccessKind access = AccessKind::Read;
  Found found = Found::ByWalk;
};

class TlbPrefetcher {
 public:
  virtual ~TlbPrefetcher() = default;
  /// Appends addresses whose translations it wants, of the same address space, most wanted first.
  /// Those that the TLB has are left out by the caller.
  virtual void look(const TlbLookup& lookup, std::vector<u64>& wanted) = 0;

 protected:
  TlbPrefetcher() = default;
  TlbPrefetcher(const TlbPrefetcher&) = default;
  TlbPrefetcher& operator=(const TlbPrefetcher&) = default;
};

/// One of the prefetchers that there are.
class TlbPrefetcherKind {
 public:
  /// Which lookups it is told of. Runs of hits are simulated faster if it does not want them.
  enum class Wants : u8 { Misses, HitsToo };
  struct Row {
    const char* name;  ///< in presets
    Wants wants;
    /// Null: there is no prefetcher.
    std::unique_ptr<TlbPrefetcher> (*make)(const TlbPrefetchShape& shape);
  };

  TlbPrefetcherKind() : row_(&all().front()) {}
  constexpr explicit TlbPrefetcherKind(const Row& row) : row_(&row) {}
  /// None comes first.
  static std::span<const Row> all();
  /// The one of that name, which is there.
  static TlbPrefetcherKind called(std::string_view name);

  const char* name() const { return row_->name; }
  bool present() const { return row_->make != nullptr; }
  bool wants_hits() const { return row_->wants == Wants::HitsToo; }
  std::unique_ptr<TlbPrefetcher> make(const TlbPrefetchShape& shape) const {
    return row_->make(shape);
  }

 private:
  const Row* row_;
};

struct TlbPrefetchShape {
  TlbPrefetcherKind policy{};
  u32 degree = 1;
  u32 buffer_entries = 16;
  u32 table_rows = 256;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"policy", &TlbPrefetchShape::policy, Registered{},
            "TLB prefetcher of each core; the page walkers translate what it asks for in the "
            "background"},
        Row{"degree", &TlbPrefetchShape::degree, Number{1, 16},
            "pages that the TLB prefetcher asks for at a miss, at most", kInPages},
        Row{"buffer_entries", &TlbPrefetchShape::buffer_entries, Number{1, 4096},
            "translations in the prefetch buffer, which is looked up with the last TLB level, and "
            "page walks that may wait for a free walker",
            kInEntries},
        Row{"table_rows", &TlbPrefetchShape::table_rows, PowerOfTwo{1, 1 << 16},
            "rows of the TLB prefetcher's table, if it has one"}};
  }
};

}  // namespace nestwalk::models
