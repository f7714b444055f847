// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces that come from pipes or are compressed, for commands that read them more than once or not
// from front to back.
#pragma once

#include <memory>
#include <string>

#include "nestwalk/traces/io.hpp"

namespace nestwalk::traces {

/// A temporary file without a name: nothing is left behind, whatever happens.
class UnnamedFile {
 public:
  /// In $TMPDIR. Throws OutputError.
  UnnamedFile();
  ~UnnamedFile();
  UnnamedFile(const UnnamedFile&) = delete;
  UnnamedFile& operator=(const UnnamedFile&) = delete;
  /// This process and its children can open it, each from its begin.
  const std::string& path() const { return path_; }

 private:
  int file_ = -1;
  std::string path_;
};

/// Of what a pipe or a compressed file gives: more is refused, as an input without an end is.
inline constexpr u64 kMostSpooledBytes = u64{64} << 30;

/// Opens a file, or standard input for "-", so that it can seek. What cannot is copied, unpacked,
/// to a temporary file first: once for each path in a process and the children that it makes
/// afterwards. Throws InputError, also when that would be more than `most_bytes`; OutputError.
std::unique_ptr<ByteSource> open_seekable(const std::string& path,
                                          u64 most_bytes = kMostSpooledBytes);
/// The path was opened already, and nothing has been read: from now on it opens as above.
void spool(const std::string& path, std::unique_ptr<ByteSource> source,
           u64 most_bytes = kMostSpooledBytes);

}  // namespace nestwalk::traces
