// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/run_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "program/command_line.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

std::error_code g_ignored;

}  // namespace

RunDirectory::RunDirectory(const std::string& path, bool force) : RunDirectory(path) {
  try {
    const bool fresh = make();
    if (!fs::is_directory(path_)) throw UsageError(path + ": cannot be made: it is a file");
    lock();
    if (!fresh && !force && !fs::is_empty(path_)) {
      throw UsageError(path + " exists; --force overwrites it");
    }
    for (const char* const name : kFiles) {
      const fs::path file = path_ / name;
      if (fs::is_directory(file)) throw UsageError(file.string() + ": is a directory");
    }
    int descriptor = -1;
    const traces::Partial attempt = traces::Partial::file_in(path_.string(), descriptor);
    close(descriptor);
  } catch (const std::system_error& error) {
    throw UsageError(path + ": cannot be made: " + error.code().message());
  }
}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) close(lock_);
  while (!made_.empty()) made_.pop_back();
}

// It and what it is in.
bool RunDirectory::make() {
  bool made = false;
  fs::path folder;
  for (const fs::path& part : path_) {
    folder /= part;
    if (part.empty() || fs::is_directory(folder, g_ignored)) continue;
    auto partial = std::unique_ptr<traces::Partial>(
        new traces::Partial(traces::Partial::folder(folder.string(), made)));
    if (made) made_.push_back(std::move(partial));
  }
  return made;
}

// Until the process ends, however it does. Some file systems know no locks: then the user sees to
// it.
void RunDirectory::lock() {
  lock_ = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) throw std::system_error(errno, std::generic_category());
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  throw UsageError(path_.string() + ": another run is writing it");
}

// The last one says that the run is there, so it goes first and comes last.
void RunDirectory::write(const std::array<std::string, kFiles.size()>& texts) {
  fs::remove(path_ / kFiles.back(), g_ignored);
  for (std::size_t n = 0; n < kFiles.size(); ++n) write_text(path_ / kFiles[n], texts[n]);
  for (const auto& folder : made_) folder->keep();
}

}  // namespace nestwalk::sim
