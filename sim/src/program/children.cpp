// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/children.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>

#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

struct Child {
  std::size_t number;
  pid_t process;
  int output;
};

void write_all(int to, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = write(to, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) _exit(1);
    if (count > 0) done += static_cast<std::size_t>(count);
  }
}

// The first letter is the exit code.
[[noreturn]] void be_child(const std::function<std::string()>& work, int to) {
  be_patient(to);
  std::string text = std::to_string(kDone);
  try {
    text += work();
  } catch (...) {
    const Failure failure = current_failure();
    text = std::to_string(failure.code) + failure.message;
  }
  write_all(to, text);
  _exit(0);
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

Child start(std::size_t number, const std::function<std::string()>& work) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("a pipe cannot be made");
  const pid_t process = fork();
  if (process < 0) fail("a process cannot be made");
  if (process == 0) {
    close(ends[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody waits for its result without its parent
    be_child(work, ends[1]);
  }
  close(ends[1]);
  return {number, process, ends[0]};
}

// Reads what is there; true at the end.
bool drain(const Child& child, std::string& output) {
  char part[1 << 16];
  const ssize_t count = read(child.output, part, sizeof part);
  if (count > 0) output.append(part, static_cast<std::size_t>(count));
  return count == 0 || (count < 0 && errno != EINTR);
}

ChildResult result_of(const Child& child, const std::string& output) {
  close(child.output);
  int status = 0;
  waitpid(child.process, &status, 0);
  if (WIFSIGNALED(status)) return {kInternal, std::string("died: ") + strsignal(WTERMSIG(status))};
  if (output.empty()) return {kInternal, "ended without a result"};
  return {static_cast<ExitCode>(output[0] - '0'), output.substr(1)};
}

/// Work in progress.
class Children {
 public:
  Children(const std::vector<std::function<std::string()>>& work,
           const std::function<void(std::size_t)>& progress)
      : work_(work),
        progress_(progress),
        results_(work.size(), ChildResult{kIncomplete, "interrupted"}),
        outputs_(work.size()) {}

  std::vector<ChildResult> run(unsigned at_a_time) {
    while (!children_.empty() || (next_ < work_.size() && !interrupted())) {
      while (next_ < work_.size() && children_.size() < at_a_time && !interrupted()) {
        children_.push_back(start(next_, work_[next_]));
        ++next_;
      }
      if (interrupted() && !std::exchange(told_, true)) {
        for (const Child& child : children_) kill(child.process, SIGTERM);
      }
      collect();
    }
    return std::move(results_);
  }

 private:
  void collect() {
    // A signal that comes just before poll() does not wake it.
    constexpr int kMostMilliseconds = 100;
    std::vector<pollfd> waiting;
    for (const Child& child : children_) waiting.push_back({child.output, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), kMostMilliseconds) <= 0) return;
    for (std::size_t n = children_.size(); n-- != 0;) {
      const Child child = children_[n];
      if (waiting[n].revents == 0 || !drain(child, outputs_[child.number])) continue;
      results_[child.number] = result_of(child, outputs_[child.number]);
      children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(n));
      if (progress_) progress_(next_ - children_.size());
    }
  }

  const std::vector<std::function<std::string()>>& work_;
  const std::function<void(std::size_t)>& progress_;
  std::vector<ChildResult> results_;
  std::vector<std::string> outputs_;
  std::vector<Child> children_;
  std::size_t next_ = 0;
  bool told_ = false;
};

}  // namespace

std::vector<ChildResult> run_children(const std::vector<std::function<std::string()>>& work,
                                      unsigned at_a_time,
                                      const std::function<void(std::size_t)>& progress) {
  const Interruptible guard;
  return Children(work, progress).run(at_a_time);
}

}  // namespace nestwalk::sim
