// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Everything that decides what a run does, as one JSON document: the machine's preset under
// "machine", and the parameters below. What is written into a run's directory makes the run again.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "configuration/parameter.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/software/shape.hpp"
#include "nestwalk/traces/header.hpp"

namespace nestwalk::sim {

/// What of a run its statistics tell of: all, if nothing is named.
struct MeasuredPart {
  addrspace::u64 warmup = 0;
  std::string from;
  std::string to;  ///< the phase that does not count any more, and is not played
  bool phases = false;

  static constexpr auto parameters() {
    using namespace models::parameter;
    return std::tuple{
        Row{"run.warmup", &MeasuredPart::warmup, Number{0, ~addrspace::u64{0}},
            "so many accesses of each vCPU warm the machine up: statistics begin when the last "
            "vCPU has played them"},
        Row{"run.from", &MeasuredPart::from, Name{},
            "statistics begin with the phase that has this number or name"},
        Row{"run.phases", &MeasuredPart::phases, Flag{},
            "statistics of each phase of the trace, too"},
        Row{"run.to", &MeasuredPart::to, Name{}, "statistics, and the run, end with this phase"}};
  }
};

inline constexpr models::Word<bool> kOwnersOfVmids[] = {{"vcpus", true}, {"guests", false}};

/// What a run is made of.
struct RunShape {
  models::MachineShape machine;
  std::vector<software::VmShape> vms;
  software::ProgramShape program;
  /// What results say of how accesses overlap: "out of order, window 320, width 6".
  std::string core() const { return to_text(machine.core) + note_of(program.dependences); }
  addrspace::u32 cores = 1;  ///< the machine may have more
  models::Cycle slice = 10'000'000;
  models::FramePolicyKind frames{};  ///< of the host
  addrspace::u16 vmids = 1;
  bool vcpu_tags = false;  ///< VMIDs are vCPUs', on each core its own
  addrspace::u64 host_bytes = 64 * addrspace::kGiB;
  addrspace::u64 limit = 0;
  MeasuredPart part;

  static constexpr auto parameters() {
    using namespace models::parameter;
    return std::tuple{
        Row{"host.cores", &RunShape::cores, OrAuto{Number{1, 1024}},
            "that vCPUs take turns on, one after the other; auto: one for each"},
        Row{"host.time_slice", &RunShape::slice, Number{1, addrspace::u64{1} << 40},
            "cycles after which a vCPU gives up its core, if another waits for it", kInCycles},
        Row{"host.vmids", &RunShape::vmids, OrAuto{Number{2, 16383}},
            "VMIDs, VPIDs or ASIDs that the host hands out, or each of its cores; auto: as many as "
            "are needed"},
        Row{"host.vmids_of", &RunShape::vcpu_tags, OrAuto{OneOf{kOwnersOfVmids}},
            "who has a VMID: each guest one, or each vCPU an ASID of its core's, as KVM and Xen do "
            "on AMD; auto: vcpus on AMD, guests elsewhere"},
        Row{"host.frames", &RunShape::frames, Registered{},
            "frame allocation policy of the host: next (the lowest free frame), "
            "reservation or contiguous-tables (see guest.frames)"},
        Row{"host.memory", &RunShape::host_bytes, Size{addrspace::kGiB, addrspace::u64{1} << 45},
            "of the host", kInBytes},
        Row{"run.limit", &RunShape::limit, Number{0, ~addrspace::u64{0}},
            "accesses of each vCPU; 0: all"}};
  }
};

/// A number of a machine that is to have another value.
struct VariedNumber {
  std::string path;  ///< as in models::PresetSource
  addrspace::u64 value;
};

/// A value, or a part of a machine, that is to be another one.
struct Replacement {
  std::string path;           ///< "machine.tlb.data.arrays.0.ways"
  std::optional<Json> value;  ///< without sources; nothing: it is not there
};

/// Where a value of a machine comes from if it was set without a source.
inline constexpr const char* kGuessOfUser = "guess of the user";

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
  /// Paths of values that resolve() would have decided otherwise, had they been left to it.
  const std::set<std::string>& instead_of_auto() const { return instead_of_auto_; }
  /// As a user knows the machine: what its file is called.
  const std::string& machine_name() const { return machine_name_; }
  /// The file that has a whole machine; empty where that is a preset.
  const std::string& machine_file() const { return machine_file_; }
  /// Throws UsageError.
  const Json& value_at(const std::string& path) const;
  /// Throws models::PresetError.
  models::Preset machine() const;
  void check_machine() const { (void)machine(); }
  /// Gives numbers of the machine other values. Numbers that were set after `before` was copied to
  /// make this, and numbers that the machine does not have, are left alone.
  void vary_machine(const std::vector<VariedNumber>& numbers, const Configuration& before);
  /// Gives what resolve() decided other values, as if nobody had set any. Throws UsageError for one
  /// that no configuration has; resolve() says whether they go together.
  void replace(const std::vector<Replacement>& values);
  /// For what looks at the whole of a run, or at all but its warm-up: throws UsageError if only
  /// another part is measured.
  void expect_whole_run(const std::string& who, bool but_warmup = false) const;

 private:
  Json& at(const std::string& named, const std::string& where, bool make = false);
  void put(const std::string& named, const Json& value, const std::string& where);
  void merge(const Json& from, const std::string& path, const std::string& where);
  void resolve_host(RunShape& shape, addrspace::u32 vcpus);
  void check_core(const models::CoreShape& core) const;
  software::VmShape resolve_vm(const traces::Header& trace, const models::MachineShape& machine);
  /// What is left to the trace.
  void decide(const char* path, const Json& value);
  void decide_guest(const traces::Header& trace, const models::MachineShape& machine);
  /// `where` sets what is at the path. Throws UsageError if something has done that already.
  void claim(const std::string& path, const std::string& where);
  /// The value at the path, a part of it, or what it is a part of.
  bool is_set_since(const Configuration& before, const std::string& path) const;

  std::map<std::string, std::string> set_;  ///< paths, and what set them
  std::set<std::string> instead_of_auto_;
  std::string preset_file_;
  std::string machine_name_;
  std::string machine_file_;
  Json document_;
};

/// A path within the machine may leave out "machine."; this has it.
std::string whole_path(const std::string& path);
/// Of the presets that are installed, or in the source tree.
std::vector<std::string> preset_names();
/// A preset by its name (one that is installed or in the source tree) or its file.
std::string preset_file(const std::string& name);

}  // namespace nestwalk::sim
