// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/storm.hpp"

#include <algorithm>
#include <filesystem>

namespace nestwalk::sim {

namespace fs = std::filesystem;

Words storm_parameters(const Words& given) {
  Words all = given;
  for (const std::string standard : {"accesses=10000", "period=50"}) {
    const std::string key = standard.substr(0, standard.find('=') + 1);
    const bool is_given = std::any_of(
        given.begin(), given.end(), [&](const std::string& each) { return each.starts_with(key); });
    if (!is_given) all.push_back(standard);
  }
  return all;
}

addrspace::u64 operations_of(const Json& statistics) {
  addrspace::u64 sum = 0;
  for (const auto& row : software::kOperations) {
    sum += statistics.value(std::string("operation.") + row.word, addrspace::u64{0});
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
  configuration.set("hypervisor.fences=" + policy, "--policy " + policy);
  return policy;
}

}  // namespace nestwalk::sim
