// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/tlb_prefetcher.hpp"

#include <algorithm>
#include <iterator>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/translation/prefetchers/distance.hpp"
#include "nestwalk/models/translation/prefetchers/next_page.hpp"

namespace nestwalk::models {
namespace {

using Wants = TlbPrefetcherKind::Wants;

template <class Prefetcher>
std::unique_ptr<TlbPrefetcher> made(const TlbPrefetchShape& shape) {
  return std::make_unique<Prefetcher>(shape);
}

/// Add new prefetchers at the end.
constexpr TlbPrefetcherKind::Row kRows[] = {
    {"none", Wants::Misses, nullptr},
    {NextPage::kName, Wants::Misses, made<NextPage>},
    {DistancePrefetcher::kName, Wants::Misses, made<DistancePrefetcher>},
};

}  // namespace

std::span<const TlbPrefetcherKind::Row> TlbPrefetcherKind::all() { return kRows; }

TlbPrefetcherKind TlbPrefetcherKind::called(std::string_view name) {
  const Row* const row = std::find_if(std::begin(kRows), std::end(kRows),
                                      [&](const Row& each) { return each.name == name; });
  check(row != std::end(kRows), "TLB prefetchers", "a name that is in the list", 0, 0);
  return TlbPrefetcherKind(*row);
}

}  // namespace nestwalk::models
