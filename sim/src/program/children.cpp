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

using Work = std::function<std::string(std::size_t)>;
using OnEnd = std::function<void(std::size_t, ChildResult)>;

struct Child {
  std::size_t number;
  pid_t process;
  int from;
  std::string output = {};
};

void write_all(int to, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = write(to, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) _exit(1);
    if (count > 0) done += static_cast<std::size_t>(count);
  }
}

// The first letter is the exit code.
[[noreturn]] void be_child(const Work& work, std::size_t number, int to) {
  be_patient(to);
  std::string text = std::to_string(kDone);
  try {
    text += work(number);
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

Child start(std::size_t number, const Work& work) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("a pipe cannot be made");
  const pid_t process = fork();
  if (process < 0) fail("a process cannot be made");
  if (process == 0) {
    close(ends[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody waits for its result without its parent
    be_child(work, number, ends[1]);
  }
  close(ends[1]);
  return {number, process, ends[0]};
}

// Reads what is there; true at the end.
bool drain(Child& child) {
  char part[1 << 16];
  const ssize_t count = read(child.from, part, sizeof part);
  if (count > 0) child.output.append(part, static_cast<std::size_t>(count));
  return count == 0 || (count < 0 && errno != EINTR);
}

ChildResult result_of(const Child& child) {
  close(child.from);
  int status = 0;
  waitpid(child.process, &status, 0);
  if (WIFSIGNALED(status)) return {kInternal, std::string("died: ") + strsignal(WTERMSIG(status))};
  if (child.output.empty()) return {kInternal, "ended without a result"};
  return {static_cast<ExitCode>(child.output[0] - '0'), child.output.substr(1)};
}

/// Work in progress.
class Children {
 public:
  Children(std::size_t count, const Work& work, const OnEnd& on_end)
      : count_(count), work_(work), on_end_(on_end) {}
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  /// Whose results nobody takes any more.
  ~Children() {
    for (const Child& child : children_) {
      kill(child.process, SIGKILL);
      (void)result_of(child);
    }
  }

  void run(unsigned at_a_time) {
    while (!children_.empty() || (next_ < count_ && !interrupted())) {
      while (next_ < count_ && children_.size() < at_a_time && !interrupted()) {
        children_.push_back(start(next_, work_));
        ++next_;
      }
      if (interrupted() && !std::exchange(told_, true)) {
        for (const Child& child : children_) kill(child.process, SIGTERM);
      }
      collect();
    }
  }

 private:
  void collect() {
    // A signal that comes just before poll() does not wake it.
    constexpr int kMostMilliseconds = 100;
    std::vector<pollfd> waiting;
    for (const Child& child : children_) waiting.push_back({child.from, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), kMostMilliseconds) <= 0) return;
    for (std::size_t n = children_.size(); n-- != 0;) {
      if (waiting[n].revents == 0 || !drain(children_[n])) continue;
      const Child child = std::move(children_[n]);
      children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(n));
      on_end_(child.number, result_of(child));
    }
  }

  const std::size_t count_;
  const Work& work_;
  const OnEnd& on_end_;
  std::vector<Child> children_;
  std::size_t next_ = 0;
  bool told_ = false;
};

}  // namespace

void run_children(std::size_t count, const Work& work, unsigned at_a_time, const OnEnd& on_end) {
  const Interruptible guard;
  Children(count, work, on_end).run(at_a_time);
}

std::vector<ChildResult> run_children(const std::vector<std::function<std::string()>>& work,
                                      unsigned at_a_time,
                                      const std::function<void(std::size_t)>& progress) {
  std::vector<ChildResult> results(work.size(), ChildResult{kIncomplete, "interrupted"});
  std::size_t ended = 0;
  run_children(
      work.size(), [&](std::size_t n) { return work[n](); }, at_a_time,
      [&](std::size_t n, ChildResult result) {
        results[n] = std::move(result);
        if (progress) progress(++ended);
      });
  return results;
}

}  // namespace nestwalk::sim
