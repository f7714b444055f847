// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a configuration leaves to the traces.

#include <algorithm>

#include "configuration/configuration.hpp"
#include "configuration/fence_rules.hpp"
#include "configuration/parameter_rows.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

using addrspace::kGiB;
using addrspace::u32;
using addrspace::u64;
using software::Backing;
using software::GuestTables;
using software::MemoryRange;

namespace {

// "x86_64-5" has five.
std::optional<u64> levels_of(const traces::Header& trace) {
  const std::string& tables = trace.guest_tables;
  const bool says = tables.size() > 2 && tables[tables.size() - 2] == '-';
  const char last = says ? tables.back() : '0';
  if (last < '3' || last > '5') return std::nullopt;
  return static_cast<u64>(last - '0');
}

std::vector<MemoryRange> memory_of(const traces::Header& trace) {
  constexpr u64 kEnd = u64{1} << 47;
  std::vector<MemoryRange> ranges;
  for (const traces::MemoryRange& range : trace.memory) {
    const bool is_memory = range.kind == "ram" || range.kind == "rom";
    if (range.stage != traces::Stage::Guest || !is_memory || range.start >= kEnd) continue;
    if (range.bytes != 0) {
      ranges.push_back({range.start, std::min(range.bytes, kEnd - range.start)});
    }
  }
  return whole_pages(std::move(ranges), software::kLargePageBytes);
}

std::vector<MemoryRange> devices_of(const traces::Header& trace) {
  std::vector<MemoryRange> devices;
  for (const traces::MemoryRange& range : trace.memory) {
    const bool is_device = range.stage == traces::Stage::Guest && range.kind == "mmio";
    if (is_device && range.bytes < ~u64{0} - range.start) {
      devices.push_back({range.start, range.bytes});
    }
  }
  return devices;
}

bool lacks(const traces::Header& trace, traces::Lack what) { return (trace.lacks & what) != 0; }

// ---- values that contradict the trace, or each other ----

void check_guest(const software::GuestShape& guest, const traces::Header& trace,
                 const models::MachineShape& machine) {
  const bool needs_gpa = guest.tables == GuestTables::Recorded || guest.tables == GuestTables::None;
  if (needs_gpa && lacks(trace, traces::kNoGpa)) {
    throw UsageError(std::string("guest.tables is ") +
                     word_of(software::kGuestTables, guest.tables) +
                     ", but the trace has no guest-physical addresses");
  }
  if (guest.tables == GuestTables::Replayed &&
      trace.architecture != machine.extension->isa->architecture) {
    throw UsageError(
        "guest.tables is replayed, but the trace is not of the machine's architecture");
  }
  if (guest.memory.empty()) throw UsageError("guest.memory is empty");
}

void check_backing(const software::VmShape& vm, const traces::Header& trace) {
  const GuestTables tables = vm.guest.tables;
  if (vm.hypervisor.backing == Backing::None && tables == GuestTables::None) {
    throw UsageError("guest.tables and hypervisor.backing are none: no stage");
  }
  if (vm.hypervisor.backing == Backing::None && tables == GuestTables::Replayed) {
    throw UsageError("guest.tables is replayed and hypervisor.backing none: not supported yet");
  }
  if (vm.replays_host() && tables != GuestTables::Replayed) {
    throw UsageError("hypervisor.backing is replayed, but guest.tables is not");
  }
  if (vm.replays_host() && trace.mode != traces::Mode::Nested) {
    throw UsageError("hypervisor.backing is replayed, but the trace has no second stage");
  }
  const auto expect_second_stage = [&](bool needed, const char* path) {
    if (!needed || vm.hypervisor.has_second_stage()) return;
    throw UsageError(std::string(path) +
                     " needs a second stage of the engine, but hypervisor.backing is " +
                     word_of(software::kBackings, vm.hypervisor.backing));
  };
  expect_second_stage(!vm.guest.mmio.empty(), "hypervisor.mmio");
  expect_second_stage(!vm.hypervisor.schedule.empty(), "hypervisor.schedule");
}

void check_host(const RunShape& shape) {
  // Each core runs one guest at a time, and that keeps its own.
  if (!shape.vcpu_tags && shape.vmids < shape.vms.size() && shape.vmids < shape.cores) {
    throw UsageError("host.vmids is " + std::to_string(shape.vmids) + ", but " +
                     std::to_string(shape.cores) + " cores run as many guests at once");
  }
  const u64 most = addrspace::low_mask(shape.machine.vmid_bits);
  if (most != 0 && shape.vmids > most) {
    throw UsageError("host.vmids is " + std::to_string(shape.vmids) + ", but the machine has " +
                     std::to_string(shape.machine.vmid_bits) +
                     " bits for them (tags.vmid_bits): expected at most " + std::to_string(most));
  }
  const models::Extension& extension = *shape.machine.extension;
  if (shape.vcpu_tags && !extension.vmids_are_vcpus) {
    throw UsageError(std::string("host.vmids_of is vcpus, which is not supported yet for ") +
                     extension.name);
  }
  for (const software::VmShape& vm : shape.vms) {
    if (vm.hypervisor.fences == &software::kFreshVmid && !shape.vcpu_tags) {
      throw UsageError("hypervisor.fences is fresh-vmid, which needs host.vmids_of=vcpus");
    }
  }
  if (shape.vcpu_tags && !shape.vms[0].hypervisor.has_second_stage()) {
    throw UsageError("host.vmids_of=vcpus needs a second stage of the engine");
  }
  // Guest-physical addresses, or those of the recorded host, are the machine's.
  const software::HypervisorShape& hypervisor = shape.vms[0].hypervisor;
  if (!hypervisor.has_second_stage() && shape.vms.size() > 1) {
    throw UsageError(std::string("hypervisor.backing is ") +
                     word_of(software::kBackings, hypervisor.backing) +
                     ", and there are several traces: their memory would be the same");
  }
}

void check_part(const RunShape& shape) {
  const MeasuredPart& part = shape.part;
  if (part.warmup != 0 && !part.from.empty()) {
    throw UsageError("run.warmup and run.from: statistics begin once");
  }
  const bool has_phases = part.phases || !part.from.empty() || !part.to.empty();
  if (has_phases && shape.vms.size() > 1) {
    throw UsageError("run.from, run.to and run.phases: several traces have phases of their own");
  }
  if (shape.limit != 0 && part.warmup >= shape.limit) {
    throw UsageError("run.warmup is " + std::to_string(part.warmup) +
                     ", so nothing of run.limit, " + std::to_string(shape.limit) + ", is left");
  }
}

}  // namespace

void Configuration::decide(const char* path, const Json& value) {
  if (value_at(path) == kAuto) {
    put(path, value, kAuto);
  } else if (value_at(path) != value) {
    instead_of_auto_.insert(path);
  }
}

void Configuration::decide_guest(const traces::Header& trace, const models::MachineShape& machine) {
  const bool physical = trace.mode == traces::Mode::GuestPhysical || lacks(trace, traces::kNoGva);
  decide("guest.tables",
         word_of(software::kGuestTables, physical                       ? GuestTables::None
                                         : lacks(trace, traces::kNoGpa) ? GuestTables::FirstTouch
                                                                        : GuestTables::Recorded));
  const u64 levels = levels_of(trace).value_or(4);
  const bool there = machine.extension->isa->has_levels(static_cast<unsigned>(levels));
  decide("guest.levels", there ? levels : 4);  // every architecture has four
  const std::vector<MemoryRange> memory = memory_of(trace);
  const std::vector<MemoryRange> plain = {{0, 4 * kGiB}};
  decide("guest.memory", json_of(memory.empty() ? plain : memory));
}

software::VmShape Configuration::resolve_vm(const traces::Header& trace,
                                            const models::MachineShape& machine) {
  software::VmShape vm;
  vm.vcpus = trace.vcpus;
  decide_guest(trace, machine);
  decide("hypervisor.hardware_dirty", machine.sets_flags);
  decide("vcpu.order", word_of(software::kOrders, !lacks(trace, traces::kNoOrder)));
  read_parameters(document_, vm);
  read_parameters(document_, vm.guest);
  vm.guest.devices = devices_of(trace);
  check_guest(vm.guest, trace, machine);
  read_parameters(document_, vm.hypervisor);
  const Json& rules = value_at("hypervisor.fence_rules");
  // Those that are not used are checked as well.
  if (vm.hypervisor.fences == &software::kOwnRules || !rules.is_null()) {
    vm.hypervisor.fence_rules =
        parse_fence_rules(rules, *machine.extension, "hypervisor.fence_rules");
  }
  check_backing(vm, trace);
  return vm;
}

// What the core does not have is not set in vain.
void Configuration::check_core(const models::CoreShape& core) const {
  const auto expect = [&](bool used, const char* key, const char* why) {
    const auto found = set_.find(std::string("machine.core.") + key);
    if (used || found == set_.end()) return;
    throw UsageError(found->second + ": has no effect: " + why);
  };
  for (const char* const key : {"window", "load_queue", "load_ports"}) {
    expect(core.is_out_of_order(), key, "core.kind is in-order");
  }
  for (const char* const key : {"store_ports", "forward_cycles"}) {
    expect(core.store_buffer != 0, key, "core.store_buffer is 0");
  }
}

RunShape Configuration::resolve(const std::vector<traces::Header>& traces) {
  RunShape shape;
  instead_of_auto_.clear();
  shape.machine = models::parse_preset(document_["machine"], preset_file_).shape;
  check_core(shape.machine.core);
  const Json asked = document_;
  Json decided;
  u32 vcpus = 0;
  for (const traces::Header& trace : traces) {
    document_ = asked;
    shape.vms.push_back(resolve_vm(trace, shape.machine));
    vcpus += trace.vcpus;
    if (decided.is_null()) decided = document_;
    if (decided != document_) decided = asked;  // each trace decides for itself again
  }
  document_ = decided;
  decide("host.cores", vcpus);
  const bool by_vcpu =
      shape.machine.extension->vmids_are_vcpus && shape.vms[0].hypervisor.has_second_stage();
  decide("host.vmids_of", word_of(kOwnersOfVmids, by_vcpu));
  const bool vcpus_have_them = value_at("host.vmids_of") == word_of(kOwnersOfVmids, true);
  const u64 users = std::max<u64>(vcpus_have_them ? vcpus : shape.vms.size(), 2);
  const u64 most = addrspace::low_mask(shape.machine.vmid_bits);
  decide("host.vmids", most == 0 ? users : std::min(users, most));
  read_parameters(document_, shape);
  read_parameters(document_, shape.program);
  read_parameters(document_, shape.part);
  check_host(shape);
  check_part(shape);
  shape.machine.cores = std::max(shape.machine.cores, shape.cores);
  if (document_["machine"]["cores"][0] != shape.machine.cores) {
    document_["machine"]["cores"] = Json::array({shape.machine.cores, "manual vCPUs of the trace"});
  }
  shape.host_bytes = (shape.host_bytes + kGiB - 1) / kGiB * kGiB;
  // Guest-physical addresses, or those of the recorded host, are this machine's.
  if (!shape.vms[0].hypervisor.has_second_stage()) shape.machine.memory_base = 0;
  return shape;
}

}  // namespace nestwalk::sim
