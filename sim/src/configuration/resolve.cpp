// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a configuration leaves to the traces.

#include <algorithm>

#include "configuration/configuration.hpp"
#include "configuration/fence_rules.hpp"
#include "configuration/schedule.hpp"
#include "nestwalk/software/guest_space.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

using addrspace::Backend;
using addrspace::kGiB;
using addrspace::u32;
using addrspace::u64;
using addrspace::u8;
using software::GuestTables;
using software::MemoryRange;

namespace {

constexpr u64 kMiB2 = u64{2} << 20;

// "x86_64-5" has five.
std::optional<u64> levels_of(const traces::Header& trace) {
  const std::string& tables = trace.guest_tables;
  const bool says = tables.size() > 2 && tables[tables.size() - 2] == '-';
  const char last = says ? tables.back() : '0';
  if (last < '3' || last > '5') return std::nullopt;
  return static_cast<u64>(last - '0');
}

// In whole pages of a size, in order; what touches is one.
std::vector<MemoryRange> whole(std::vector<MemoryRange> ranges, u64 page = kMiB2) {
  for (MemoryRange& range : ranges) {
    const u64 end = range.start + range.bytes;
    range.start &= ~(page - 1);
    range.bytes = (end - range.start + page - 1) & ~(page - 1);
  }
  std::sort(ranges.begin(), ranges.end(), [](const MemoryRange& a, const MemoryRange& b) {
    return a.start != b.start ? a.start < b.start : a.bytes < b.bytes;
  });
  std::vector<MemoryRange> memory;
  for (const MemoryRange& range : ranges) {
    if (memory.empty() || range.start > memory.back().start + memory.back().bytes) {
      memory.push_back(range);
      continue;
    }
    const u64 end = std::max(memory.back().start + memory.back().bytes, range.start + range.bytes);
    memory.back().bytes = end - memory.back().start;
  }
  return memory;
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
  return whole(std::move(ranges));
}

Json as_json(const std::vector<MemoryRange>& ranges) {
  Json list = Json::array();
  for (const MemoryRange& range : ranges) {
    list.push_back(std::to_string(range.start) + "+" + std::to_string(range.bytes));
  }
  return list;
}

std::size_t index_of(const std::string& word, auto& names) {
  return static_cast<std::size_t>(std::find(std::begin(names), std::end(names), word) -
                                  std::begin(names));
}

}  // namespace

void Configuration::resolve_guest(const traces::Header& trace, const models::MachineShape& machine,
                                  software::GuestShape& guest) {
  const auto lacks = [&](traces::Lack what) { return (trace.lacks & what) != 0; };
  if (text("guest.tables") == "auto") {
    const bool physical = trace.mode == traces::Mode::GuestPhysical || lacks(traces::kNoGva);
    put("guest.tables",
        physical                ? "none"
        : lacks(traces::kNoGpa) ? "first-touch"
                                : "recorded",
        "auto");
  }
  const std::string tables = text("guest.tables");
  guest.tables = static_cast<GuestTables>(index_of(tables, software::kGuestTablesNames));
  const bool needs_gpa = guest.tables == GuestTables::Recorded || guest.tables == GuestTables::None;
  if (needs_gpa && lacks(traces::kNoGpa)) {
    throw UsageError("guest.tables is " + tables +
                     ", but the trace has no guest-physical addresses");
  }
  if (guest.tables == GuestTables::Replayed &&
      trace.architecture != machine.extension->isa->architecture) {
    throw UsageError(
        "guest.tables is replayed, but the trace is not of the machine's architecture");
  }
  guest.placement = static_cast<software::Placement>(
      index_of(text("guest.placement"), software::kPlacementNames));
  guest.large_pages = flag("guest.large_pages");
  if (document_["guest"]["levels"] == "auto") {
    const u64 theirs = levels_of(trace).value_or(4);
    const bool there = machine.extension->isa->has_levels(static_cast<unsigned>(theirs));
    put("guest.levels", there ? theirs : 4, "auto");  // every architecture has four
  }
  guest.levels = static_cast<u8>(number("guest.levels"));
  guest.seed = number("guest.seed");
  const Json memory = document_["guest"]["memory"];
  if (memory == "auto") {
    guest.memory = memory_of(trace);
    if (guest.memory.empty()) guest.memory = {{0, 4 * kGiB}};
    put("guest.memory", as_json(guest.memory), "auto");
  } else {
    const bool is_size =
        memory.is_number() ||
        (memory.is_string() && memory.get<std::string>().find('+') == std::string::npos);
    guest.memory =
        whole(is_size ? std::vector<MemoryRange>{{0, number("guest.memory")}} : *ranges_of(memory));
  }
  if (guest.memory.empty()) throw UsageError("guest.memory is empty");
  guest.fragmentation = static_cast<u32>(number("guest.fragmentation"));
  for (const traces::MemoryRange& range : trace.memory) {
    const bool is_device = range.stage == traces::Stage::Guest && range.kind == "mmio";
    if (is_device && range.bytes < ~u64{0} - range.start) {
      guest.devices.push_back({range.start, range.bytes});
    }
  }
  guest.mmio = whole(*ranges_of(document_["hypervisor"]["mmio"]), addrspace::kFrameBytes);
}

void Configuration::resolve_fences(software::HypervisorShape& hypervisor) {
  const std::string fences = text("hypervisor.fences");
  for (const addrspace::FencePolicy* const policy : addrspace::kFencePolicies) {
    if (fences == policy->name) hypervisor.fences = *policy;
  }
  if (fences == "batched") {
    hypervisor.fences.most_selective = static_cast<u32>(number("hypervisor.fence_threshold"));
  }
  const Json& rules = document_["hypervisor"]["fence_rules"];
  // Those that are not used are checked as well.
  if (fences == "rules" || !rules.is_null()) {
    const models::Extension& extension =
        *models::parse_preset(document_["machine"], preset_file_).shape.extension;
    const FenceRules own = parse_fence_rules(rules, extension, "hypervisor.fence_rules");
    if (fences != "rules") return;
    hypervisor.fences = {.name = "rules",
                         .source = addrspace::FencePolicy::Source::Rules,
                         .deferred = own.deferred,
                         .interrupts = own.interrupts};
    hypervisor.rules = own.rules;
  }
}

VmShape Configuration::resolve_vm(const traces::Header& trace,
                                  const models::MachineShape& machine) {
  VmShape vm;
  vm.vcpus = trace.vcpus;
  resolve_guest(trace, machine, vm.guest);
  const std::string backing = text("hypervisor.backing");
  const u8 level = flag("hypervisor.large_pages") ? 1 : 0;
  vm.replays_host = backing == "replayed";
  vm.hypervisor.second_stage = backing != "none" && !vm.replays_host;
  if (backing == "none" && vm.guest.tables == GuestTables::None) {
    throw UsageError("guest.tables and hypervisor.backing are none: no stage");
  }
  if (backing == "none" && vm.guest.tables == GuestTables::Replayed) {
    throw UsageError("guest.tables is replayed and hypervisor.backing none: not supported yet");
  }
  if (vm.replays_host && vm.guest.tables != GuestTables::Replayed) {
    throw UsageError("hypervisor.backing is replayed, but guest.tables is not");
  }
  if (vm.replays_host && trace.mode != traces::Mode::Nested) {
    throw UsageError("hypervisor.backing is replayed, but the trace has no second stage");
  }
  vm.hypervisor.backend =
      backing == "eager" ? Backend::eager(level)
      : backing == "linear"
          ? Backend::linear(addrspace::Hpa(0))
          : Backend::lazy(static_cast<u8>(number("hypervisor.fault_around")), level);
  vm.hypervisor.levels = static_cast<u8>(number("hypervisor.levels"));
  vm.hypervisor.hardware_dirty = flag("hypervisor.hardware_dirty");
  if (!vm.guest.mmio.empty() && !vm.hypervisor.second_stage) {
    throw UsageError(
        "hypervisor.mmio needs a second stage of the engine, but hypervisor.backing is " + backing);
  }
  resolve_fences(vm.hypervisor);
  vm.hypervisor.drop_fence = number("hypervisor.drop_fence");
  vm.hypervisor.schedule =
      parse_schedule(document_["hypervisor"]["schedule"], "hypervisor.schedule");
  if (!vm.hypervisor.schedule.empty() && !vm.hypervisor.second_stage) {
    throw UsageError(
        "hypervisor.schedule needs a second stage of the engine, but hypervisor.backing is " +
        backing);
  }
  if (text("vcpu.order") == "auto") {
    put("vcpu.order", (trace.lacks & traces::kNoOrder) == 0 ? "recorded" : "free", "auto");
  }
  vm.ordered = text("vcpu.order") == "recorded";
  return vm;
}

void Configuration::resolve_host(RunShape& shape, u32 vcpus) {
  if (document_["host"]["cores"] == "auto") put("host.cores", vcpus, "auto");
  shape.cores = static_cast<u32>(number("host.cores"));
  shape.slice = number("host.time_slice");
  const auto vms = static_cast<u64>(shape.vms.size());
  if (document_["host"]["vmids"] == "auto") put("host.vmids", std::max<u64>(vms, 2), "auto");
  shape.vmids = static_cast<addrspace::u16>(number("host.vmids"));
  // Each core runs one guest at a time, and that keeps its own.
  if (shape.vmids < vms && shape.vmids < shape.cores) {
    throw UsageError("host.vmids is " + std::to_string(shape.vmids) + ", but " +
                     std::to_string(shape.cores) + " cores run as many guests at once");
  }
}

RunShape Configuration::resolve(const std::vector<traces::Header>& traces) {
  RunShape shape;
  shape.machine = models::parse_preset(document_["machine"], preset_file_).shape;
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
  resolve_host(shape, vcpus);
  shape.machine.cores = std::max(shape.machine.cores, shape.cores);
  if (document_["machine"]["cores"][0] != shape.machine.cores) {
    document_["machine"]["cores"] = Json::array({shape.machine.cores, "manual vCPUs of the trace"});
  }
  shape.host_bytes = (number("host.memory") + kGiB - 1) / kGiB * kGiB;
  // Guest-physical addresses, or those of the recorded host, are this machine's.
  const bool own_addresses = !shape.vms[0].hypervisor.second_stage;
  if (own_addresses) shape.machine.memory_base = 0;
  if (own_addresses && traces.size() > 1) {
    throw UsageError("hypervisor.backing is " + text("hypervisor.backing") +
                     ", and there are several traces: their memory would be the same");
  }
  shape.vcpu.window = static_cast<u32>(number("vcpu.window"));
  shape.limit = number("run.limit");
  shape.part = {number("run.warmup"), word("run.from"), word("run.to"), flag("run.phases")};
  if (shape.part.warmup != 0 && !shape.part.from.empty()) {
    throw UsageError("run.warmup and run.from: statistics begin once");
  }
  const bool has_phases = shape.part.phases || !shape.part.from.empty() || !shape.part.to.empty();
  if (has_phases && traces.size() > 1) {
    throw UsageError("run.from, run.to and run.phases: several traces have phases of their own");
  }
  if (shape.limit != 0 && shape.part.warmup >= shape.limit) {
    throw UsageError("run.warmup is " + std::to_string(shape.part.warmup) +
                     ", so nothing of run.limit, " + std::to_string(shape.limit) + ", is left");
  }
  return shape;
}

}  // namespace nestwalk::sim
