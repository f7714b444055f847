// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// For fuzzers: a file in memory that readers of files can open by its name.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace nestwalk::sim {

class MemoryFile {
 public:
  MemoryFile() : file_(memfd_create("fuzz", 0)) {
    if (file_ < 0) std::abort();
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { close(file_); }

  const std::string& name() const { return name_; }
  void hold(std::string_view text) const {
    const auto size = static_cast<ssize_t>(text.size());
    if (ftruncate(file_, 0) != 0 || pwrite(file_, text.data(), text.size(), 0) != size) {
      std::abort();
    }
  }

 private:
  int file_;
  std::string name_ = "/proc/self/fd/" + std::to_string(file_);
};

}  // namespace nestwalk::sim

// SystemC's library has a main that calls it; libFuzzer's, or fuzz_replay.cpp's, is taken instead.
extern "C" [[gnu::used]] inline int sc_main(int, char**) { return 0; }
