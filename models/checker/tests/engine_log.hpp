// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine over a recorded Hal: what it does becomes the text log.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/deferred.hpp"
#include "nestwalk/addrspace/fence_log.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::checker {

using addrspace::Fence;
using addrspace::FencePolicy;
using addrspace::Gpa;
using addrspace::GpaRange;
using addrspace::Hpa;
using addrspace::u64;

/// `kBroadcasts`: fences reach the other processors by themselves. `kFeature`: what the machine
/// has.
struct OnEpt {
  using Format = addrspace::Ept;
  static constexpr const char* kName = "ept";
  static constexpr bool kBroadcasts = false;
  static constexpr const addrspace::FenceFeature* kFeature = nullptr;
  static addrspace::Geometry geometry() { return *Format::geometry(4); }
};
struct OnNpt {
  using Format = addrspace::Npt;
  static constexpr const char* kName = "npt";
  static constexpr bool kBroadcasts = false;
  static constexpr const addrspace::FenceFeature* kFeature = nullptr;
  static addrspace::Geometry geometry() { return *Format::geometry(4); }
};
/// The same where the machine has INVLPGB.
struct OnNptBroadcast : OnNpt {
  static constexpr const char* kTitle = "npt, invlpgb";
  static constexpr bool kBroadcasts = true;
  static constexpr const addrspace::FenceFeature* kFeature = &addrspace::svm::kInvlpgbTlbsync;
};
struct OnStage2 {
  using Format = addrspace::Stage2<addrspace::Granule::k4K>;
  static constexpr const char* kName = "stage2-4k";
  static constexpr bool kBroadcasts = true;
  static constexpr const addrspace::FenceFeature* kFeature = &addrspace::stage2::kTlbiRange;
  static addrspace::Geometry geometry() { return *Format::geometry(40); }
};
struct OnGStage {
  using Format = addrspace::GStage;
  static constexpr const char* kName = "sv39x4";
  static constexpr bool kBroadcasts = false;
  static constexpr const addrspace::FenceFeature* kFeature = &addrspace::hext::kSvinval;
  static addrspace::Geometry geometry() { return *Format::geometry(3); }
};

/// All of them.
template <template <class...> class List>
using OnEach = List<OnEpt, OnNpt, OnNptBroadcast, OnStage2, OnGStage>;

/// What processor 1 does while processor 0 edits the tables.
struct Kicks {
  bool on = false;    ///< it is outside the guest, and executes its fences before it enters
  u64 forgotten = 0;  ///< its n-th fence of all is not executed; 0: none
};

/// A guest that processor 1 runs, while processor 0, which ran it before, edits its tables.
template <class Shape>
class EngineLog {
 public:
  using Lines = std::function<void(const char*)>;

  EngineLog(const FencePolicy& policy, Lines lines, Kicks kicks = {})
      : kicks_(kicks),
        log_(std::move(lines), Clock{this}),
        policy_(policy),
        hal_(log_, *this),
        deferred_(hal_, Shape::Format::kBreakBeforeMake, policy.deferred),
        space_(*Space::create(deferred_, Shape::geometry(), whole(), kVmid)) {
    const auto& tag = space_.tag();
    log_.vm(kVm, Shape::kName, space_.page_table().root(), kVmid, tag.root_register);
    on(0, [&] { log_.enter(kVm); });
    on(1, [&] { log_.enter(kVm); });
    on(0, [&] { log_.exit(kVm); });
  }

  /// One operation on processor 0.
  template <class Body>
  void operation(const char* name, Body&& body) {
    ++cycle_;
    log_.begin(name);
    body(space_);
    log_.end();
  }
  /// Several of them that return to the caller together. What waits for the next VM entry is
  /// carried out before.
  template <class Body>
  void together(Body&& body) {
    log_.begin("together");
    body();
    deferred_.flush();
    log_.end();
  }
  addrspace::FaultOutcome fault(Gpa gpa, addrspace::Access access) {
    ++cycle_;
    log_.fault(kVm, gpa, access);
    log_.begin("fault");
    const auto outcome = space_.handle_fault(gpa, access);
    log_.end();
    return outcome;
  }
  auto& space() { return space_; }

  /// Processor 1 leaves the guest, and enters it again after its fences.
  void kick() {
    if (kicks_.on) on(1, [&] { log_.exit(kVm); });
  }
  void resume() {
    if (!kicks_.on) return;
    on(1, [&] {
      for (const Fence& fence : waiting_) {
        if (++executed_ != kicks_.forgotten) log_.fence(fence, kVm);
      }
      waiting_.clear();
      log_.enter(kVm);
    });
  }

  static constexpr addrspace::u32 kVm = 1;
  static constexpr addrspace::u16 kVmid = 5;

 private:
  struct Clock {
    const EngineLog* engine;
    addrspace::FenceLogTime operator()() const { return {engine->cycle_, engine->processor_}; }
  };
  using Log = addrspace::FenceLog<Lines, Clock>;
  struct Memory : addrspace::ArenaHal<> {
    explicit Memory(EngineLog& engine)
        : ArenaHal<>(u64{1} << 15, newest_machine()), engine_(&engine) {}
    static addrspace::Capabilities newest_machine() {
      addrspace::Capabilities machine = addrspace::full_machine();
      machine.fences = Shape::kFeature;
      return machine;
    }
    void invalidate(const addrspace::Invalidation<Gpa>& change) { engine_->fences(change); }
    EngineLog* engine_;
  };
  using Hal = addrspace::RecordedHal<Memory, Log>;
  using Deferred = addrspace::DeferredHal<Hal>;
  using Space = addrspace::AddressSpace<typename Shape::Format, Deferred>;

  static GpaRange whole() {
    return GpaRange::between(Gpa(0), Gpa(u64{1} << Shape::geometry().input_bits));
  }
  template <class Body>
  void on(addrspace::u32 processor, Body&& body) {
    processor_ = processor;
    body();
    processor_ = 0;
  }
  // On the other processor, too, where the instruction does not reach it and the policy interrupts
  // it; unless the fault was spurious: who had it has the stale entry.
  void fences(const addrspace::Invalidation<Gpa>& change) {
    const bool spurious = change.changes() == addrspace::change::kSpurious && !change.tables();
    const bool alone = spurious || Shape::kBroadcasts || !policy_.interrupts;
    addrspace::emit_fences<typename Shape::Format::Extension>(
        policy_, hal_.capabilities(), change, [&](const Fence& fence) {
          log_.fence(fence, kVm);
          if (alone) return;
          if (kicks_.on) return waiting_.push_back(fence);
          on(1, [&] { log_.fence(fence, kVm); });
        });
  }

  Kicks kicks_;
  std::vector<Fence> waiting_;  ///< for processor 1
  u64 executed_ = 0;
  u64 cycle_ = 0;
  addrspace::u32 processor_ = 0;
  Log log_;
  const FencePolicy& policy_;
  Hal hal_;
  Deferred deferred_;
  Space space_;
};

/// Random operations around 1 GiB: small ones, and now and then large ones.
template <class Shape>
class Storm {
 public:
  Storm(EngineLog<Shape>& engine, u64 seed) : engine_(engine), random_(seed) {}

  void step() {
    using addrspace::Backend;
    const GpaRange part = range();
    switch (below(12)) {
      case 0:
        return engine_.operation("map-linear", [&](auto& s) {
          const u64 odd = below(3) * addrspace::kFrameBytes;
          (void)s.map_linear(part.start(), Hpa(part.start().value() + (u64{8} << 30) + odd),
                             part.size(), flags());
        });
      case 1:
        return engine_.operation("map", [&](auto& s) {
          (void)s.map_alloc(part.start(), part.size() > (64 << 10) ? 64 << 10 : part.size(),
                            flags(), Backend::eager(0));
        });
      case 2:
        return engine_.operation("promise", [&](auto& s) {
          (void)s.map_alloc(part.start(), part.size(), flags(),
                            Backend::lazy(below(2) != 0 ? 2 : 0, 0));
        });
      case 3:
      case 4:
        return engine_.operation("unmap",
                                 [&](auto& s) { (void)s.unmap(part.start(), part.size()); });
      case 5:
      case 6:
        return engine_.operation(
            "protect", [&](auto& s) { (void)s.protect(part.start(), part.size(), flags()); });
      case 7:
        return engine_.operation("dirty-log", [&](auto& s) { dirty_log(s); });
      default:
        (void)engine_.fault(place(1), below(2) != 0 ? addrspace::kRead : addrspace::kWrite);
    }
  }
  Gpa place(u64 alignment) {
    return Gpa(
        addrspace::align_down((u64{1} << 30) - (u64{1} << 22) + below(u64{8} << 20), alignment));
  }
  u64 below(u64 limit) { return random_() % limit; }

 private:
  GpaRange range() {
    const u64 kind = below(40);
    if (kind == 0) return *GpaRange::make(place(2 << 20), (1 + below(2)) * (2 << 20));
    if (kind < 4) return *GpaRange::make(place(4096), (1 + below(600)) * 4096);
    return *GpaRange::make(place(4096), (1 + below(6)) * 4096);
  }
  addrspace::MappingFlags flags() {
    using namespace addrspace;
    constexpr addrspace::Access kChoices[] = {kRead | kWrite, kRead, kRwx, kNoAccess};
    return {kChoices[below(4)], below(6) == 0 ? MemoryType::Device : MemoryType::WriteBack};
  }
  template <class Space>
  void dirty_log(Space& space) {
    if (space.dirty_tracking() == addrspace::DirtyTracking::Off) {
      (void)space.start_dirty_log(addrspace::DirtyTracking::WriteProtection);
    } else if (below(3) == 0) {
      (void)space.stop_dirty_log();
    } else {
      (void)space.harvest_dirty_log(range(), [](GpaRange) {});
    }
  }

  EngineLog<Shape>& engine_;
  std::mt19937_64 random_;
};

}  // namespace nestwalk::checker
