// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Everything that decides what a run does, as one JSON document: the machine's preset under
// "machine", and the parameters below. What is written into a run's directory makes the run again.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nestwalk/models/preset.hpp"
#include "nestwalk/software/shape.hpp"
#include "nestwalk/traces/header.hpp"

namespace nestwalk::sim {

using Json = nlohmann::ordered_json;

/// What a user may set, beside the machine.
struct Parameter {
  enum class Kind { Choice, Number, Size, Flag, Object };
  const char* path;
  Kind kind;
  const char* standard;                ///< its value if nobody sets it
  std::vector<const char*> choices;    ///< of a Choice, and words that a Size may be
  addrspace::u64 least = 0, most = 0;  ///< of a Number or a Size
  const char* sentence;
};
const std::vector<Parameter>& parameters();

/// What a run is made of.
struct RunShape {
  models::MachineShape machine;
  software::GuestShape guest;
  software::HypervisorShape hypervisor;
  software::VcpuShape vcpu;
  addrspace::u64 host_bytes = 0;
  addrspace::u64 limit = 0;  ///< accesses of each vCPU
};

class Configuration {
 public:
  /// All standard values, on a machine that a file describes.
  explicit Configuration(const std::string& preset_file);

  /// "path=value": the last part of the path must be there already. Throws UsageError.
  void set(const std::string& assignment);
  /// Every value of a JSON file, over what is there.
  void merge_file(const std::string& file);
  /// Fences by the rules of a JSON file.
  void use_fence_rules(const std::string& file);

  /// What depends on the trace is decided: "auto" is gone from the document.
  RunShape resolve(const traces::Header& trace);
  const Json& document() const { return document_; }

 private:
  Json& at(const std::string& path, const std::string& where);
  void put(const std::string& path, const Json& value, const std::string& where);
  void merge(const Json& from, const std::string& path, const std::string& where);
  const std::string text(const char* path) const;
  addrspace::u64 number(const char* path) const;
  bool flag(const char* path) const;

  std::string preset_file_;
  Json document_;
};

/// A preset by its name (one that is installed or in the source tree) or its file.
std::string preset_file(const std::string& name);

}  // namespace nestwalk::sim
