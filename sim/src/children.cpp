// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "children.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

#include "nestwalk/traces/error.hpp"

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

// The first letter says whether it worked.
[[noreturn]] void be_child(const std::function<std::string()>& work, int to) {
  std::string text = "+";
  try {
    text += work();
  } catch (const traces::InputError& error) {
    text = std::string("!") + error.what();
  } catch (const std::exception& error) {
    text = std::string("-") + error.what();
  }
  write_all(to, text);
  _exit(0);
}

Child start(std::size_t number, const std::function<std::string()>& work) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error(std::string("pipe: ") + std::strerror(errno));
  const pid_t process = fork();
  if (process < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
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
  if (WIFSIGNALED(status)) {
    return {true, false, std::string("died: ") + strsignal(WTERMSIG(status))};
  }
  if (output.empty()) return {true, false, "ended without a result"};
  return {output[0] != '+', output[0] == '!', output.substr(1)};
}

}  // namespace

std::vector<ChildResult> run_children(const std::vector<std::function<std::string()>>& work,
                                      unsigned at_a_time) {
  std::vector<ChildResult> results(work.size());
  std::vector<std::string> outputs(work.size());
  std::vector<Child> children;
  for (std::size_t next = 0; next < work.size() || !children.empty();) {
    while (next < work.size() && children.size() < at_a_time) {
      children.push_back(start(next, work[next]));
      ++next;
    }
    std::vector<pollfd> waiting;
    for (const Child& child : children) waiting.push_back({child.output, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
    for (std::size_t n = children.size(); n-- != 0;) {
      const Child child = children[n];
      if (waiting[n].revents == 0 || !drain(child, outputs[child.number])) continue;
      results[child.number] = result_of(child, outputs[child.number]);
      children.erase(children.begin() + static_cast<std::ptrdiff_t>(n));
    }
  }
  return results;
}

}  // namespace nestwalk::sim
