// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/totals.hpp"

#include <algorithm>

namespace nestwalk::software {

void Totals::add(const Vcpu& vcpu, Cycle now) {
  if (!vcpu.begun()) {
    end = std::max(end, now);
    all_finished = false;
    return;
  }
  const VcpuCounts counts = vcpu.counts_until(now);
  const Cycle stop = vcpu.finished() ? counts.end : now;
  end = std::max(end, stop);
  vcpu_cycles += stop - counts.begin;
  if (counts.total() != 0) first_access = std::min(first_access, counts.first_access_end);
  models::add(vcpus, counts);
  models::add(mmu, vcpu.mmu_totals());
  latencies.add(vcpu.latencies());
  all_finished = all_finished && vcpu.finished() && !vcpu.stopped();
  if (vcpu.finished() && !contradiction_) contradiction_ = vcpu.contradiction();
}

void Totals::add(const Hypervisor& hypervisor) {
  models::add(exits, hypervisor.counts());
  models::add(operations, hypervisor.operations());
  models::add(begin, hypervisor.begin_cycles());
  models::add(fences, hypervisor.fence_counts());
  models::add(schedule, hypervisor.schedule_counts());
  models::add(entries, hypervisor.entries());
}

void Totals::add(const Guest& part) {
  models::add(guest, part.counts());
  models::add(entries, part.entries());
}

void Totals::add(const Totals& other) {
  models::add<TotalCounts>(*this, other);
  latencies.add(other.latencies);
  first_access = std::min(first_access, other.first_access);
  all_finished = all_finished && other.all_finished;
  if (!contradiction_) contradiction_ = other.contradiction_;
}

void Totals::take_away(const Totals& before) {
  models::take_away<TotalCounts>(*this, before);
  latencies.take_away(before.latencies);
  const bool comes_later = before.first_access == models::kNever && first_access != models::kNever;
  first_access = comes_later ? first_access - before.end : models::kNever;
  all_finished = false;  // what was under way has parts on both sides
}

std::optional<std::string> Totals::contradiction() const {
  if (contradiction_ || !all_finished) return contradiction_;
  const PartCycles& faults = guest.fault_cycles;
  const PartCycles& switches = guest.switch_cycles;
  const struct {
    const char* what;
    Cycle inside, outside;
  } kPairs[] = {
      {"exits", exits.cycles.sum(),
       vcpus.exit_cycles + faults[Part::Exits] + switches[Part::Exits]},
      {"operations of the hypervisor", operations.cycles.sum(), vcpus.operation_cycles},
      {"faults of the guest", faults.sum(), vcpus.guest_cycles},
      {"switches", switches.sum(), vcpus.switch_cycles},
      {"turns on cores", schedule.cycles.sum(), vcpus.scheduling_cycles},
      {"translations", mmu.cycles,
       vcpus.translation_cycles + vcpus.hidden_cycles + faults[Part::Translation] +
           switches[Part::Translation]},
  };
  for (const auto& pair : kPairs) {
    if (pair.inside == pair.outside) continue;
    return std::string(pair.what) + " took " + std::to_string(pair.inside) +
           " cycles, but those who waited for them waited " + std::to_string(pair.outside);
  }
  return std::nullopt;
}

}  // namespace nestwalk::software
