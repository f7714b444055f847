// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "ops_space.hpp"

#include <optional>
#include <utility>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace {
namespace {

constexpr u16 kVmid = 1;

using Visit = std::function<void(const MemoryUse&)>;

template <NestedFormat F>
class SpaceOf final : public OpsSpace {
  using Space = AddressSpace<F, ArenaHal<>>;

 public:
  static Result<std::unique_ptr<OpsSpace>> create(const Result<Geometry>& geometry, Gpa base,
                                                  u64 size, u64 frames) {
    if (!geometry) return geometry.error();
    const Result<GpaRange> range = GpaRange::make(base, size);
    if (!range) return range.error();
    auto made = std::make_unique<SpaceOf>(frames, widest_machine(*geometry));
    Result<Space> space = Space::create(made->hal_, *geometry, *range, kVmid);
    if (!space) return space.error();
    made->space_.emplace(std::move(*space));
    return std::unique_ptr<OpsSpace>(std::move(made));
  }

  SpaceOf(u64 frames, const Capabilities& machine) : hal_(frames, machine) {}

  Result<void> map_linear(Gpa gpa, Hpa hpa, u64 size, MappingFlags flags) override {
    return space_->map_linear(gpa, hpa, size, flags);
  }
  Result<void> map_alloc(Gpa gpa, u64 size, MappingFlags flags, Backend backend) override {
    return space_->map_alloc(gpa, size, flags, backend);
  }
  Result<void> unmap(Gpa gpa, u64 size) override { return space_->unmap(gpa, size); }
  Result<void> protect(Gpa gpa, u64 size, MappingFlags flags) override {
    return space_->protect(gpa, size, flags);
  }
  void clear() override { space_->clear(); }
  FaultOutcome handle_fault(Gpa gpa, Access access) override {
    return space_->handle_fault(gpa, access);
  }

  Result<Target> query(Gpa gpa) const override {
    const auto leaf = space_->query(gpa);
    if (!leaf) return leaf.error();
    return Target{leaf->address, leaf->owned};
  }
  const Area* area_at(Gpa gpa) const override { return space_->area_at(gpa); }
  void for_each_area(const std::function<void(const Area&)>& visit) const override {
    space_->for_each_area(visit);
  }
  void for_each_run(const std::function<void(const MappedRun&)>& visit) const override {
    space_->for_each_run(space_->range(), visit);
  }
  void for_each_memory_use(const Visit& visit) const override {
    const Geometry& shape = space_->page_table().geometry();
    const Hpa root = space_->page_table().root();
    visit({MemoryUse::Kind::Table, Gpa(0), root, shape.root_bytes()});
    visit_entries(root, shape.root_level(), Gpa(0), visit);
  }

  SpaceConfig config() const override { return space_->config(); }
  SpaceUsage usage() const override { return space_->usage(); }
  u64 allocated_bytes() const override { return hal_.arena().frames_in_use() * kFrameBytes; }
  bool is_allocated(Hpa frame) const override { return hal_.arena().is_allocated(frame.value()); }

  void forget_fences() override { hal_.invalidations.clear(); }
  void for_each_fence(const FencePolicy& policy,
                      const std::function<void(const Fence&)>& visit) const override {
    for (const Invalidation<Gpa>& change : hal_.invalidations) {
      emit_fences<typename F::Extension>(policy, hal_.capabilities(), change, visit);
    }
  }

 private:
  // With the widest host addresses of the format: a script's numbers meet the format's limits, not
  // those of some processor.
  static Capabilities widest_machine(const Geometry& geometry) {
    Capabilities machine = full_machine();
    machine.physical_bits = geometry.output_bits;
    return machine;
  }

  void visit_entries(Hpa table, unsigned level, Gpa start, const Visit& visit) const {
    using Kind = MemoryUse::Kind;
    const Geometry& shape = space_->page_table().geometry();
    for (u64 n = 0; n < shape.entries(level); ++n) {
      const u64 entry = hal_.read_entry(table + n * sizeof(u64));
      if (entry == 0) continue;
      const Gpa gpa = start + n * shape.leaf_bytes(level);
      const Hpa target = F::address(entry, level);
      if (F::is_table(entry, level)) {
        visit({Kind::Table, gpa, target, shape.page_bytes()});
        visit_entries(target, level - 1, gpa, visit);
      } else {
        const Kind kind = (entry & F::kOwned) != 0 ? Kind::Owned : Kind::Linear;
        visit({kind, gpa, target, shape.leaf_bytes(level)});
      }
    }
  }

  ArenaHal<> hal_;
  std::optional<Space> space_;
};

Result<Geometry> stage2_geometry(unsigned levels) {
  if (levels == 3) return Stage2<Granule::k4K>::geometry(39);
  if (levels == 4) return Stage2<Granule::k4K>::geometry(48);
  return Error::UnsupportedGeometry;
}

template <class F, auto kGeometry>
Result<std::unique_ptr<OpsSpace>> made(unsigned levels, Gpa base, u64 size, u64 frames) {
  return SpaceOf<F>::create(kGeometry(levels), base, size, frames);
}
constexpr Result<std::unique_ptr<OpsSpace>> (*kOfMachines[])(unsigned, Gpa, u64, u64) = {
    made<Ept, Ept::geometry>, made<Npt, Npt::geometry>, made<Stage2<Granule::k4K>, stage2_geometry>,
    made<GStage, GStage::geometry>};
static_assert(std::size(kOfMachines) == std::size(OpsSpace::kMachines));

}  // namespace

Result<std::unique_ptr<OpsSpace>> OpsSpace::create(unsigned machine, unsigned levels, Gpa base,
                                                   u64 size, u64 frames) {
  return kOfMachines[machine](levels, base, size, frames);
}

}  // namespace nestwalk::addrspace
