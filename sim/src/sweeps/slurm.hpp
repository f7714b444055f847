// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A sweep as a job array of Slurm: each task makes a part of the runs, into a file of its own.
#pragma once

#include "program/exit_code.hpp"
#include "sweeps/results_file.hpp"

namespace nestwalk::sim {

struct SlurmWanted {
  std::vector<std::string> options;  ///< of sbatch
  std::size_t points_per_task = 0;   ///< 0: as many as take some minutes
  unsigned attempts = 3;
  bool wait = true;
  bool any_build = false;
};

/// Submits what is to be tried, waits, merges, and submits again what is open then. The parts are
/// in the folder `results.parts`, which is removed when nothing is open. Throws NoResult where
/// Slurm refuses.
class SlurmSweep {
 public:
  SlurmSweep(const SweepPoints& points, std::string results, SlurmWanted wanted);

  /// Takes what parts there are. Returns how many points are to be tried.
  std::size_t collect();
  struct Job {
    std::string number;
    std::string cluster;  ///< empty: the one that is asked by default
  };
  Job submit(std::size_t to_try);
  /// The job that was submitted before, if Slurm still has tasks of it.
  std::optional<Job> running_job() const;
  /// False: interrupted.
  [[nodiscard]] bool wait_for(const Job& job);
  /// All of it, as often as there are attempts. Returns whether nothing is left to try.
  [[nodiscard]] bool run();
  const std::string& folder() const { return folder_; }

 private:
  std::size_t tasks_for(std::size_t points) const;

  const SweepPoints& points_;
  std::string results_;
  std::string folder_;
  SlurmWanted wanted_;
};

}  // namespace nestwalk::sim
