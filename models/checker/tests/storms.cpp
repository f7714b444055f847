// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// storms OPERATIONS [SEED [POLICY]]: random storms on each architecture under each policy of
// fences, as a table. Exit code 1 if checker and adversary disagree anywhere.

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "storm_run.hpp"

namespace nestwalk::checker {
namespace {

template <class Shape>
const char* title_of() {
  if constexpr (requires { Shape::kTitle; }) return Shape::kTitle;
  return Shape::kName;
}

template <class Shape>
bool storms(u64 operations, u64 seed, const std::string& wanted) {
  bool good = true;
  for (const FencePolicy* const policy : addrspace::kFencePolicies) {
    if (!wanted.empty() && wanted != policy->name) continue;
    const auto start = std::chrono::steady_clock::now();
    const StormResult result = StormRun<Shape>(*policy, seed).run(operations);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    const bool fine = result.agrees() && result.is_as_known(*policy);
    std::printf("%-12s  %-14s  %10" PRIu64 "  %9" PRIu64 "  %9" PRIu64 "  %8" PRIu64 "  %11" PRIu64
                "  %7.1f  %s\n",
                title_of<Shape>(), policy->name, result.operations, result.errors, result.warnings,
                result.hits, result.unexplained, taken.count(), fine ? "agree" : "DISAGREE");
    std::fflush(stdout);
    if (!fine) std::fputs(result.findings.c_str(), stderr);
    good = good && fine;
  }
  return good;
}

template <class... Shapes>
struct Storms {
  static bool agree(u64 operations, u64 seed, const std::string& wanted) {
    bool good = true;
    ((good = storms<Shapes>(operations, seed, wanted) && good), ...);
    return good;
  }
};

int run(int count, char** arguments) {
  const auto number = [&](int n, u64 standard) {
    return count > n ? std::strtoull(arguments[n], nullptr, 10) : standard;
  };
  const u64 operations = number(1, 0);
  const u64 seed = number(2, 1);
  const std::string policy = count > 3 ? arguments[3] : "";
  const auto is_named = [&](const FencePolicy* each) { return policy == each->name; };
  const bool known = policy.empty() || std::any_of(std::begin(addrspace::kFencePolicies),
                                                   std::end(addrspace::kFencePolicies), is_named);
  if (operations == 0 || !known) {
    std::fputs("usage: storms OPERATIONS [SEED [POLICY]]\n", stderr);
    return 2;
  }
  std::puts(
      "               policy          operations     errors   warnings      hits  unexplained  "
      "seconds");
  const bool good = OnEach<Storms>::agree(operations, seed, policy);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return good ? 0 : 1;
  std::fputs("storms: standard output cannot be written\n", stderr);
  return 1;
}

}  // namespace
}  // namespace nestwalk::checker

int main(int count, char** arguments) { return nestwalk::checker::run(count, arguments); }
