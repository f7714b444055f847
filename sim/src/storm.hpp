// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `check` and `compare` make of --storm and of policies of fences.
#pragma once

#include "command_line.hpp"
#include "configuration.hpp"

namespace nestwalk::sim {

/// A trace that is generated, and gone in the end.
class StormFile {
 public:
  /// "key=value" of the generator `storm`; what is not given is as short as a table needs it.
  explicit StormFile(const Words& parameters);
  ~StormFile();
  StormFile(const StormFile&) = delete;
  StormFile& operator=(const StormFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int file_ = -1;  ///< without a name, so that nothing is left behind, whatever happens
  std::string path_;
};

/// Of the hypervisor, in a run's statistics.
addrspace::u64 operations_of(const Json& statistics);

/// "all" is each of the engine's.
Words fence_policies_of(const Words& wanted);
/// A value of hypervisor.fences, or a JSON file of rules; what tables call it.
std::string use_fence_policy(Configuration& configuration, const std::string& policy);

}  // namespace nestwalk::sim
