// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What depends on the machine's instruction set and on its virtualization extension: one row of
// data for each (models/machines/). Other code reads the rows, and compares no architectures.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/error.hpp"
#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/addrspace/flags.hpp"
#include "nestwalk/addrspace/geometry.hpp"

namespace nestwalk::software {
class GuestSpace;
class HostSpace;
class Recording;
class TableFrames;
struct HypervisorShape;
}  // namespace nestwalk::software

namespace nestwalk::models {

using addrspace::Architecture;
using addrspace::FenceOp;
using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using addrspace::u8;

class EntryFormat;
struct Fault;
struct FaultReport;

/// What the hardware does about an accessed flag that is clear at an access, or a dirty flag at a
/// write.
enum class Upkeep : u8 {
  Ignored,  ///< nothing: EPT without A/D, Arm's dirty state without FEAT_HAFDBS
  Faults,   ///< leaves it to software: Arm Access flag fault, RISC-V without Svadu
  Updated,  ///< a locked read-modify-write: x86, EPT A/D, FEAT_HAFDBS, Svadu
};

/// How the machine treats a stage's entries; the rest is in the format.
struct StageRules {
  Upkeep accessed = Upkeep::Ignored;
  Upkeep dirty = Upkeep::Ignored;
  bool accessed_in_tables = false;  ///< x86: tables have accessed flags, too
  /// EPT with A/D: reads of guest tables count as writes (Intel SDM vol. 3C, "Accessed and Dirty
  /// Flags for EPT").
  bool table_reads_are_writes = false;
  /// The flag fault comes before the permission fault (Arm ARM D8, "Prioritization of MMU faults").
  bool flag_before_permission = false;
  /// The kernel executes users' pages that users cannot write, and no others: not told by a control
  /// register (Arm ARM D8, "Stage 1 instruction execution permissions").
  bool kernel_executes_what_users_read = false;
  /// Accessed flags may be set for accesses that are not made in the end.
  bool speculation_sets_accessed = false;
};

/// A stage's rules on a machine that keeps dirty flags, and on one that does not.
struct StageRulesPair {
  StageRules without, with;
  const StageRules& of(bool hardware_dirty) const { return hardware_dirty ? with : without; }
};

/// What software that keeps tables has to know of their entries.
struct TableEntries {
  /// Where it points.
  u64 (*page_of)(u64 entry);
  /// The entry with flags that the hardware set meanwhile, but with no right that it does not give.
  u64 (*with_flags)(u64 entry, u64 flags);
};

/// What a guest's kernel fences its own tables with.
struct GuestFences {
  FenceOp all, by_address, by_space, by_both;
  FenceOp of(bool address, bool space) const {
    return address ? (space ? by_both : by_address) : (space ? by_space : all);
  }
};

/// An instruction set: the guest's own paging.
struct Isa {
  Architecture architecture;
  const char* name;  ///< in presets
  StageRulesPair rules;
  /// A page fault removes what is cached for its address, tables included.
  bool fault_forgets;
  bool has_halves;          ///< two roots, by the address's upper bits: TTBR1
  bool fences_take_ranges;  ///< one instruction for many pages
  GuestFences guest_fences;
  std::span<const FenceOp> fences;  ///< instructions of guests that are in no extension's list
  u16 most_asids;                   ///< that the models' caches can tell apart
  /// The widest guest-physical addresses: of page tables' entries, of HPFAR_EL2, and of RISC-V's
  /// instructions while the guest's own paging is off.
  unsigned most_gpa_bits;
  TableEntries entries;
  /// What a first-stage fault writes to the registers of who takes it.
  FaultReport (*report)(const Fault&);

  bool (*has_levels)(unsigned levels);
  /// Tables of a guest's kernel; and, where there are halves, those of the upper one.
  std::unique_ptr<software::GuestSpace> (*guest_space)(unsigned levels, software::TableFrames&);
  std::unique_ptr<software::GuestSpace> (*upper_space)(unsigned levels, software::TableFrames&);
};

/// What a store did to a second-stage entry.
enum class Change : u8 {
  None,
  MadeValid,
  MorePermission,
  LessPermission,
  Unmapped,
  Moved,       ///< another output address
  MemoryType,  ///< another memory type
  Cleaned,     ///< its accessed or dirty flag was cleared
  Resized,     ///< tables of the same translations instead of a leaf
  Table,       ///< a table was unlinked or replaced
  Retired,     ///< the VM ended
};
inline constexpr const char* kChangeNames[] = {"nothing",
                                               "made valid",
                                               "more permission",
                                               "less permission",
                                               "unmapped",
                                               "another output address",
                                               "another memory type",
                                               "flags cleared",
                                               "split into a table",
                                               "a table unlinked",
                                               "the VM ended"};
inline constexpr unsigned kChangeCount = static_cast<unsigned>(Change::Retired) + 1;
static_assert(std::size(kChangeNames) == kChangeCount);
inline const char* to_string(Change change) { return kChangeNames[static_cast<unsigned>(change)]; }

/// What the architecture demands after a change.
struct Demand {
  enum class Need : u8 {
    Nothing,
    Visible,    ///< only that walkers find the new entry
    Tolerable,  ///< a fence, or one for each spurious fault, on the processor that takes it
    Fence,
  };
  Need need;
  bool break_before_make;
  const char* fence;
  const char* manual;
  const char* section;
};

/// After each change.
struct Demands {
  Demand none, made_valid, more_permission, less_permission, unmapped, moved, memory_type, cleaned,
      resized, table, retired;

  const Demand& of(Change change) const {
    switch (change) {
      case Change::None:
        return none;
      case Change::MadeValid:
        return made_valid;
      case Change::MorePermission:
        return more_permission;
      case Change::LessPermission:
        return less_permission;
      case Change::Unmapped:
        return unmapped;
      case Change::Moved:
        return moved;
      case Change::MemoryType:
        return memory_type;
      case Change::Cleaned:
        return cleaned;
      case Change::Resized:
        return resized;
      case Change::Table:
        return table;
      case Change::Retired:
        return retired;
    }
    return none;
  }
};

/// May a processor that has left a guest walk its tables?
enum class WalksOutside : u8 { Never, UntilBarrier, Always };

/// A table format as a log of fences names it.
struct LogFormat {
  struct Made {
    std::shared_ptr<const EntryFormat> format;
    addrspace::Geometry geometry;
    /// As the engine writes it.
    std::function<u64(u64 root, u16 vmid)> root_register;
  };
  const char* name;
  const char* size_key;  ///< what chooses among shapes; null: nothing
  u64 size;              ///< where the log does not say
  /// Nothing where there is no such shape.
  std::optional<Made> (*make)(u64 size, addrspace::Capabilities machine);
};

using Words = std::vector<std::string>;

/// A reference to a function that takes fences: valid as long as the function is there.
class FenceSink {
 public:
  template <class Take>
  explicit FenceSink(const Take&&) = delete;
  template <class Take>
  explicit FenceSink(const Take& take)
      : to_(&take), call_([](const void* to, const addrspace::Fence& fence) {
          (*static_cast<const Take*>(to))(fence);
        }) {}
  void operator()(const addrspace::Fence& fence) const { call_(to_, fence); }

 private:
  const void* to_;
  void (*call_)(const void*, const addrspace::Fence&);
};

/// What differs between VMs of one extension, as far as fences depend on it.
struct VmTraits {
  bool caches_no_invalid = false;  ///< RISC-V Svvptc: an invalid entry is not cached for long
  bool single_vm = true;           ///< x86: INVEPT of one context, TLB_CONTROL 3 exist
  /// AArch64: what IPA operands have besides the IPA: bit 63 (NS) where Secure EL2 serves VMs in
  /// the Non-secure IPA space.
  u64 operand_tag = 0;
};

/// A virtualization extension.
struct Extension {
  const char* name;
  const Isa* isa;

  // Fences.
  std::span<const FenceOp> fences;
  /// Instructions of it that not every machine has.
  const addrspace::FenceFeature* fence_feature = nullptr;
  /// Another VMID instead of a flush; none where hypervisors do not do that.
  FenceOp fresh_vmid{};
  FenceOp whole_vm;  ///< what a hypervisor issues when it takes something away from a guest
  /// An instruction as an assembler listing shows it, in words; false if it is none of `fences`.
  bool (*parse)(const Words& words, addrspace::Fence& fence);
  void (*emit)(const addrspace::FencePolicy&, const addrspace::Capabilities&,
               const addrspace::Invalidation<addrspace::Gpa>&, FenceSink);
  void (*emit_rollover)(const addrspace::Capabilities&, FenceSink);
  void (*emit_first_entry)(const addrspace::VmTag&, FenceSink);
  void (*emit_vcpu_switch)(const addrspace::Capabilities&, const addrspace::VmTag&, FenceSink);

  // Translations.
  StageRulesPair rules;
  TableEntries entries;
  /// What a second-stage fault writes to the registers of the hypervisor's processor.
  FaultReport (*report)(const Fault&);
  /// Combined and second-stage entries are known by their tables' root, the latter by nothing else.
  bool tags_by_root;
  /// A second-stage fault removes what would translate its address.
  bool fault_forgets;
  /// Before a fault of either stage is reported, what is cached for its address is removed, and a
  /// walk repeated: what the tables permit by now is no fault.
  bool confirms_faults;
  /// Of both stages' memory types, the one that accesses have.
  addrspace::MemoryType (*combine)(addrspace::MemoryType first, addrspace::MemoryType second);

  // Machines and software.
  addrspace::Capabilities (*capabilities)(bool hardware_dirty);
  /// The engine's address space; throws where there is none of that shape.
  std::unique_ptr<software::HostSpace> (*host_space)(const software::HypervisorShape&, u64 bytes,
                                                     u16 vmid, software::Recording&);

  // What the checker judges by.
  Demands demands;
  bool needs_barriers;            ///< stores, and fences, are waited for by instructions: AArch64
  bool break_before_make;         ///< a valid entry may not become another translation in one store
  bool unaccessed_is_not_cached;  ///< where a clear accessed flag faults
  bool names_addresses;           ///< fences of the second stage may name an address
  /// Fences of both stages remove what only the first stage translated, too.
  bool whole_vm_includes_linear;
  /// Hypervisors number vCPUs, on each core separately (AMD's ASIDs); otherwise they number guests.
  bool vmids_are_vcpus = false;
  bool vmid_0_is_the_hosts;  ///< entry and exit flush it
  WalksOutside walks_outside;
  u64 accessed_flag, dirty_flag;  ///< of second-stage entries, where the hardware sets them
  unsigned vmid_bits;
  std::span<const LogFormat> log_formats;
  const char* log_flag;  ///< a property of VMs in logs that it alone has
  VmTraits flagged;      ///< the traits of VMs that have it
  /// How a root register may differ from the engine's, and still be this VM's.
  bool (*may_differ)(u64 difference);
  const char* register_note;  ///< after the value that was expected
};

}  // namespace nestwalk::models
