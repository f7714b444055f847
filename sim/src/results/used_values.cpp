// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/used_values.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <stdexcept>

namespace nestwalk::sim {
namespace {

using Names = std::vector<const char*>;

bool overlaps(const models::MachineShape& machine) { return machine.core.is_out_of_order(); }
bool prefetches(const models::MachineShape& machine) {
  return machine.mmu.prefetch.policy.present();
}

constexpr unsigned kMostValues = 1 << 20;

const Names kAlways = {"*"};
const Names kFences = {"engine.fences", "guest.fences",     "fence.cycles",
                       "time.fences",   "fence.interrupts", "guest.cycles.fences"};
const Names kInterrupts = {"fence.interrupts", "guest.fences", "time.fences",
                           "guest.cycles.fences"};
const Names kWalks = {"walk.count", "walk.faults", "walk.merged", "tlb.prefetch.asked"};
const Names kNestedWalks = {"reference.*nested*"};
// What caches are filled from. Zeroing goes through them, too.
const Names kMemory = {"cache.memory.served", "dram.row_*", "prefetch.*.from_memory"};
const Names kBelowFirst = {"cache.l2.served", "cache.l3.served", "cache.memory.served",
                           "dram.row_*", "prefetch.*.issued"};
const Names kExits = {"exit.total", "operation.cycles", "host.cycles", "fence.interrupts"};
const Names kFrames = {"exit.total",         "operation.cycles", "time.begin",
                       "guest.table_frames", "guest.faults",     "engine.entries_written"};
const Names kZeros = {"engine.bytes_zeroed", "guest.bytes_zeroed"};
const Names kSecondStage = {"reference.*nested*", "exit.total", "host.cycles"};

}  // namespace

const std::vector<UseRow>& use_rows() {
  static const std::vector<UseRow> kRows = {
      {"architecture", kAlways},
      {"extension", kAlways},
      {"cores", kFences},
      {"clock_mhz", kAlways},
      {"core.kind", kAlways},
      {"core.width", kAlways},
      {"core.window", kAlways, overlaps},
      {"core.load_queue", kAlways, overlaps},
      {"core.load_ports", kAlways, overlaps},
      {"core.store_buffer", {"access.writes"}},
      {"core.store_ports", {"access.writes.buffered"}},
      {"core.forward_cycles", {"store_buffer.forwarded"}},
      {"core.fetch_hits", {"access.fetches"}},
      {"tlb.fractured_fences", kFences},
      {"tlb.fetch", {"access.fetches"}},
      {"tlb.data", kAlways},
      {"tlb.store", {"access.writes"}},
      {"tlb.second", {"tlb.second_hits", "walk.count", "walk.faults", "walk.merged"}},
      {"tlb.prefetcher", kWalks, prefetches},
      {"tlb.prefetcher.policy", kWalks},
      {"walker", kWalks},
      {"walker.assist_cycles", {"reference.*.update.*"}},
      {"walker.guest_walk_cache", {"reference.guest*"}},
      {"walker.nested_walk_cache", kNestedWalks},
      {"walker.nested_tlb", kNestedWalks},
      {"walker.nested_slots", kNestedWalks},
      {"caches.line_bytes", kAlways},
      {"caches.l1i", {"access.fetches"}},
      {"caches.l1d", kAlways},
      {"caches.l2", kBelowFirst},
      {"caches.l3", kBelowFirst},
      {"memory", kMemory},
      {"fence", kFences},
      {"fence.ipi_cycles", kInterrupts},
      {"fence.cycles.kick", kInterrupts},
      {"fence.cycles.acknowledge", kInterrupts},
      {"software.instructions_per_1000_cycles", {"access.instructions"}},
      {"software.exit_cycles", kExits},
      {"software.entry_cycles", kExits},
      {"software.handler_cycles", kExits},
      {"software.emulation_cycles", {"exit.no_area", "access.emulated"}},
      {"software.frame_cycles", kFrames},
      {"software.zero_cycles", kZeros},
      {"software.clearing", kZeros},
      {"software.guest_fault_cycles", {"guest.faults"}},
      {"software.guest_switch_cycles", {"time.switches"}},
      {"software.host_switch_cycles", {"host.cycles"}},
      {"paging.accessed_dirty", kAlways},
      {"paging.napot", kAlways},
      {"tags.asid_bits", {"guest.switches", "guest.asid_rollovers"}},
      {"tags.vmid_bits", kSecondStage},
  };
  return kRows;
}

const UseRow* use_row_of(const std::string& path) {
  const UseRow* longest = nullptr;
  std::size_t length = 0;
  for (const UseRow& row : use_rows()) {
    const std::string_view begin = row.path;
    const bool fits =
        path.starts_with(begin) && (path.size() == begin.size() || path[begin.size()] == '.');
    if (!fits || begin.size() < length) continue;
    longest = &row;
    length = begin.size();
  }
  return longest;
}

namespace {

bool is_zero(const Value& value) {
  return std::visit([](auto number) { return number == 0; }, value);
}

/// Decides for each row once: statistics are hundreds.
class Uses {
 public:
  Uses(const models::Preset& machine, const Statistics& statistics) : machine_(machine) {
    for (const Statistic& each : statistics) {
      const bool is_of_all = !each.name.starts_with("vm") && !each.name.starts_with(kVcpuPrefix) &&
                             !each.name.starts_with("phase.");
      if (is_of_all && !is_zero(each.value)) there_.push_back(each.name);
    }
    for (const UseRow& row : use_rows()) {
      if (is_in_use(row)) in_use_.push_back(&row);
    }
  }

  bool has(const models::PresetSource& value) const {
    const UseRow* const row = use_row_of(value.path);
    if (row == nullptr) throw std::logic_error("nothing says when " + value.path + " is used");
    return std::ranges::find(in_use_, row) != in_use_.end();
  }

 private:
  bool is_in_use(const UseRow& row) const {
    if (row.applies != nullptr && !row.applies(machine_.shape)) return false;
    return std::ranges::any_of(row.statistics, [&](const char* pattern) {
      return std::ranges::any_of(
          there_, [&](const std::string& name) { return fnmatch(pattern, name.c_str(), 0) == 0; });
    });
  }

  const models::Preset& machine_;
  std::vector<std::string> there_;
  std::vector<const UseRow*> in_use_;
};

}  // namespace

UsedValues used_values_of(const models::Preset& machine, const Statistics& statistics) {
  const Uses uses(machine, statistics);
  UsedValues values;
  for (const models::PresetSource& each : machine.sources) {
    if (!uses.has(each)) continue;
    ++values.used;
    if (!each.is_guess()) continue;
    ++values.guesses;
    if (each.range) ++values.with_range;
  }
  return values;
}

std::vector<std::string> unused_values_of(const models::Preset& machine,
                                          const Statistics& statistics) {
  const Uses uses(machine, statistics);
  std::vector<std::string> paths;
  for (const models::PresetSource& each : machine.sources) {
    if (!uses.has(each)) paths.push_back(each.path);
  }
  return paths;
}

std::string text_of(const UsedValues& values) {
  return std::to_string(values.guesses) + " of the machine's " + std::to_string(values.used) +
         " values that were used";
}

Json as_json(const UsedValues& values) {
  return {{"used", values.used}, {"guesses", values.guesses}, {"with_range", values.with_range}};
}

std::optional<UsedValues> used_values_from(const Json& json) {
  const auto number = [&](const char* key) -> std::optional<unsigned> {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_unsigned()) return {};
    const auto value = json[key].get<addrspace::u64>();
    return value > kMostValues ? std::nullopt : std::optional(static_cast<unsigned>(value));
  };
  const auto used = number("used"), guesses = number("guesses"), ranges = number("with_range");
  if (!used || !guesses || !ranges || *guesses > *used || *ranges > *guesses) return {};
  return UsedValues{*used, *guesses, *ranges};
}

}  // namespace nestwalk::sim
