// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/slurm.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <thread>

#include "nestwalk/traces/error.hpp"
#include "program/output.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {

namespace {

namespace fs = std::filesystem;

constexpr double kSecondsPerTask = 300;
constexpr std::size_t kPointsPerTask = 16;  ///< where nobody knows how long they take
constexpr std::size_t kMostTasks = 1000;    ///< Slurm's own limit is 1001, unless it is set

struct Answer {
  int exit_code = 0;
  std::string output;  ///< both streams
};

// A word for a shell.
std::string shell_word(const std::string& word) {
  std::string text = "'";
  for (const char letter : word) text.append(letter == '\'' ? "'\\''" : std::string(1, letter));
  return text + "'";
}

Answer ask(const std::string& command) {
  FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::system_error(errno, std::generic_category(), command);
  Answer answer;
  char part[4096];
  while (const std::size_t count = std::fread(part, 1, sizeof part, pipe)) {
    answer.output.append(part, count);
  }
  const int status = pclose(pipe);
  answer.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  while (!answer.output.empty() && answer.output.back() == '\n') answer.output.pop_back();
  return answer;
}

}  // namespace

SlurmSweep::SlurmSweep(const SweepPoints& points, std::string results, SlurmWanted wanted)
    : points_(points),
      results_(fs::absolute(results).lexically_normal().string()),
      folder_(results_ + ".parts"),
      wanted_(std::move(wanted)) {}

std::size_t SlurmSweep::collect() {
  ResultsFile results(results_, ResultsFile::Access::Write);
  std::error_code none;
  for (const fs::directory_entry& each : fs::directory_iterator(folder_, none)) {
    if (each.path().extension() != ".sqlite") continue;
    try {
      results.merge(each.path().string());
    } catch (const traces::InputError& error) {
      // Of a task that ended before it had written anything, or another sweep's.
      warn(error.what());
    } catch (const traces::OutputError& error) {
      warn(error.what());
    }
  }
  return results.to_try(points_.spec().name);
}

std::size_t SlurmSweep::tasks_for(std::size_t points) const {
  std::size_t per_task = wanted_.points_per_task;
  if (per_task == 0) {
    ResultsFile results(results_, ResultsFile::Access::Read);
    const double seconds = results.seconds_of_runs().value_or(kSecondsPerTask / kPointsPerTask);
    per_task = static_cast<std::size_t>(std::max(1.0, kSecondsPerTask / std::max(seconds, 1e-3)));
  }
  return std::clamp<std::size_t>((points + per_task - 1) / per_task, 1, kMostTasks);
}

std::string SlurmSweep::submit(std::size_t to_try) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw traces::OutputError(folder_, error.value());
  const std::string spec = folder_ + "/spec.json";
  const std::string script = folder_ + "/task.sh";
  const std::size_t tasks = tasks_for(to_try);
  write_text(spec, json_document(as_json(points_.spec(), FileNames::Whole)));
  // Each attempt of a task has a file of its own: one that was requeued may still be writing.
  std::string text =
      "#!/bin/sh\nexec " + shell_word(fs::read_symlink("/proc/self/exe").string()) + " sweep " +
      shell_word(spec) + " --shard $((SLURM_ARRAY_TASK_ID + 1))/" + std::to_string(tasks) +
      " --known " + shell_word(results_) + " --jobs \"${SLURM_CPUS_ON_NODE:-1}\"" +
      (wanted_.any_build ? " --any-build" : "") + " --output " + shell_word(folder_) +
      "/\"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_"
      "${SLURM_RESTART_COUNT:-0}.sqlite\"\n";
  write_text(script, text);
  std::string command = "sbatch --parsable --requeue --job-name=nestwalk-sweep --output=" +
                        shell_word(folder_ + "/%A_%a.log") + " --open-mode=append";
  for (const std::string& option : wanted_.options) command += " " + option;
  command += " --array=0-" + std::to_string(tasks - 1) + " " + shell_word(script);
  const Answer answer = ask(command);
  if (answer.exit_code != 0) throw NoResult(kIncomplete, "sbatch: " + answer.output);
  // "ID" or "ID;CLUSTER".
  return answer.output.substr(0, answer.output.find(';'));
}

bool SlurmSweep::wait_for(const std::string& job) {
  const Interruptible guard;
  for (;;) {
    const Answer answer = ask("squeue --noheader --array --format=%i --jobs=" + job);
    const auto left =
        static_cast<std::size_t>(std::count(answer.output.begin(), answer.output.end(), '\n')) +
        !answer.output.empty();
    // A job that Slurm has forgotten is over; a controller that does not answer is asked again.
    const bool forgotten = answer.output.find("Invalid job id") != answer.output.npos;
    if (forgotten || (answer.exit_code == 0 && left == 0)) return true;
    for (int tenths = 0; tenths < 20; ++tenths) {
      if (interrupted()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

bool SlurmSweep::run() {
  std::size_t to_try = collect();
  for (unsigned attempt = 0; to_try != 0; ++attempt) {
    if (attempt == wanted_.attempts) return false;
    const std::string job = submit(to_try);
    complain("job " + job + ": " + std::to_string(to_try) + " points in " +
             std::to_string(tasks_for(to_try)) + " tasks, in " + folder_);
    if (!wanted_.wait) return true;
    if (!wait_for(job)) {
      warn("interrupted: the job goes on; scancel " + job +
           " ends it, and the same command takes what it made");
      return false;
    }
    to_try = collect();
  }
  std::error_code none;
  fs::remove_all(folder_, none);
  return true;
}

}  // namespace nestwalk::sim
