// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How the entries of one set take turns. A policy is one file in replacement/, and its row in
// replacement.cpp. What it remembers of a set is some words
// that lie beside the keys of the set. The lowest bits of the first one are a way whose use would
// change nothing: whatever the policy, the one that was used last, unless that was its fill and the
// policy tells fills and hits apart.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

class Replacement {
 public:
  virtual ~Replacement() = default;
  /// For each set.
  u32 words() const { return words_; }
  /// Of the first word, where the way is whose use would change nothing.
  u32 latest_mask() const { return latest_mask_; }
  /// The words of a new set, which are zero. Sets are made in their order.
  virtual void prepare(u64* /*turns*/, u32 /*set*/, u32 /*sets*/) const {}
  /// The entry was used.
  virtual void touch(u64* turns, u32 way) const = 0;
  /// An empty way was filled.
  virtual void fill(u64* turns, u32 way) { touch(turns, way); }
  /// Whose turn it is, all being in use. Something takes its place at once.
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
  static ReplacementKind called(std::string_view name);

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
