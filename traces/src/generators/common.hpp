// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the generators share.
#pragma once

#include "nestwalk/traces/generator.hpp"
#include "nestwalk/traces/random.hpp"

namespace nestwalk::traces {

inline constexpr u64 kKiB = addrspace::kKiB;
inline constexpr u64 kMiB = addrspace::kMiB;
inline constexpr u64 kGiB = addrspace::kGiB;
inline constexpr u64 kTiB = addrspace::kTiB;
inline constexpr u64 kMany = u64{1} << 40;

/// The most memory of generators that keep a number for each page of it.
inline constexpr u64 kMostTabulated = 16 * kGiB;

/// Where the generated data lies.
inline constexpr u64 kGvaBase = u64{1} << 36;
inline constexpr u64 kGpaBase = kGiB;

inline constexpr u64 kLacksOfGva =
    kNoGpa | kNoHpa | kNoFetches | kNoSpaces | kNoFences | kNoHypervisor;
inline constexpr u64 kLacksOfGpa = kNoHpa | kNoFetches;

// Rows that most generators have.
inline constexpr Parameter kSeed{"seed", 1, 0, ~u64{0}, "what the random numbers start from"};
inline constexpr Parameter kInstructions{"instructions", 3, 0, 1000,
                                         "instructions from one access to the next"};
inline constexpr Parameter kWritePercent{"write_percent", 25, 0, 100, "how many accesses write"};
inline constexpr Parameter kSize{"size", 8, 1, 64, "bytes per access"};

constexpr Parameter accesses_parameter(u64 value) {
  return {"accesses", value, 1, kMany, "how many accesses there are"};
}
constexpr Parameter bytes_parameter(u64 value, u64 most = kTiB) {
  return {"bytes", value, kPageBytes, most, "the memory that is accessed"};
}

inline u64 accesses_said(const Values& values) { return values["accesses"]; }

/// Makes accesses with the common parameters.
class AccessMaker {
 public:
  explicit AccessMaker(const Values& values) : AccessMaker(values, values["seed"]) {}
  AccessMaker(const Values& values, u64 seed)
      : random_(seed), instructions_(static_cast<u32>(values["instructions"])) {}

  Random& random() { return random_; }

  Access at(u64 gva, AccessKind kind, u64 size = 8) const {
    return {Gva(gva), Gpa(), Hpa(), instructions_, static_cast<u16>(size), kind, kGvaKnown};
  }
  Access read_or_write(u64 gva, u64 write_percent, u64 size = 8) {
    return at(gva, random_.percent(write_percent) ? AccessKind::Write : AccessKind::Read, size);
  }

 private:
  Random random_;
  u32 instructions_;
};

/// The access, in the frame at `gpa` (the address of the byte itself).
inline Access with_gpa(Access access, u64 gpa) {
  access.gpa = Gpa(gpa);
  access.flags |= kGpaKnown;
  return access;
}

/// A fixed arrangement of the numbers below 2^bits that looks random: each appears once.
class Arrangement {
 public:
  Arrangement(unsigned bits, Random& random)
      : bits_(bits), mask_(addrspace::low_mask(bits)), key_(random.next()) {}

  u64 operator()(u64 value) const {
    for (int round = 0; round < 3; ++round) {
      value = (value * 0x9E3779B97F4A7C15 + key_) & mask_;  // odd: no two values become one
      value ^= value >> (bits_ + 1) / 2;
    }
    return value;
  }

 private:
  unsigned bits_;
  u64 mask_;
  u64 key_;
};

extern const Generator kSequential, kStrided, kRandom, kZipf, kChase, kGups, kPhases, kFirstTouch,
    kFork, kProcesses, kSmp, kMigration, kUnmapStorm, kStorm;

}  // namespace nestwalk::traces
