// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where the cycles of all accesses went, by the pages that they were to, as `perf report` does by
// function.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "nestwalk/models/base/json.hpp"
#include "replay/causes.hpp"

namespace nestwalk::sim {

struct HotSpot {
  addrspace::u64 begin = 0;  ///< of the addresses
  addrspace::u64 accesses = 0;
  CauseCycles cycles;
};

/// Listens to any number of vCPUs. Takes memory for each page that is touched.
class HotSpots final : public software::AccessListener {
 public:
  /// Pages of 2^shift bytes. Accesses of each vCPU before the `first` do not count.
  HotSpots(unsigned shift, addrspace::u64 first) : shift_(shift), first_(first) {}

  addrspace::u64 next_wanted(addrspace::u64 number) override { return std::max(number, first_); }
  void on_story(const software::AccessStory& story) override;

  /// So many, those with most cycles first; of equal ones, the lower address.
  std::vector<HotSpot> hottest(std::size_t count) const;
  /// Of all.
  HotSpot all() const;
  std::size_t pages() const { return spots_.size(); }

 private:
  unsigned shift_;
  addrspace::u64 first_;
  std::unordered_map<addrspace::u64, HotSpot> spots_;
};

/// Sizes of pages that can be asked for: "4K", "64K", "2M", "1G".
std::vector<std::string> hot_spot_sizes();
unsigned shift_of(const std::string& size);

std::string as_text(const HotSpots& spots, std::size_t count, const std::string& size);
models::Json as_json(const HotSpots& spots, std::size_t count, const std::string& size);

}  // namespace nestwalk::sim
