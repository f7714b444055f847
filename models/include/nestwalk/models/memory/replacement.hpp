// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How the entries of one set take turns. A policy is one file in replacement/, and its row in
// replacement.cpp. What it remembers of a set is some words
// that lie beside the keys of the set; the lowest bits of the first one are the way that was used
// last, whatever the policy.
#pragma once

#include <memory>
#include <span>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

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

/// One of the policies that there are.
class ReplacementKind {
 public:
  struct Row {
    const char* name;  ///< in presets
    /// `seed` starts the random numbers of policies that use some.
    std::unique_ptr<Replacement> (*make)(u32 ways, u64 seed);
  };
  static const ReplacementKind Lru, TreePlru, Random;

  constexpr explicit ReplacementKind(const Row& row) : row_(&row) {}
  static std::span<const Row* const> all();

  const char* name() const { return row_->name; }
  std::unique_ptr<Replacement> make(u32 ways, u64 seed) const { return row_->make(ways, seed); }
  friend constexpr bool operator==(ReplacementKind, ReplacementKind) = default;

 private:
  const Row* row_;
};

/// The policies that C++ code refers to. Presets find all of them, in the list.
extern const ReplacementKind::Row kLru, kTreePlru, kRandom;
inline constexpr ReplacementKind ReplacementKind::Lru{kLru};
inline constexpr ReplacementKind ReplacementKind::TreePlru{kTreePlru};
inline constexpr ReplacementKind ReplacementKind::Random{kRandom};

}  // namespace nestwalk::models
