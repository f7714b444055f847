// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <map>
#include <optional>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::checker {

using addrspace::u64;

/// Ranges of addresses that do not overlap, by first address.
class AddressSet {
 public:
  void add(u64 first, u64 bytes) {
    remove(first, bytes);
    last_[first] = first + (bytes - 1);
  }
  void remove(u64 first, u64 bytes);
  /// The lowest address of the range that is in the set.
  std::optional<u64> find(u64 first, u64 bytes) const;

 private:
  std::map<u64, u64> last_;
};

}  // namespace nestwalk::checker
