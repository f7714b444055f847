// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Other values for the guesses of a machine: a Latin hypercube over their ranges.
#pragma once

#include "configuration/configuration.hpp"

namespace nestwalk::sim {

/// A number of a machine that is a guess, and the range in which it is varied.
struct Guess {
  std::string path;  ///< as in models::PresetSource
  addrspace::u64 value, least, most;
  bool power_of_two;
  bool has_own_range;  ///< of the preset; otherwise from half to twice its value
};

/// Those of a machine; and how many stay as they are, and why.
struct Guesses {
  std::vector<Guess> varied;
  unsigned words = 0;
  unsigned of_user = 0;  ///< set without a range: somebody decided it
  unsigned zeros = 0;    ///< without a range: half of it and twice it are 0

  unsigned with_range() const;
  unsigned total() const { return static_cast<unsigned>(varied.size()) + words + of_user + zeros; }
};

/// Throws models::PresetError.
Guesses guesses_of(const Configuration& configuration);

inline constexpr addrspace::u64 kMostDraws = 1000;
/// Parts into which each stratum of a draw is divided.
inline constexpr addrspace::u64 kStratumParts = 1 << 16;

/// The value at a place of the range, which has `parts` parts: half of them are for values up to
/// the guess itself, half for those from it on. Of a guess at an end of its range, all values have
/// as many parts. Powers of two are counted by their exponents.
addrspace::u64 value_at(const Guess& guess, addrspace::u64 part, addrspace::u64 parts);

/// A value for each guess, from the wanted ones, with which no machine is refused. A value with
/// which one would be, but not with those before it alone, becomes the nearest on the way to the
/// guess itself with which none is. The machines are copies of `before` under policies, whose own
/// values stay; those that are refused without a draw decide nothing.
std::vector<addrspace::u64> permitted_values(const std::vector<Guess>& guesses,
                                             std::vector<addrspace::u64> wanted,
                                             const Configuration& before,
                                             std::vector<Configuration> machines);

/// Places in ranges of so many times kStratumParts parts, one for each draw: one in each stratum,
/// in an order that depends on the seed and the names alone.
std::vector<addrspace::u64> places_of(const std::string& machine, const Guess& guess,
                                      unsigned draws, addrspace::u64 seed);

}  // namespace nestwalk::sim
