// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/policies.hpp"

#include <sstream>

namespace nestwalk::sim {
namespace {

struct Policy {
  const char* name;
  std::vector<const char*> settings;
  const char* sentence;
};
const std::vector<Policy>& policies() {
  static const std::vector<Policy> kRows = {
      {"lazy", {"hypervisor.backing=lazy"}, "a page when the guest touches it"},
      {"lazy-16", {"hypervisor.backing=lazy", "hypervisor.fault_around=4"}, "16 pages at a time"},
      {"lazy-2M",
       {"hypervisor.backing=lazy", "hypervisor.large_pages=true"},
       "2M where it is free"},
      {"eager", {"hypervisor.backing=eager"}, "all of its memory before the guest runs"},
      {"eager-2M", {"hypervisor.backing=eager", "hypervisor.large_pages=true"}, "in pages of 2M"},
      {"linear", {"hypervisor.backing=linear"}, "in one piece of host memory"},
      {"native", {"hypervisor.backing=none"}, "without a hypervisor: one stage"},
  };
  return kRows;
}

std::vector<std::string> settings_of(const std::string& policy) {
  for (const Policy& row : policies()) {
    if (policy == row.name) return {row.settings.begin(), row.settings.end()};
  }
  if (policy.find('=') == std::string::npos) {
    std::string known;
    for (const Policy& row : policies()) known.append(" ").append(row.name);
    throw UsageError("there is no policy '" + policy + "'; there are:" + known);
  }
  std::vector<std::string> parts;
  std::istringstream in(policy);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

}  // namespace

Words policy_names() {
  Words words;
  for (const Policy& row : policies()) words.emplace_back(row.name);
  return words;
}

std::string help_of_policies() {
  std::string text = "Policies:\n";
  for (const Policy& row : policies()) {
    std::string name = row.name;
    name.resize(10, ' ');
    text += "  " + name + row.sentence + "\n";
  }
  return text;
}

void use_policy(Configuration& configuration, const std::string& policy) {
  for (const std::string& setting : settings_of(policy)) {
    configuration.set(setting, "--policy " + policy);
  }
}

}  // namespace nestwalk::sim
