// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Everything that decides what a run does, as one JSON document: the machine's preset under
// "machine", and the parameters below. What is written into a run's directory makes the run again.
#pragma once

#include <map>

#include "configuration/parameter.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/software/shape.hpp"
#include "nestwalk/traces/header.hpp"

namespace nestwalk::sim {

/// One guest, its hypervisor's policy, and how many processors it has.
struct VmShape {
  software::GuestShape guest;
  software::HypervisorShape hypervisor;
  bool replays_host = false;  ///< the second stage's tables are those of the trace, too
  addrspace::u32 vcpus = 1;
  bool ordered = false;  ///< the trace's order between the vCPUs is kept
};

/// What of a run its statistics tell of: all, if nothing is named.
struct MeasuredPart {
  addrspace::u64 warmup = 0;  ///< accesses of each vCPU that come before
  std::string from;           ///< the phase that comes first: its number or name
  std::string to;             ///< the phase that does not count any more, and is not played
  bool phases = false;        ///< each phase by itself, too
};

/// What a run is made of.
struct RunShape {
  models::MachineShape machine;
  std::vector<VmShape> vms;
  software::VcpuShape vcpu;
  addrspace::u64 host_bytes = 0;
  addrspace::u32 cores = 1;  ///< that vCPUs take turns on: the machine may have more
  models::Cycle slice = 0;   ///< how long one has its core if others want it
  addrspace::u16 vmids = 1;
  addrspace::u64 limit = 0;  ///< accesses of each vCPU
  MeasuredPart part;
};

class Configuration {
 public:
  /// All standard values, on a machine that a file describes.
  explicit Configuration(const std::string& preset_file);

  /// "path=value", each path once: the last part of the path must be there already. Throws
  /// UsageError.
  void set(const std::string& assignment);
  /// `where`: how messages call what says so, where that is not --set.
  void set(const std::string& assignment, const std::string& where);
  /// Every value of a JSON file, over what is there. A machine with a name is a whole one, and
  /// takes the place of the preset. `who` is the option that chose another machine, and that it may
  /// not differ from then; empty if none did.
  void merge_file(const std::string& file, const std::string& who = "");
  /// Fences by the rules of a JSON file.
  void use_fence_rules(const std::string& file);

  /// What depends on the traces is decided, a guest for each. "auto" is gone from the document,
  /// unless they decide differently.
  RunShape resolve(const std::vector<traces::Header>& traces);
  const Json& document() const { return document_; }
  /// As a user knows the machine: what its file is called.
  const std::string& machine_name() const { return machine_name_; }
  /// The file that has a whole machine; empty where that is a preset.
  const std::string& machine_file() const { return machine_file_; }
  /// Throws UsageError.
  const Json& value_at(const std::string& path) const;
  /// Throws models::PresetError.
  void check_machine() const;
  /// For what looks at the whole of a run: throws UsageError if only a part is measured.
  void expect_whole_run(const std::string& who) const;

 private:
  Json& at(const std::string& path, const std::string& where, bool make = false);
  void put(const std::string& path, const Json& value, const std::string& where);
  void merge(const Json& from, const std::string& path, const std::string& where);
  void resolve_host(RunShape& shape, addrspace::u32 vcpus);
  void resolve_fences(software::HypervisorShape& hypervisor);
  VmShape resolve_vm(const traces::Header& trace, const models::MachineShape& machine);
  void resolve_guest(const traces::Header& trace, const models::MachineShape& machine,
                     software::GuestShape& guest);
  const std::string text(const char* path) const;
  std::string word(const char* path) const;
  addrspace::u64 number(const char* path) const;
  bool flag(const char* path) const;
  /// `where` sets what is at the path. Throws UsageError if something has done that already.
  void claim(const std::string& path, const std::string& where);

  std::map<std::string, std::string> set_;  ///< paths, and what set them
  std::string preset_file_;
  std::string machine_name_;
  std::string machine_file_;
  Json document_;
};

/// Of the presets that are installed, or in the source tree.
std::vector<std::string> preset_names();
/// A preset by its name (one that is installed or in the source tree) or its file.
std::string preset_file(const std::string& name);

}  // namespace nestwalk::sim
