// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/data_prefetcher.hpp"

#include "nestwalk/models/memory/prefetchers/adjacent_line.hpp"
#include "nestwalk/models/memory/prefetchers/next_line.hpp"
#include "nestwalk/models/memory/prefetchers/stream.hpp"
#include "nestwalk/models/memory/prefetchers/stride.hpp"

namespace nestwalk::models {
namespace {

template <class Prefetcher>
std::unique_ptr<DataPrefetcher> made(const DataPrefetchShape& shape) {
  return std::make_unique<Prefetcher>(shape);
}

/// Add new prefetchers at the end.
constexpr DataPrefetcherKind::Row kRows[] = {
    {NextLine::kName, made<NextLine>},
    {AdjacentLine::kName, made<AdjacentLine>},
    {StridePrefetcher::kName, made<StridePrefetcher>},
    {StreamPrefetcher::kName, made<StreamPrefetcher>},
};

}  // namespace

std::span<const DataPrefetcherKind::Row> DataPrefetcherKind::all() { return kRows; }

}  // namespace nestwalk::models
