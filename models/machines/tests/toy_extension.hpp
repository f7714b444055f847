// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A virtualization extension that no processor has, all of it: an x86-64 guest over tables in
// RISC-V's format, tagged by VMID alone, with two fences that broadcast and are waited for. One
// takes a page (leaves and tables, of both stages), the other a VM. A second-stage fault removes
// what caused it.
#pragma once

#include "nestwalk/machines/extensions.hpp"
#include "row.hpp"

namespace nestwalk::toy {

using namespace addrspace;

inline constexpr FenceCost kPageCost{"toy_page", FenceCost::Like::Broadcast};
inline constexpr FenceCost kVmCost{"toy_vm", FenceCost::Like::Broadcast};

inline constexpr FenceRow kPage{
    .name = "toyflush page",
    .operand = FenceOperand::Ipa,
    .cost = &kPageCost,
    .structures = fence::kFirst | fence::kSecond,
    .scope = fence::kVm | fence::kTables | fence::kBroadcast | fence::kForChanges,
    .by = By::GuestPhysical};
inline constexpr FenceRow kVm{.name = "toyflush vm",
                              .cost = &kVmCost,
                              .structures = fence::kFirst | fence::kSecond,
                              .scope = fence::kVm | fence::kBroadcast | fence::kForChanges};
inline constexpr FenceOp kFences[] = {kPage, kVm};

/// The engine's side.
struct Extension {
  static constexpr Architecture kIsa = Architecture::X86_64;

  static bool goes(const Invalidation<Gpa>::Run& run) {
    return run.changes.any_of(change::kRevoking) || run.table;
  }
  template <class Sink>
  static void emit(const FencePolicy& policy, const Capabilities&, const Invalidation<Gpa>& change,
                   Sink&& sink) {
    if (!change.changes().any_of(change::kRevoking) && !change.tables()) return;
    if (detail::takes_whole_vm(policy, change, goes)) return sink(Fence{kVm});
    for (const auto& run : change) {
      if (!goes(run)) continue;
      for (u64 n = 0; n < run.leaves(); ++n) {
        sink(Fence{kPage, 0, (run.start.value() + (n << run.leaf_shift)) >> 12});
      }
    }
  }
  template <class Sink>
  static void emit_retirement(const Capabilities&, const VmTag&, Sink&& sink) {
    sink(Fence{kVm});
  }
  template <class Sink>
  static void emit_rollover(const Capabilities&, Sink&&) {}
  template <class Sink>
  static void emit_first_entry(const VmTag&, Sink&& sink) {
    sink(Fence{kVm});
  }
  template <class Sink>
  static void emit_vcpu_switch(const Capabilities&, const VmTag&, Sink&& sink) {
    sink(Fence{kVm});
  }
  template <class Sink>
  static void emit_original_page(const FencePolicy&, u64, Sink&& sink) {
    sink(Fence{kVm});
  }
  template <class Sink>
  static void emit_original_all(const FencePolicy&, Sink&& sink) {
    sink(Fence{kVm});
  }
};

/// Its tables.
class Tables : public GStage {
 public:
  using GStage::GStage;
  using Extension = toy::Extension;
  static constexpr Architecture kArchitecture = Architecture::X86_64;
};

extern const models::Extension kToy;
inline const models::Extension& row_of(Extension) { return kToy; }

// The models' side.

using Need = models::Demand::Need;
inline constexpr const char* kManual = "the toy's manual";
inline constexpr models::Demand kNothing{Need::Nothing, false, "nothing", kManual, "Fences"};
inline constexpr models::Demand kFlush{Need::Fence, false, "TOYFLUSH", kManual, "Fences"};
inline constexpr models::Demands kDemands = {
    .none = kNothing,
    .made_valid = kNothing,
    .more_permission = kNothing,
    .less_permission = kFlush,
    .unmapped = kFlush,
    .moved = kFlush,
    .memory_type = kFlush,
    .cleaned = kFlush,
    .resized = {Need::Tolerable, false, "nothing", kManual, "Fences"},
    .table = kFlush,
    .retired = kFlush,
};

inline bool parse(const models::Words& words, Fence& fence) {
  for (const FenceOp op : kFences) {
    const std::size_t names = models::words_in_front(words, op->name.c_str());
    if (names == 0) continue;
    const auto values = models::numbers_after(words, names);
    if (!values || values->size() != (op == kPage ? 1u : 0u)) return false;
    fence.op = op;
    if (op == kPage) fence.operand = values->front();
    return true;
  }
  return false;
}

inline std::optional<models::LogFormat::Made> for_log(u64, Capabilities machine) {
  machine.physical_bits = 56;
  return models::made_for_log<Tables>(Tables::geometry(3), machine);
}
inline constexpr models::LogFormat kLogFormats[] = {{"toy", nullptr, 0, for_log}};

inline constinit const models::Extension kToy = {
    .name = "toy",
    .isa = &models::kX86_64,
    .fences = kFences,
    .whole_vm = kVm,
    .parse = parse,
    .emit = models::emit_for<Extension>,
    .emit_rollover = models::rollover_for<Extension>,
    .emit_first_entry = models::first_entry_for<Extension>,
    .emit_vcpu_switch = models::vcpu_switch_for<Extension>,
    .rules = {{models::Upkeep::Faults, models::Upkeep::Faults},
              {models::Upkeep::Updated, models::Upkeep::Updated}},
    .entries = {[](u64 entry) { return (entry >> 10 & low_mask(44)) << 12; },
                models::with_all_flags},
    .report =
        [](const models::Fault& fault) {
          return models::FaultReport{.event = "toy fault",
                                     .to_hypervisor = true,
                                     .registers = {{{"toyaddr", fault.guest_physical}}}};
        },
    .tags_by_root = false,
    .fault_forgets = true,
    .confirms_faults = false,
    .combine = models::stricter_type,
    .capabilities = models::common_capabilities,
    .host_space =
        [](const software::HypervisorShape& shape, u64 bytes, u16 vmid,
           software::Recording& recording) {
          return software::made_host_space<Tables>(Tables::geometry(shape.levels), "toy levels",
                                                   bytes, vmid, recording);
        },
    .demands = kDemands,
    .needs_barriers = false,
    .break_before_make = false,
    .unaccessed_is_not_cached = false,
    .names_addresses = true,
    .whole_vm_includes_linear = true,
    .vmid_0_is_the_hosts = false,
    .walks_outside = models::WalksOutside::Never,
    .accessed_flag = Tables::kA,
    .dirty_flag = Tables::kD,
    .vmid_bits = 16,
    .log_formats = kLogFormats,
    .log_flag = "toy-flag",
    .flagged = {},
    .may_differ = [](u64 difference) { return difference == 0; },
    .register_note = ", the toy's",
};

}  // namespace nestwalk::toy
