// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Makes the runs of a sweep, each in a process of its own, and puts each into the file when it is
// over. Runs that are there are not made again.
#pragma once

#include <map>

#include "program/children.hpp"
#include "sweeps/results_file.hpp"

namespace nestwalk::sim {

/// Of n parts of a sweep, the one that has this number (from 0): every n-th point.
struct Shard {
  std::size_t number = 0;
  std::size_t of = 1;
};

/// What a sweep would do, or did.
struct SweepOutcome {
  std::size_t there = 0;        ///< points whose runs were there already
  std::size_t other_build = 0;  ///< runs that are made again, since another build made them
  std::size_t made = 0;         ///< runs, now
  bool interrupted = false;
};

class Sweep {
 public:
  /// Reads the headers of traces. Throws InputError; and what is wrong with the first point, if no
  /// point can be run.
  explicit Sweep(const SweepPoints& points);

  /// Points get the runs that the file has. Runs that are in files elsewhere are not made, and
  /// their points have no run here.
  void plan(ResultsFile& results, const Shard& shard, bool any_build,
            const std::vector<std::unique_ptr<ResultsFile>>& elsewhere = {});
  /// How many runs are to be made: one for all points that are the same.
  std::size_t open() const { return open_.size(); }
  const SweepOutcome& outcome() const { return outcome_; }
  /// Runs what is open.
  void run(ResultsFile& results, unsigned at_a_time);

 private:
  struct Trace {
    traces::Header header;
    std::string digest;
  };
  struct Prepared {
    std::optional<Configuration> configuration;  ///< not resolved; nothing if it cannot be
    Failure failure = {};                        ///< then
    RunKey key = {};
  };
  struct Open {
    std::size_t point;
    RunKey key;
  };

  Prepared prepare(std::size_t number) const;
  FinishedRun finished(const Open& open, const ChildResult& result) const;

  const SweepPoints& points_;
  std::map<std::string, Trace> traces_;
  std::string build_;
  std::vector<Open> open_;
  SweepOutcome outcome_;
};

/// A digest of what is in a trace, by the checksums of its parts.
std::string digest_of_trace(const std::string& file);
/// A digest of the program that runs.
std::string digest_of_build();

}  // namespace nestwalk::sim
