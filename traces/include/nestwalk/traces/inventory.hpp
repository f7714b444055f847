// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a container holds, by its sections, against what its index and its footer say.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "nestwalk/traces/block.hpp"
#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {

/// Is told of the sections in the order of the file, and throws an InputError when one contradicts
/// those before it.
class Inventory {
 public:
  /// Whether index and footer have to agree with the blocks; where blocks were lost, they cannot.
  enum class Index { Compare, Ignore };

  explicit Inventory(u32 vcpus) : vcpus_(vcpus) {}

  void check_block(const Place& place, const BlockHeader& block) const;
  /// A salvaging reader adds blocks that failed the check, too.
  void add_block(const Place& place, const BlockHeader& block);
  void add_side_data(const Place& place);
  void add_index(const Place& place, std::span<const u8> payload, Index index);
  void add_footer(const Place& place, std::span<const u8> payload, Index index);

  const std::vector<IndexEntry>& blocks() const { return blocks_; }
  const Totals& totals() const { return totals_; }

 private:
  void expect_no_index(const Place& place, const char* found) const;

  u32 vcpus_;
  std::vector<IndexEntry> blocks_;
  Totals totals_;
  std::unordered_map<u32, u64> records_;  ///< by vCPU
  std::optional<u64> index_offset_;
};

/// Fails at the place unless a block or side data is of a vCPU that the header declares.
void check_vcpu(const Place& place, u32 vcpu, u32 vcpus);

}  // namespace nestwalk::traces
