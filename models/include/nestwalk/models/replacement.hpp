// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How the entries of one set take turns. A policy is one file in replacement/; a new one adds a
// line to `make_replacement` and to `kReplacementNames`.
#pragma once

#include <memory>

#include "nestwalk/models/time.hpp"

namespace nestwalk::models {

enum class ReplacementKind : u8 { Lru, TreePlru, Random };
inline constexpr const char* kReplacementNames[] = {"lru", "tree-plru", "random"};

class Replacement {
 public:
  virtual ~Replacement() = default;
  /// The entry was used, or just filled.
  virtual void touch(u32 set, u32 way) = 0;
  /// Whose turn it is, all being in use.
  virtual u32 victim(u32 set) = 0;
  /// The set will be asked about soon: for the host's caches.
  virtual void prefetch(u32 /*set*/) const {}

 protected:
  Replacement() = default;
  Replacement(const Replacement&) = default;
  Replacement& operator=(const Replacement&) = default;
};

/// `seed` is for those that draw lots.
std::unique_ptr<Replacement> make_replacement(ReplacementKind kind, u32 sets, u32 ways, u64 seed);

}  // namespace nestwalk::models
