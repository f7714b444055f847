// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One process, one pattern.

#include <cmath>

#include "common.hpp"

namespace nestwalk::traces {
namespace {

constexpr Parameter kStrideParameters[] = {
    accesses_parameter(1'000'000),
    bytes_parameter(64 * kMiB),
    {"stride", 4096, 1, kGiB, "bytes from one access to the next; they begin anew at the end"},
    kSize,
    kWritePercent,
    kInstructions,
    kSeed};
constexpr Parameter kSequentialParameters[] = {accesses_parameter(1'000'000),
                                               bytes_parameter(64 * kMiB),
                                               kSize,
                                               kWritePercent,
                                               kInstructions,
                                               kSeed};

void walk(const Values& values, u64 stride, Writer& writer) {
  AccessMaker make(values);
  const u64 size = values["size"];
  const u64 slots = (values["bytes"] + stride - 1) / stride;
  const u64 accesses = values["accesses"];
  const u64 write_percent = values["write_percent"];
  for (u64 n = 0; n < accesses; ++n) {
    const u64 gva = kGvaBase + n % slots * stride;
    writer.append(0, make.read_or_write(gva, write_percent, size));
  }
}

void run_sequential(const Values& values, Writer& writer) { walk(values, values["size"], writer); }
void run_strided(const Values& values, Writer& writer) { walk(values, values["stride"], writer); }

void run_random(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 size = values["size"];
  const u64 slots = values["bytes"] / size;
  const u64 accesses = values["accesses"];
  const u64 write_percent = values["write_percent"];
  for (u64 n = 0; n < accesses; ++n) {
    const u64 gva = kGvaBase + make.random().below(slots) * size;
    writer.append(0, make.read_or_write(gva, write_percent, size));
  }
}

constexpr Parameter kZipfParameters[] = {
    accesses_parameter(1'000'000),
    bytes_parameter(64 * kMiB, kMostTabulated),
    {"skew", 4, 0, 8, "how steep, in quarters: page of rank r is accessed with r^(-skew/4)"},
    kWritePercent,
    kInstructions,
    kSeed};

// Weights by rank, summed up. Only operations that IEEE 754 defines to the bit.
std::vector<u64> zipf_sums(u64 pages, u64 skew) {
  constexpr double kOne = 1 << 30;
  std::vector<u64> sums(pages);
  u64 sum = 0;
  for (u64 rank = 1; rank <= pages; ++rank) {
    double power = 1;
    for (u64 n = 0; n < skew; ++n) power *= static_cast<double>(rank);
    sum += 1 + static_cast<u64>(kOne / std::sqrt(std::sqrt(power)));
    sums[rank - 1] = sum;
  }
  return sums;
}

void run_zipf(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 pages = std::bit_floor(values["bytes"] / kPageBytes);
  const std::vector<u64> sums = zipf_sums(pages, values["skew"]);
  const Arrangement page_of(static_cast<unsigned>(std::countr_zero(pages)), make.random());
  const u64 accesses = values["accesses"];
  const u64 write_percent = values["write_percent"];
  for (u64 n = 0; n < accesses; ++n) {
    const u64 drawn = make.random().below(sums.back());
    const auto rank = std::upper_bound(sums.begin(), sums.end(), drawn) - sums.begin();
    const u64 gva = kGvaBase + page_of(static_cast<u64>(rank)) * kPageBytes +
                    make.random().below(kPageBytes / 8) * 8;
    writer.append(0, make.read_or_write(gva, write_percent));
  }
}

constexpr Parameter kChaseParameters[] = {
    accesses_parameter(1'000'000),
    bytes_parameter(64 * kMiB),
    {"node", 64, 8, kPageBytes, "bytes per list node; a power of two, as the memory becomes"},
    kInstructions,
    kSeed};

void run_chase(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 node = std::bit_floor(values["node"]);
  const u64 nodes = std::bit_floor(values["bytes"] / node);
  const Arrangement node_of(static_cast<unsigned>(std::countr_zero(nodes)), make.random());
  const u64 accesses = values["accesses"];
  for (u64 n = 0; n < accesses; ++n) {
    Access access = make.at(kGvaBase + node_of(n % nodes) * node, AccessKind::Read);
    if (n != 0) access.flags |= kDependent;
    writer.append(0, access);
  }
}

constexpr Parameter kGupsParameters[] = {
    {"updates", 500'000, 1, kMany, "how many words are read, changed and written back"},
    bytes_parameter(64 * kMiB),
    kInstructions,
    kSeed};

u64 gups_accesses(const Values& values) { return 2 * values["updates"]; }

void run_gups(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 words = values["bytes"] / 8;
  const u64 updates = values["updates"];
  for (u64 n = 0; n < updates; ++n) {
    const u64 gva = kGvaBase + make.random().below(words) * 8;
    writer.append(0, make.at(gva, AccessKind::Read));
    writer.append(0, make.at(gva, AccessKind::Write));
  }
}

constexpr Parameter kPhasesParameters[] = {
    {"phases", 4, 1, 1'000'000, "how many working sets there are, one after the other"},
    {"accesses", 250'000, 1, kMany, "accesses per phase"},
    bytes_parameter(4 * kMiB),
    {"growth", 2, 1, 16, "how many times larger each working set is than the one before"},
    kWritePercent,
    kInstructions,
    kSeed};

u64 phases_accesses(const Values& values) { return values["phases"] * values["accesses"]; }

void run_phases(const Values& values, Writer& writer) {
  AccessMaker make(values);
  u64 start = kGvaBase;
  u64 bytes = values["bytes"];
  const u64 phases = values["phases"];
  const u64 accesses = values["accesses"];
  const u64 write_percent = values["write_percent"];
  const u64 growth = values["growth"];
  for (u64 phase = 0; phase < phases; ++phase) {
    writer.append(0, Event{0, PhaseMarker{phase, "working-set"}});
    for (u64 n = 0; n < accesses; ++n) {
      const u64 gva = start + make.random().below(bytes / 8) * 8;
      writer.append(0, make.read_or_write(gva, write_percent));
    }
    start += bytes;
    bytes = std::min(bytes * growth, kTiB);
  }
}

constexpr Parameter kFirstTouchParameters[] = {
    bytes_parameter(kGiB),
    {"step", kPageBytes, 64, kGiB, "bytes from one touch to the next"},
    {"shuffled", 0, 0, 1, "1: in random order"},
    kInstructions,
    kSeed};

u64 touches(const Values& values) { return std::max<u64>(values["bytes"] / values["step"], 1); }

void run_first_touch(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const bool shuffled = values["shuffled"] != 0;
  const u64 count = touches(values);
  // Of the next power of two: the places beyond the memory are left out.
  const auto bits = static_cast<unsigned>(std::bit_width(count - 1));
  const Arrangement place_of(bits, make.random());
  const u64 step = values["step"];
  for (u64 n = 0; n < (shuffled ? u64{1} << bits : count); ++n) {
    const u64 place = shuffled ? place_of(n) : n;
    if (place < count) writer.append(0, make.at(kGvaBase + place * step, AccessKind::Write));
  }
}

}  // namespace

const Generator kSequential{"sequential",          "one word after the other, over and over",
                            kSequentialParameters, kLacksOfGva,
                            accesses_said,         run_sequential};
const Generator kStrided{"strided",         "one access per stride, over and over",
                         kStrideParameters, kLacksOfGva,
                         accesses_said,     run_strided};
const Generator kRandom{
    "random",  "uniformly random words", kSequentialParameters, kLacksOfGva, accesses_said,
    run_random};
const Generator kZipf{"zipf",          "pages by Zipf's law: few hot ones, many cold ones",
                      kZipfParameters, kLacksOfGva,
                      accesses_said,   run_zipf};
const Generator kChase{
    "chase",          "a linked list in random order; each read waits for the one before",
    kChaseParameters, kLacksOfGva,
    accesses_said,    run_chase};
const Generator kGups{"gups",          "random words, each read and written back",
                      kGupsParameters, kLacksOfGva,
                      gups_accesses,   run_gups};
const Generator kPhases{"phases",          "random words of working sets that grow and move",
                        kPhasesParameters, kLacksOfGva,
                        phases_accesses,   run_phases};
const Generator kFirstTouch{"first-touch",
                            "writes each page of fresh memory once",
                            kFirstTouchParameters,
                            kLacksOfGva,
                            touches,
                            run_first_touch};

}  // namespace nestwalk::traces
