// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "storm.hpp"

#include <unistd.h>

#include <filesystem>

#include "nestwalk/traces/generator.hpp"

namespace nestwalk::sim {

namespace fs = std::filesystem;

StormFile::StormFile(const Words& parameters) {
  const traces::Generator& generator = traces::generator_of("storm");
  traces::Values values(generator.parameters);
  for (const char* const text : {"accesses=10000", "period=50"}) values.set(text);
  for (const std::string& text : parameters) values.set(text);
  std::error_code error;
  const fs::path folder = fs::temp_directory_path(error);
  if (error) throw UsageError("there is no folder for temporary files: " + error.message());
  std::string name = (folder / "nestwalk-storm-XXXXXX").string();
  file_ = mkstemp(name.data());
  if (file_ < 0) throw UsageError(name + ": cannot be made");
  unlink(name.c_str());
  path_ = "/proc/self/fd/" + std::to_string(file_);
  const auto sink = traces::create_sink(path_);
  traces::generate(generator, values, *sink);
}

StormFile::~StormFile() { close(file_); }

addrspace::u64 operations_of(const Json& statistics) {
  addrspace::u64 sum = 0;
  for (const char* const kind : software::kOperationNames) {
    sum += statistics.value(std::string("operation.") + kind, addrspace::u64{0});
  }
  return sum;
}

Words fence_policies_of(const Words& wanted) {
  Words policies;
  for (const std::string& policy : wanted) {
    if (policy != "all") {
      policies.push_back(policy);
      continue;
    }
    for (const auto* const each : addrspace::kFencePolicies) policies.push_back(each->name);
  }
  return policies;
}

std::string use_fence_policy(Configuration& configuration, const std::string& policy) {
  if (policy.ends_with(".json")) {
    configuration.use_fence_rules(policy);
    return fs::path(policy).stem().string();
  }
  configuration.set("hypervisor.fences=" + policy);
  return policy;
}

}  // namespace nestwalk::sim
