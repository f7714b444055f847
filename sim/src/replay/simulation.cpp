// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/simulation.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace nestwalk::sim {

using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using models::Cycle;
using software::VirtualMachine;

namespace {

/// Simulated cycles after which the outside world is looked at: about a tenth of a second's,
/// however many cores there are, so that an interrupt need not wait.
class Slice {
 public:
  Cycle cycles() const { return cycles_; }
  void adapt(double host_seconds) {
    if (host_seconds < kSeconds / 2) {
      cycles_ = std::min(kMost, 2 * cycles_);
    } else if (host_seconds > 2 * kSeconds) {
      cycles_ = std::max(kLeast, cycles_ / 4);
    }
  }

 private:
  static constexpr Cycle kLeast = 10'000;
  static constexpr Cycle kMost = 50'000'000;
  static constexpr double kSeconds = 0.1;
  Cycle cycles_ = kLeast;
};

/// With more than that, there are no statistics of each vCPU: what is written has to be read again,
/// and stats.json has at most models::kMostResultBytes.
constexpr u32 kMostVcpusApart = 256;

/// Tags of a guest besides those of its ASIDs: globals, guest-physical, without a first stage, and
/// its kernel's direct map.
constexpr u32 kOwnTags = 8;

// The caches tell so many combinations of VMIDs and ASIDs apart; on x86, of roots as well, which
// come under each VMID where these change hands.
u16 asids_for_each(const RunShape& shape, u32 vcpus) {
  const auto guests = static_cast<u32>(shape.vms.size());
  const bool by_root = shape.machine.extension->tags_by_root;
  // On a core, if that hands them out.
  const u32 users = shape.vcpu_tags ? (vcpus + shape.cores - 1) / shape.cores : guests;
  const u32 vmids = std::min<u32>(users, shape.vmids);
  const bool change_hands = shape.vcpu_tags || vmids < guests;
  const u32 there_are = models::Tags::kMost / (by_root && change_hands ? guests * vmids : vmids);
  if (there_are < kOwnTags + vcpus + 1) {
    throw software::ShapeError(std::to_string(guests) + " guests under " + std::to_string(vmids) +
                               " VMIDs (host.vmids) have too few ASIDs");
  }
  // A machine without ASIDs forgets all when it switches: which numbers there are is no matter.
  const u64 of_machine = addrspace::low_mask(shape.machine.asid_bits);
  return std::min({shape.machine.extension->isa->most_asids, static_cast<u16>(there_are - kOwnTags),
                   static_cast<u16>(of_machine == 0 ? 0xffff : of_machine)});
}

}  // namespace

Simulation::Simulation(const RunShape& shape, const std::vector<software::GuestSource>& sources)
    : shape_(shape), platform_("platform", shape.machine, shape.host_bytes) {
  sc_core::sc_start(sc_core::SC_ZERO_TIME);  // elaborates
  platform_.board().memory().choose_policy(shape.frames);
  cores_.emplace(platform_.board().cores(), shape.slice);
  vmids_.emplace(shape.vmids, platform_.board().cores());
  if (shape.vcpu_tags) {
    vcpu_tags_.emplace(shape.vmids, platform_.board().cores());
    platform_.fences().know_guests_by(*vcpu_tags_);
  }
  u32 vcpus = 0;
  for (const software::VmShape& vm : shape.vms) {
    if (vm.vcpus == 0 || shape.cores == 0)
      throw software::ShapeError("a guest has no vCPU or core");
    vcpus += vm.vcpus;
  }
  const VirtualMachine::Host host{shape.machine,
                                  platform_.board(),
                                  platform_.fences(),
                                  *cores_,
                                  *vmids_,
                                  shape.cores,
                                  asids_for_each(shape, vcpus),
                                  vcpu_tags_ ? &*vcpu_tags_ : nullptr};
  const software::PlayShape play{shape.program, shape.limit == 0 ? ~u64{0} : shape.limit,
                                 shape.part.warmup};
  u32 first_vcpu = 0;
  for (std::size_t n = 0; n < shape.vms.size(); ++n) {
    vms_.push_back(
        std::make_unique<VirtualMachine>(shape.vms[n], play, host, first_vcpu, sources[n]));
    first_vcpu += shape.vms[n].vcpus;
  }
  measurement_ = std::make_unique<Measurement>(shape.part, vcpus, [this] { return look(); });
  for (const auto& vm : vms_) vm->tell(*measurement_);
}

void Simulation::watch_fences(checker::Events& events) {
  feed_.emplace(events, platform_.board(), *vms_[0]);
  vms_[0]->watch(*feed_);
}

void Simulation::run(const std::function<bool()>& interrupted,
                     const std::function<void(u64)>& progress) {
  for (const auto& vm : vms_) vm->begin();
  models::Wheel& wheel = platform_.time.wheel();
  platform_.time.wake();
  Slice slice;
  while (wheel.next() != models::kNever && !measurement_->over()) {
    if (wheel.next() > platform_.time.last_cycle()) {
      ended_early_ = "the simulated time is over: it is " +
                     std::to_string(platform_.time.last_cycle()) + " cycles at most";
      return;
    }
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    platform_.time.run_at_most(slice.cycles());
    // From the next event on: a time in which nothing happens is not cut into slices.
    const Cycle here = platform_.time.cycle_from(sc_core::sc_time_stamp());
    const Cycle idle = std::max(wheel.next(), here) - here;
    sc_core::sc_start(platform_.time.time_of(idle + slice.cycles()));
    slice.adapt(std::chrono::duration<double>(Clock::now() - start).count());
    progress(accesses());
    if (interrupted()) {
      ended_early_ = kInterrupted;
      return;
    }
  }
  for (const auto& vm : vms_) vm->rethrow();
  for (const auto& vm : vms_) {
    if (ended_early_.empty()) ended_early_ = vm->stopped().value_or("");
  }
  // As that was asked for, it is likely why.
  const bool lacks_fence = std::any_of(vms_.begin(), vms_.end(),
                                       [](const auto& vm) { return vm->has_left_out_fence(); });
  if (!ended_early_.empty() && lacks_fence) {
    ended_early_ += "; a fence was left out, as hypervisor.drop_fence says";
  }
  if (ended_early_.empty() && !measurement_->over()) check_end();
}

// Nothing is due any more: so all are through, and have paid what interrupts took.
void Simulation::check_end() {
  Cycle paid = 0;
  for (const auto& vm : vms_) {
    for (u32 n = 0; n < vm->vcpus(); ++n) {
      if (!vm->vcpu(n).finished()) {
        throw std::logic_error("vCPU " + std::to_string(n) +
                               " of a guest waits for what never comes");
      }
      paid += vm->vcpu(n).counts().interrupted_cycles + vm->vcpu(n).counts().unpaid_cycles;
    }
  }
  if (paid != cores_->taken()) {
    throw std::logic_error("interrupts took " + std::to_string(cores_->taken()) +
                           " cycles, but vCPUs paid " + std::to_string(paid));
  }
}

u64 Simulation::accesses() const {
  u64 sum = 0;
  for (const auto& vm : vms_) {
    for (u32 n = 0; n < vm->vcpus(); ++n) sum += vm->vcpu(n).counts().total();
  }
  return sum;
}

software::Totals Simulation::totals() {
  software::Totals all;
  for (const auto& vm : vms_) vm->add_to(all, platform_.time.wheel().now());
  return all;
}

Measured Simulation::measured(const std::vector<const VirtualMachine*>& vms) {
  Measured run;
  run.clock = machine().clock();
  for (const VirtualMachine* const vm : vms) {
    vm->add_to(run.totals, platform_.time.wheel().now());
    const addrspace::SpaceUsage usage = vm->host_space().usage();
    run.memory.tables.owned_bytes += usage.tables.owned_bytes;
    run.memory.tables.table_bytes += usage.tables.table_bytes;
    run.reserved_frames += vm->reserved_frames();
    models::add(run.work, vm->work());
    if (vm->replayed() == nullptr) continue;
    if (!run.replayed) run.replayed.emplace();
    models::add(*run.replayed, vm->replayed()->counts());
  }
  if (const auto contradiction = run.totals.contradiction()) {
    throw std::logic_error("the sums do not close: " + *contradiction);
  }
  return run;
}

Measurement::Snapshot Simulation::look() {
  std::vector<const VirtualMachine*> all;
  for (const auto& vm : vms_) all.push_back(vm.get());
  Measurement::Snapshot now = {measured(all)};
  models::Board& board = platform_.board();
  const models::HostMemory& memory = board.memory();
  const models::MemoryHierarchy& caches = board.hierarchy();
  using models::Served;
  now[0].machine = {caches.dram_counts(),
                    {caches.prefetch_counts(Served::L1), caches.prefetch_counts(Served::L2),
                     caches.prefetch_counts(Served::L3)},
                    memory.policy().counts(),
                    memory.frames().peak() * addrspace::kFrameBytes,
                    memory.policy().reserved()};
  if (all.size() != 1) {
    for (const VirtualMachine* const vm : all) now.push_back(measured({vm}));
  }
  u32 vcpus = 0;
  for (const VirtualMachine* const vm : all) vcpus += vm->vcpus();
  if (vcpus == 1 || vcpus > kMostVcpusApart) return now;
  for (const VirtualMachine* const vm : all) {
    for (u32 n = 0; n < vm->vcpus(); ++n) {
      Measured& one = now.emplace_back();
      one.of_vcpu = true;
      one.clock = machine().clock();
      one.totals = vm->totals_of(n, platform_.time.wheel().now());
    }
  }
  return now;
}

void Simulation::for_each_part(
    const std::function<void(const std::string& prefix, const Measured&)>& tell) {
  if (!whole_) whole_ = measurement_->whole(!ended_early_.empty());
  const Measurement::Snapshot& parts = *whole_;
  tell("", parts[0]);
  u64 guests = 0, vcpus = 0;
  for (std::size_t n = 1; n < parts.size(); ++n) {
    tell(parts[n].of_vcpu ? kVcpuPrefix + std::to_string(vcpus++) + "."
                          : "vm" + std::to_string(guests++) + ".",
         parts[n]);
  }
  for (const auto& phase : measurement_->phases()) {
    tell("phase." + phase.label + ".", phase.measured);
  }
}

Statistics Simulation::statistics() {
  Statistics rows;
  for_each_part([&](const std::string& prefix, const Measured& part) {
    for (Statistic& row : statistics_of(part)) {
      row.name.insert(0, prefix);
      rows.push_back(std::move(row));
    }
  });
  return rows;
}

std::vector<Histogram> Simulation::histograms() {
  std::vector<Histogram> all;
  for_each_part([&](const std::string& prefix, const Measured& part) {
    if (part.of_vcpu) return;
    all.push_back(histogram_of(part));
    all.back().name.insert(0, prefix);
  });
  return all;
}

}  // namespace nestwalk::sim
