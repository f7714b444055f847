// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/slurm.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>
#include <thread>

#include "nestwalk/traces/error.hpp"
#include "program/output.hpp"
#include "program/signals.hpp"
#include "sweeps/sweep.hpp"

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

std::string file_name_of(const std::string& name) {
  std::string text = name;
  for (char& letter : text) {
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '-') letter = '_';
  }
  return text;
}

// How many tasks of the job Slurm has; nothing if it does not answer.
std::optional<std::size_t> tasks_of(const SlurmSweep::Job& job) {
  std::string command = "squeue --noheader --array --format=%i --jobs=" + shell_word(job.number);
  if (!job.cluster.empty()) command += " --clusters=" + shell_word(job.cluster);
  const Answer answer = ask(command);
  // A job that Slurm has forgotten is over.
  if (answer.output.find("Invalid job id") != answer.output.npos) return 0;
  if (answer.exit_code != 0) return {};
  std::size_t tasks = 0;
  std::istringstream lines(answer.output);
  for (std::string line; std::getline(lines, line);) tasks += line.starts_with(job.number);
  return tasks;
}

}  // namespace

SlurmSweep::SlurmSweep(const SweepPoints& points, std::string results, SlurmWanted wanted)
    : points_(points),
      results_(fs::absolute(results).lexically_normal().string()),
      folder_(results_ + ".parts/" + file_name_of(points.spec().name)),
      wanted_(std::move(wanted)) {
  if (folder_.find('%') != folder_.npos) {
    throw UsageError(folder_ + ": sbatch has a meaning of its own for % in names of files");
  }
  for (const std::string& option : wanted_.options) {
    if (option.starts_with("--array") || option.starts_with("-a")) {
      throw UsageError("nestwalk sweep: --sbatch=" + option +
                       ": the tasks are numbered by --slurm");
    }
  }
}

std::size_t SlurmSweep::collect() {
  // Another command may look at the file just now.
  constexpr int kMostSeconds = 60;
  std::optional<ResultsFile> results;
  for (int second = 0; !results; ++second) {
    try {
      results.emplace(results_, ResultsFile::Access::Write);
    } catch (const UsageError&) {
      if (second == kMostSeconds) throw;
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
  }
  std::error_code none;
  for (const fs::directory_entry& each : fs::directory_iterator(folder_, none)) {
    if (each.path().extension() != ".sqlite") continue;
    try {
      results->merge(each.path().string(), ResultsFile::Merge::Runs);
    } catch (const traces::InputError& error) {
      warn(error.what());  // of a task that ended before it had written anything
    } catch (const traces::OutputError& error) {
      warn(error.what());
    }
  }
  const std::string& name = points_.spec().name;
  results->link(name, wanted_.any_build ? "" : digest_of_build());
  return results->to_try(name);
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

SlurmSweep::Job SlurmSweep::submit(std::size_t to_try) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw traces::OutputError(folder_, error.value());
  const std::string spec = folder_ + "/spec.json";
  const std::string script = folder_ + "/task.sh";
  const std::size_t tasks = tasks_for(to_try);
  write_text(spec, json_document(as_json(points_.spec(), FileNames::Whole)));
  // Each attempt of a task has a file of its own: one that was requeued may still be writing.
  // What an attempt before this one made is known, too.
  const std::string part = shell_word(folder_) + "/\"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_";
  std::string text("#!/bin/sh\nset --\nfor part in ");
  text +=
      part + "\"*.sqlite; do\n  [ -f \"$part\" ] && set -- \"$@\" --known \"$part\"\ndone\nexec ";
  text += shell_word(fs::read_symlink("/proc/self/exe").string()) + " sweep " + shell_word(spec);
  text += " --shard $((SLURM_ARRAY_TASK_ID + 1))/" + std::to_string(tasks);
  text += " --known " + shell_word(results_) + " \"$@\" --jobs \"${SLURM_CPUS_ON_NODE:-1}\"";
  if (wanted_.any_build) text += " --any-build";
  text += " --output " + part + "${SLURM_RESTART_COUNT:-0}.sqlite\"\n";
  write_text(script, text);
  std::string command = "sbatch --parsable --requeue --job-name=nestwalk-sweep --output=" +
                        shell_word(folder_ + "/%A_%a.log") + " --open-mode=append";
  for (const std::string& option : wanted_.options) command.append(" ").append(shell_word(option));
  command += " --array=0-" + std::to_string(tasks - 1) + " " + shell_word(script);
  const Answer answer = ask(command);
  if (answer.exit_code != 0) throw NoResult(kIncomplete, "sbatch: " + answer.output);
  // "ID" or "ID;CLUSTER".
  const std::size_t end = std::min(answer.output.find(';'), answer.output.size());
  Job job{answer.output.substr(0, end),
          end == answer.output.size() ? "" : answer.output.substr(end + 1)};
  write_text(folder_ + "/job", job.number + "\n" + job.cluster + "\n");
  return job;
}

std::optional<SlurmSweep::Job> SlurmSweep::running_job() const {
  std::ifstream file(folder_ + "/job");
  Job job;
  if (!std::getline(file, job.number) || job.number.empty()) return {};
  std::getline(file, job.cluster);
  if (tasks_of(job).value_or(1) == 0) return {};
  return job;
}

bool SlurmSweep::wait_for(const Job& job) {
  constexpr int kTenthsBetween = 20;
  constexpr int kWarnAfter = 30;
  const Interruptible guard;
  for (int unanswered = 0;;) {
    const std::optional<std::size_t> tasks = tasks_of(job);
    if (tasks && *tasks == 0) return true;
    unanswered = tasks ? 0 : unanswered + 1;
    if (unanswered == kWarnAfter) warn("squeue does not answer for job " + job.number);
    for (int tenths = 0; tenths < kTenthsBetween; ++tenths) {
      if (interrupted()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

bool SlurmSweep::run() {
  std::size_t to_try = collect();
  for (unsigned attempt = 0; to_try != 0; ++attempt) {
    if (attempt == wanted_.attempts) return false;
    std::optional<Job> job = running_job();
    if (job) {
      complain("job " + job->number + " is still there");
    } else {
      job = submit(to_try);
      complain("job " + job->number + ": " + counted(to_try, "point") + " in " +
               counted(tasks_for(to_try), "task") + ", in " + folder_);
    }
    if (!wanted_.wait) return true;
    if (!wait_for(*job)) {
      warn("interrupted: the job goes on; scancel " + job->number +
           " ends it, and the same command merges its results");
      return false;
    }
    to_try = collect();
  }
  std::error_code none;
  fs::remove_all(folder_, none);
  fs::remove(fs::path(folder_).parent_path(), none);  // if it is empty
  return true;
}

}  // namespace nestwalk::sim
