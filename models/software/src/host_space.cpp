// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/host_space.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "nestwalk/addrspace/deferred.hpp"

namespace nestwalk::software {
namespace {

using addrspace::Geometry;
using addrspace::GpaRange;
using addrspace::kRwx;

template <class F>
class HostSpaceOf final : public HostSpace {
 public:
  HostSpaceOf(const Geometry& geometry, u64 bytes, u16 vmid, Recording& recording)
      : inner_(recording.memory(), recording.machine(), RecordingObserver(recording)),
        hal_(inner_, F::kBreakBeforeMake, recording.policy().deferred),
        space_(made(hal_, geometry, bytes, vmid)),
        format_(recording.machine()) {}

  models::Stage stage() const override {
    return {&format_, space_.page_table().geometry(), space_.page_table().root().value()};
  }
  addrspace::VmTag tag() const override { return space_.tag(); }
  Result<void> set_vmid(u16 vmid) override { return space_.set_vmid(vmid); }
  Result<void> map(Gpa gpa, u64 bytes, addrspace::Backend backend) override {
    if (backend.kind != addrspace::Backend::Kind::Linear) {
      return space_.map_alloc(gpa, bytes, {kRwx}, backend);
    }
    return space_.map_linear(gpa, backend.base, bytes, {kRwx});
  }
  FaultOutcome handle_fault(Gpa gpa, Access access) override {
    return space_.handle_fault(gpa, access);
  }
  Result<void> unmap(Gpa gpa, u64 bytes) override { return space_.unmap(gpa, bytes); }
  Result<void> protect(Gpa gpa, u64 bytes, Access access) override {
    return space_.protect(gpa, bytes, {access});
  }
  Result<void> start_log() override {
    const bool hardware = space_.page_table().hardware_tracks_dirty();
    return space_.start_dirty_log(hardware ? addrspace::DirtyTracking::Hardware
                                           : addrspace::DirtyTracking::WriteProtection);
  }
  Result<u64> harvest_log() override {
    u64 bytes = 0;
    const Result<void> done = space_.harvest_dirty_log(
        space_.range(), [&](const GpaRange& range) { bytes += range.size(); });
    if (!done) return done.error();
    return bytes;
  }
  Result<void> stop_log() override { return space_.stop_dirty_log(); }
  void flush() override { hal_.flush(); }
  addrspace::GpaRange range() const override { return space_.range(); }
  Result<Hpa> translate(Gpa gpa) const override { return space_.translate(gpa); }
  addrspace::SpaceUsage usage() const override { return space_.usage(); }

 private:
  using Inner = models::SimHal<RecordingObserver>;
  using Hal = addrspace::DeferredHal<Inner>;
  using Space = addrspace::AddressSpace<F, Hal>;

  static Space made(Hal& hal, const Geometry& geometry, u64 bytes, u16 vmid) {
    const Result<GpaRange> range = GpaRange::make(Gpa(0), bytes);
    Result<Space> space = Space::create(hal, geometry, *range, vmid);
    if (!space) {
      throw ShapeError(std::string("a space of ") + std::to_string(bytes) +
                       " bytes for the guest: " + to_string(space.error()));
    }
    return std::move(*space);
  }

  Inner inner_;
  Hal hal_;
  Space space_;
  models::EntryFormatOf<F> format_;
};

// The guest has the machine for itself, or its second stage is recorded. The engine has no tables,
// so nothing is ever missing, and nobody there who could take something away.
class NativeSpace final : public HostSpace {
 public:
  explicit NativeSpace(const models::HostMemory& memory) : memory_(memory) {}

  models::Stage stage() const override { return {}; }
  Result<void> map(Gpa gpa, u64 bytes, addrspace::Backend) override {
    if (!memory_.contains(Hpa(gpa.value()), bytes)) return addrspace::Error::NoMemory;
    return {};
  }
  FaultOutcome handle_fault(Gpa, Access) override { return FaultOutcome::NoArea; }
  Result<void> unmap(Gpa, u64) override { return refusal(); }
  Result<void> protect(Gpa, u64, Access) override { return refusal(); }
  Result<void> start_log() override { return refusal(); }
  Result<u64> harvest_log() override { return refusal(); }
  Result<void> stop_log() override { return refusal(); }
  void flush() override {}
  addrspace::VmTag tag() const override { return {}; }
  Result<void> set_vmid(u16) override { return {}; }
  addrspace::GpaRange range() const override { return {}; }
  Result<Hpa> translate(Gpa gpa) const override { return Hpa(gpa.value()); }
  addrspace::SpaceUsage usage() const override { return {}; }

 private:
  static addrspace::Error refusal() { return addrspace::Error::UnsupportedFeature; }
  const models::HostMemory& memory_;
};

template <class F>
std::unique_ptr<HostSpace> made(Result<Geometry> geometry, const std::string& what, u64 bytes,
                                u16 vmid, Recording& recording) {
  if (!geometry) throw ShapeError("there are no host tables with " + what);
  if (bytes == 0 || !geometry->accepts(*GpaRange::make(Gpa(0), bytes))) {
    throw ShapeError("host tables with " + what + " do not reach over a guest of " +
                     std::to_string(bytes) + " bytes");
  }
  return std::make_unique<HostSpaceOf<F>>(*geometry, bytes, vmid, recording);
}

}  // namespace

addrspace::Capabilities capabilities(Architecture architecture, bool hardware_dirty) {
  addrspace::Capabilities machine;
  machine.physical_bits = 48;
  machine.leaf_levels = 0b0111;
  machine.most_levels = 5;
  machine.vmid_bits = 16;
  machine.hardware_dirty = hardware_dirty;
  switch (architecture) {
    case Architecture::X86_64:
      machine.invept_single = true;
      machine.execute_only = true;
      break;
    case Architecture::AArch64:
      machine.granules = 0b111;
      break;
    case Architecture::RiscV64:
      machine.page_memory_types = true;
      break;
  }
  return machine;
}

std::unique_ptr<HostSpace> make_host_space(Architecture architecture, const HypervisorShape& shape,
                                           u64 bytes, u16 vmid, Recording& recording) {
  if (!shape.second_stage) return std::make_unique<NativeSpace>(recording.memory());
  const std::string levels = std::to_string(shape.levels) + " levels";
  switch (architecture) {
    case Architecture::X86_64:
      return made<addrspace::Ept>(addrspace::Ept::geometry(shape.levels), levels, bytes, vmid,
                                  recording);
    case Architecture::AArch64: {
      // The start level follows from the size of the IPA: the least that begins there, but 40 bits,
      // as KVM has them by default, in the place of 35; more if the guest's memory needs them.
      using F = addrspace::Stage2<addrspace::Granule::k4K>;
      struct Sizes {
        unsigned least, most;
      };
      static constexpr Sizes kOfLevels[] = {{32, 34}, {40, 43}, {44, 48}};
      if (shape.levels < 2 || shape.levels > 4) {
        throw ShapeError("there are no host tables with " + levels);
      }
      const Sizes sizes = kOfLevels[shape.levels - 2];
      const unsigned needed = static_cast<unsigned>(std::bit_width(bytes - 1));
      const unsigned bits = std::clamp(needed, sizes.least, sizes.most);
      return made<F>(F::geometry(bits), levels, bytes, vmid, recording);
    }
    case Architecture::RiscV64:
      return made<addrspace::GStage>(addrspace::GStage::geometry(shape.levels), levels, bytes, vmid,
                                     recording);
  }
  throw ShapeError("no such architecture");
}

}  // namespace nestwalk::software
