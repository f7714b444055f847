// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Results of sweeps, in a file of SQLite that anybody can read.
#pragma once

#include "comparisons/cases.hpp"
#include "sweeps/database.hpp"
#include "sweeps/spec.hpp"

namespace nestwalk::sim {

/// What makes two runs the same.
struct RunKey {
  std::string key;    ///< a digest of configuration, trace and version
  std::string build;  ///< a digest of the program
};

enum class RunState { Done, EndedEarly, Failed };

/// A run that was made, for the file.
struct FinishedRun {
  RunKey key;
  std::string trace;         ///< its name
  std::string trace_digest;  ///< of what is in it
  RunState state = RunState::Failed;
  std::string reason;  ///< why it is not done
  ExitCode exit_code = kDone;
  std::string core;
  UsedValues values;
  Json configuration;  ///< resolved; null if that failed
  Json statistics;     ///< by name
  double host_seconds = 0;
};

struct SweepCounts {
  std::size_t points = 0;
  std::size_t done = 0;
  std::size_t ended_early = 0;
  std::size_t failed = 0;
  std::size_t open() const { return points - done - ended_early - failed; }
};

class ResultsFile {
 public:
  using Access = Database::Access;
  using RunId = std::int64_t;
  /// How what is being written is kept apart: ahead of the file, which others can read meanwhile;
  /// or so that after a failure any host can read it without writing, as parts on shared folders
  /// are.
  enum class Journal { WriteAhead, Rollback };

  /// `Write` makes the file if it is not there, and keeps other sweeps from writing it. Throws
  /// UsageError, InputError, OutputError.
  ResultsFile(const std::string& file, Access access, Journal journal = Journal::WriteAhead);
  ~ResultsFile();
  ResultsFile(const ResultsFile&) = delete;
  ResultsFile& operator=(const ResultsFile&) = delete;

  /// Makes a sweep, whose points have no runs, or takes the place of one with this name. Runs stay.
  /// Returns whether that was another one.
  bool put_sweep(const SweepPoints& points);
  /// Which run a point is.
  void put_key(const std::string& sweep, std::size_t number, const std::string& key);
  /// Points of this key have this run.
  void link(const std::string& key, RunId run);
  /// Each point of a sweep has the run of its key, or none. `build`: of this one, unless empty.
  void link(const std::string& sweep, const std::string& build);
  /// A run that need not be made again: with `any_build`, of another build of the program.
  std::optional<RunId> find(const RunKey& key, bool any_build);
  /// How many runs there are of this key, by other builds.
  std::size_t of_other_builds(const RunKey& key);
  /// Over what is there of this key and build.
  RunId put_run(const FinishedRun& run);
  /// All runs of another file; and its sweeps, of which those with the same name must be the same.
  /// Throws InputError.
  enum class Merge { Runs, All };
  void merge(const std::string& file, Merge what);
  Transaction transaction() { return Transaction(database_); }

  std::vector<std::string> sweeps();
  /// Points for which there is reason to try (again).
  std::size_t to_try(const std::string& sweep);
  /// How long a run took, on the average.
  std::optional<double> seconds_of_runs();
  /// Of all points, or of those of a shard.
  SweepCounts counts_of(const std::string& sweep, std::size_t shard = 0, std::size_t shards = 1);
  /// A case for each point that has a run, with what varies; in the order of the points.
  std::vector<Case> cases_of(const std::string& sweep);

 private:
  std::string lock_name() const;
  void merge_attached(const std::string& file, Merge what);
  void lock();

  Database database_;
  int lock_ = -1;
};

}  // namespace nestwalk::sim
