// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Random operations on a guest, with the fences of one policy replayed into a TlbAdversary.
#pragma once

#include <random>

#include "tlb_adversary.hpp"

namespace nestwalk::addrspace {

template <class Shape>
class Workload {
 public:
  using F = typename Shape::Format;
  /// Changes a fence, or says false to leave it out.
  using Tamper = std::function<bool(Fence&)>;

  Workload(FencePolicy policy, const Capabilities& machine, u64 seed, Tamper tamper = {})
      : guest(machine),
        adversary(guest.hal, guest.space.page_table().geometry(), guest.space.config().root,
                  guest.space.page_table().tag()),
        policy_(policy),
        tamper_(std::move(tamper)),
        random_(seed) {
    guest.hal.keep_invalidations = false;
    guest.hal.observer = [this](const Event& event) { watch(event); };
  }
  ~Workload() { guest.hal.observer = nullptr; }

  /// Pages are made in groups where they may be.
  void form_groups() { groups_ = guest.space.form_groups(true).ok(); }

  /// Stops early once something was found, unless everything is wanted.
  void run(unsigned operations, bool to_the_end = false) {
    for (unsigned n = 0; n < operations; ++n) {
      guest.hal.allocations_left = one_in(12) ? below(6) : guest.hal.kNoLimit;
      step();
      guest.hal.allocations_left = guest.hal.kNoLimit;
      adversary.settle();
      if (!adversary.findings.empty() && !to_the_end) return;
    }
    guest.space.clear();
    adversary.settle();
  }

  Guest<Shape> guest;
  TlbAdversary<F> adversary;

 private:
  void watch(const Event& event) {
    switch (event.kind) {
      case Event::Kind::Store:
        return adversary.on_store(event.at, event.before, event.after);
      case Event::Kind::Free:
        return adversary.on_free(event.at, kFrameBytes << event.order);
      case Event::Kind::Invalidate:
        for (Fence& fence : fences_of<typename F::Extension>(policy_, guest.hal.capabilities(),
                                                             *event.invalidation)) {
          if (!tamper_ || tamper_(fence)) adversary.on_fence(fence);
        }
        return;
      case Event::Kind::Alloc:
        return;
    }
  }

  u64 below(u64 limit) { return random_() % limit; }
  bool one_in(u64 n) { return below(n) == 0; }

  // 16 MiB around 1 GiB are crowded, the rest of 4 GiB is sparse.
  Gpa place(u64 alignment) {
    const u64 wide = one_in(3) ? below(4 * kGiB) : kGiB - 8 * kMiB + below(16 * kMiB);
    return Gpa(align_down(wide, alignment));
  }
  GpaRange part() {
    switch (below(6)) {
      case 0:
        return *GpaRange::make(place(kPage), (1 + below(8)) * kPage);
      case 1:
        return *GpaRange::make(place(kPage), (1 + below(700)) * kPage);
      case 2:
        return *GpaRange::make(place(2 * kMiB), (1 + below(4)) * 2 * kMiB);
      case 3:
        return *GpaRange::make(place(kGiB), kGiB);
      case 4:
        return *GpaRange::make(place(kPage), (1 + below(3)) * 512 * kMiB + below(16) * kPage);
      default:
        return *GpaRange::make(place(kPage), kPage);
    }
  }
  MappingFlags flags() {
    constexpr MappingFlags kChoices[] = {kMemory, kReadOnlyMemory, kCode, kHidden};
    MappingFlags chosen = kChoices[below(4)];
    if (one_in(4)) chosen.memory = MemoryType::Device;
    return chosen;
  }

  void step() {
    switch (below(16)) {
      case 0:
        return map_linear();
      case 1:
        return map_eager();
      case 2:
        return map_lazy();
      case 3:
      case 4:
        return unmap();
      case 5:
      case 6:
        return protect();
      case 7:
        return dirty_log();
      case 8:
        return write();
      case 9:
        if (one_in(20)) guest.space.clear();
        return;
      default:
        for (u64 n = below(8); n != ~u64{0}; --n) fault();
    }
  }

  void map_linear() {
    const GpaRange range = part();
    // Only some have 1 GiB or 2 MiB in common with their memory: large leaves.
    const u64 odd = range.size() > 4 * kMiB ? 0 : below(3) * kPage;
    const Hpa to(range.start().value() + 8 * kGiB + odd);
    (void)guest.space.map_linear(range.start(), to, range.size(), flags());
  }
  void map_eager() {
    const bool large = one_in(4);
    const Gpa at = place(large ? 2 * kMiB : kPage);
    const u64 size = large ? 2 * kMiB : (1 + below(40)) * kPage;
    (void)guest.space.map_alloc(at, size, flags(), Backend::eager(large ? 1 : 0));
  }
  void map_lazy() {
    const GpaRange range = part();
    const auto backend = Backend::lazy(groups_ ? 4 : one_in(3) ? 2 : 0, one_in(6) ? 1 : 0);
    (void)guest.space.map_alloc(range.start(), range.size(), flags(), backend);
  }
  void unmap() {
    const GpaRange range = part();
    (void)guest.space.unmap(range.start(), range.size());
  }
  void protect() {
    const GpaRange range = part();
    (void)guest.space.protect(range.start(), range.size(), flags());
  }
  void fault() {
    (void)guest.space.handle_fault(place(1), one_in(2) ? kRead : kWrite);
    adversary.settle();
  }
  void write() {
    const Gpa at = place(1);
    (void)guest.space.open_window(at, kWrite);
    const auto leaf = guest.space.page_table().entry(at).value();
    const bool recorded = guest.hal.capabilities().hardware_dirty &&
                          F::is_valid(leaf.entry, leaf.level) && F::is_writable(leaf.entry);
    if (recorded) guest.hal.poke(leaf.slot, F::dirtied(leaf.entry));
  }
  void dirty_log() {
    if (guest.space.dirty_tracking() == DirtyTracking::Off) {
      const bool hardware = guest.hal.capabilities().hardware_dirty && one_in(2);
      (void)guest.space.start_dirty_log(hardware ? DirtyTracking::Hardware
                                                 : DirtyTracking::WriteProtection);
    } else if (one_in(3)) {
      (void)guest.space.stop_dirty_log();
    } else {
      (void)guest.space.harvest_dirty_log(part(), [](GpaRange) {});
    }
  }

  FencePolicy policy_;
  Tamper tamper_;
  std::mt19937_64 random_;
  bool groups_ = false;
};

}  // namespace nestwalk::addrspace
