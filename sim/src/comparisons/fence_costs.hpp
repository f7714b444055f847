// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What fences cost by the number of vCPUs: one storm under each policy. The hypervisor does the
// same operations in the same order, whatever the number of vCPUs, which take turns in asking for
// them; each vCPU makes the same accesses.
#pragma once

#include "comparisons/cases.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {

/// A machine, a policy and a number of vCPUs; and how the storm went there.
struct FenceCosts {
  std::string machine;
  std::string policy;
  unsigned vcpus;
  Case run;
};

struct FenceCostsWanted {
  struct Setting {
    std::string machine;
    std::string policy;
    Configuration configuration;
  };
  std::vector<Setting> settings;
  std::vector<unsigned> vcpus;
  Words storm;  ///< parameters, without the number of vCPUs
};

std::vector<FenceCosts> find_fence_costs(const FenceCostsWanted& wanted, unsigned at_a_time);

Table as_table(const std::vector<FenceCosts>& found);
Json as_json(const std::vector<FenceCosts>& found);

}  // namespace nestwalk::sim
