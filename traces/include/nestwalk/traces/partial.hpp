// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Files and folders that are not whole yet: none is left behind, however the program ends, unless
// it is killed.
#pragma once

#include <sys/types.h>

#include <string>

namespace nestwalk::traces {

/// A path that is removed when this goes, unless `keep` was called; and by remove_partial(). Only
/// the process that made it removes it, none that it forked.
class Partial {
 public:
  /// Makes a file of a name that nobody has, in this folder; `descriptor` is open for writing.
  /// Throws std::system_error.
  static Partial file_in(const std::string& folder, int& descriptor);
  /// Makes a folder, whose parent is there. False in `made`: there is one already.
  static Partial folder(const std::string& path, bool& made);

  ~Partial();
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  const std::string& path() const { return path_; }
  /// It has become what it was meant to be.
  void keep();
  /// Gives the file its name, in the place of what has it. Throws std::system_error.
  void rename_to(const std::string& path);

 private:
  friend void remove_partial() noexcept;

  Partial(std::string path, bool listed);

  std::string path_;
  pid_t owner_;
  bool listed_ = false;
  Partial* next_ = nullptr;
  Partial* previous_ = nullptr;
};

/// Removes all that this process has made and not kept. For a signal handler that ends the program:
/// it calls nothing but what POSIX allows there.
void remove_partial() noexcept;

}  // namespace nestwalk::traces
