// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/partial.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>
#include <utility>

namespace nestwalk::traces {
namespace {

Partial* g_first = nullptr;

// What is made and what is listed must not differ when a signal ends the program.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_{};
};

std::system_error error_of(int number, const std::string& path) {
  return {number, std::generic_category(), path};
}

// Short, so that it fits where the name itself does; hidden, so that no pattern of a user takes it.
std::string some_name() {
  static unsigned count = 0;
  return ".nestwalk-" + std::to_string(getpid()) + "-" + std::to_string(count++) + ".partial";
}

void remove(const char* path) noexcept {
  if (unlink(path) != 0) (void)rmdir(path);  // which it is not, unless it is empty
}

}  // namespace

Partial::Partial(std::string path, bool listed)
    : path_(std::move(path)), owner_(getpid()), listed_(listed) {
  if (!listed) return;
  next_ = std::exchange(g_first, this);
  if (next_ != nullptr) next_->previous_ = this;
}

Partial Partial::file_in(const std::string& folder, int& descriptor) {
  const WithoutSignals guard;
  for (;;) {
    std::string path = (folder.empty() ? "" : folder + "/") + some_name();
    descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return Partial(std::move(path), true);
    // One that a killed program left, or that another machine writes in a shared folder.
    if (errno != EEXIST) throw error_of(errno, folder);
  }
}

Partial Partial::folder(const std::string& path, bool& made) {
  const WithoutSignals guard;
  made = mkdir(path.c_str(), 0777) == 0;
  if (!made && errno != EEXIST) throw error_of(errno, path);
  return Partial(path, made);
}

Partial::~Partial() {
  if (!listed_) return;
  const WithoutSignals guard;
  if (owner_ == getpid()) remove(path_.c_str());
  keep();
}

void Partial::keep() {
  const WithoutSignals guard;
  if (!std::exchange(listed_, false)) return;
  (previous_ != nullptr ? previous_->next_ : g_first) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
}

void Partial::rename_to(const std::string& path) {
  const WithoutSignals guard;
  if (std::rename(path_.c_str(), path.c_str()) != 0) throw error_of(errno, path);
  keep();
}

void remove_partial() noexcept {
  for (const Partial* each = g_first; each != nullptr; each = each->next_) {
    if (each->owner_ == getpid()) remove(each->path_.c_str());
  }
}

}  // namespace nestwalk::traces
