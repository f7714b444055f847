// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What was measured on a machine: curves of dependent loads over footprints, as points. The file
// of a machine (bench/machines/NAME.json) is this as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nestwalk/addrspace/address.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {

using addrspace::u64;

/// What a point is the time of.
enum class Probe {
  Lines,    ///< a load of a list with a node in each line of 64 bytes, in random order
  Pages,    ///< a load of a list with a node in each page
  Overlap,  ///< a load of several lists of lines that are followed at once
  Read,     ///< a line of a stream that is read
  Zero      ///< a line of a stream that is zeroed
};

struct Point {
  Probe probe = Probe::Lines;
  u64 page_bytes = 4096;
  u64 bytes = 0;  ///< that are touched: a power of two
  u64 chains = 1;
  bool operator==(const Point&) const = default;
};
/// "lines": as the files of machines have it.
const char* name_of(Probe probe);
/// "lines 4K 16M", as tables have it.
std::string text_of(const Point& point);
/// Only these are simulated.
inline bool is_chase(const Point& point) {
  return point.probe == Probe::Lines || point.probe == Probe::Pages;
}
/// Footprints of chases from 16 KiB to `most`, with 4K, 2M and, if `huge`, 1G pages; overlap of a
/// part of it; streams.
std::vector<Point> usual_points(u64 most, bool huge);

struct Quantiles {
  double p25 = 0, p50 = 0, p90 = 0;
};

struct MeasuredPoint {
  Point point;
  double ns = 0;  ///< the least of all samples
  std::optional<Quantiles> quantiles;
  u64 samples = 1;
  std::optional<double> tlb_misses;  ///< of a load, as the kernel counts them
};

/// The note where it is neither known to be native nor a VM.
inline constexpr const char* kUnknownEnvironment =
    "unknown whether this is a VM, taken for native: --environment says it";

/// A cache, as the processor itself describes it.
struct KnownCache {
  std::string name;  ///< as in presets: l1d, l2, l3
  u64 sets = 0, ways = 0;
};

struct MeasuredMachine {
  std::string name;
  std::string cpu;
  std::string vendor;  ///< as CPUID says it; empty if it is not known
  u64 family = 0;
  u64 model = 0;
  u64 clock_mhz = 0;  ///< while it was measured; 0 if that is not known
  bool is_virtual = false;
  std::string hypervisor;  ///< of a VM, if it is known
  /// As somebody says who knows it.
  void set_environment(bool is_in_vm);
  std::string date;
  std::string load;                ///< of the machine meanwhile
  std::vector<std::string> notes;  ///< what was left out, and why
  std::vector<KnownCache> caches;
  std::vector<MeasuredPoint> points;
  bool has_medians = false;  ///< in the place of the least times

  /// Where there are quantiles: on a machine that others share, what is usual.
  /// False if no point has any.
  bool use_medians();
  const MeasuredPoint* find(const Point& point) const;
  /// Null if it is not known.
  const KnownCache* cache(const std::string& wanted) const;
};

Json as_json(const MeasuredMachine& machine);
/// Throws traces::InputError.
MeasuredMachine read_measured(const std::string& file);

}  // namespace nestwalk::sim
