// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "run_directory.hpp"

#include "command_line.hpp"
#include "output.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

std::error_code g_ignored;

}  // namespace

RunDirectory::RunDirectory(const std::string& path, bool force) : path_(path) {
  std::error_code error;
  made_ = !fs::exists(path_, error);
  const bool free = made_ || force || (fs::is_directory(path_) && fs::is_empty(path_, error));
  if (!free) throw UsageError(path + " exists; --force overwrites it");
  fs::create_directories(path_, error);
  if (!fs::is_directory(path_, g_ignored)) {
    const std::string why = error ? error.message() : "it is a file";
    throw UsageError(path + ": cannot be made: " + why);
  }
  for (const char* const name : kFiles) {
    const fs::path file = path_ / name;
    if (fs::is_directory(file, g_ignored)) throw UsageError(file.string() + ": is a directory");
  }
  write_text(partial_name(path_ / kFiles.back()), "");
}

RunDirectory::~RunDirectory() {
  fs::remove(partial_name(path_ / kFiles.back()), g_ignored);
  if (made_) fs::remove(path_, g_ignored);  // which it is not, unless it is empty
}

// The last one says that the run is there, so it goes first and comes last.
void RunDirectory::write(const std::array<std::string, kFiles.size()>& texts) {
  fs::remove(path_ / kFiles.back(), g_ignored);
  for (std::size_t n = 0; n < kFiles.size(); ++n) write_text(path_ / kFiles[n], texts[n]);
}

}  // namespace nestwalk::sim
