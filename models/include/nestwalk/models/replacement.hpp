// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How the entries of one set take turns. A policy is one file in replacement/; a new one adds a
// line to `make_replacement` and to `kReplacementNames`. What it remembers of a set is some words
// that lie beside the keys of the set; the lowest bits of the first one are the way that was used
// last, whatever the policy.
#pragma once

#include <memory>

#include "nestwalk/models/time.hpp"

namespace nestwalk::models {

enum class ReplacementKind : u8 { Lru, TreePlru, Random };
inline constexpr const char* kReplacementNames[] = {"lru", "tree-plru", "random"};

class Replacement {
 public:
  virtual ~Replacement() = default;
  /// For each set.
  u32 words() const { return words_; }
  /// Of the first word, where the way is that was used last.
  u32 latest_mask() const { return latest_mask_; }
  /// The words of a new set; they are zero.
  virtual void prepare(u64* /*turns*/) const {}
  /// The entry was used, or just filled.
  virtual void touch(u64* turns, u32 way) const = 0;
  /// Whose turn it is, all being in use. That is a use, too: something takes its place.
  virtual u32 take_turn(u64* turns) = 0;

 protected:
  Replacement(u32 words, u32 latest_mask) : words_(words), latest_mask_(latest_mask) {}
  Replacement(const Replacement&) = default;
  Replacement& operator=(const Replacement&) = default;

 private:
  u32 words_;
  u32 latest_mask_;
};

/// `seed` is for those that draw lots.
std::unique_ptr<Replacement> make_replacement(ReplacementKind kind, u32 ways, u64 seed);

}  // namespace nestwalk::models
