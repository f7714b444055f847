// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Prints all statistics of mixed runs: scripts/test compares what two compilers' builds print.

#include <cstdio>

#include "mixed_run.hpp"

int main() {
  using namespace nestwalk::models;
  for (const char* preset :
       {"simple", "sapphire-rapids", "zen3", "cortex-a72", "cortex-a76", "rocket-h", "kunminghu"}) {
    for (const unsigned seed : {1u, 2u, 3u}) {
      std::printf("%s, seed %u\n%s", preset, seed, mixed_run(preset, seed, kNever).c_str());
    }
  }
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  std::fputs("models-print-statistics: standard output cannot be written\n", stderr);
  return 1;
}
