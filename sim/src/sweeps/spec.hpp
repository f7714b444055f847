// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A sweep as a user describes it, and its points: each is a trace, a preset, a policy, and a value
// for each parameter that varies.
#pragma once

#include "configuration/configuration_options.hpp"
#include "sweeps/axis.hpp"

namespace nestwalk::sim {

/// How axes make points.
enum class Design { Product, Zip, LatinHypercube };

struct SweepSpec {
  std::string name = "sweep";
  std::vector<std::string> traces;
  std::vector<std::string> presets;  ///< one is enough where a file has a machine
  bool presets_chosen = true;
  std::vector<std::string> policies;
  std::vector<std::string> files;  ///< as --config
  std::vector<Setting> settings;   ///< of all points
  std::vector<Axis> axes;
  Design design = Design::Product;
  std::size_t samples = 0;  ///< of a Latin hypercube, for each trace, preset and policy
  addrspace::u64 seed = 1;
};

struct SweepPoint {
  std::string trace;
  std::string preset;
  std::string policy;
  std::vector<std::pair<std::string, std::string>> varied;  ///< paths and values
};

inline constexpr std::size_t kMostPoints = 1'000'000;

/// Over what is there. Traces and other files are relative to the file. Throws InputError and
/// UsageError.
void read_spec(const std::string& file, SweepSpec& spec);

/// The points of a sweep, by their numbers.
class SweepPoints {
 public:
  /// Throws UsageError where there are none, too many, or axes of different lengths go side by
  /// side.
  explicit SweepPoints(SweepSpec spec);

  std::size_t size() const { return size_; }
  SweepPoint at(std::size_t number) const;
  /// All paths that vary, in the order of the axes.
  std::vector<std::string> paths() const;
  /// Without a policy, the preset's and the settings' own. Throws UsageError.
  Configuration configuration_of(const SweepPoint& point) const;
  const SweepSpec& spec() const { return spec_; }

 private:
  std::size_t steps() const;
  std::size_t row_of(std::size_t axis, std::size_t step) const;

  SweepSpec spec_;
  std::size_t size_ = 0;
  std::vector<std::vector<std::size_t>> orders_;  ///< of a Latin hypercube: for each axis, strata
};

/// How files are called: alike on all machines, or from everywhere on this one.
enum class FileNames { Last, Whole };
/// As read_spec reads it.
Json as_json(const SweepSpec& spec, FileNames names);
/// "zen4 lazy, tlb.second.arrays.0.ways=8": what differs among the points.
std::string name_of(const SweepPoint& point, const SweepSpec& spec);

}  // namespace nestwalk::sim
