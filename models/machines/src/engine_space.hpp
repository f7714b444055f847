// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's address space of a guest, in one of its formats.
#pragma once

#include <string>

#include "nestwalk/addrspace/deferred.hpp"
#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/software/host_space.hpp"

namespace nestwalk::software {

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
    return {&format_, space_.page_table().geometry(), space_.page_table().root().value(),
            inner_.memory().table_areas(inner_.space())};
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
  Result<void> start_log(const GpaRange& part) override {
    const bool hardware = space_.page_table().hardware_tracks_dirty();
    return space_.start_dirty_log(
        hardware ? addrspace::DirtyTracking::Hardware : addrspace::DirtyTracking::WriteProtection,
        part);
  }
  Result<u64> harvest_log(const GpaRange& part) override {
    u64 bytes = 0;
    const Result<void> done =
        space_.harvest_dirty_log(part, [&](const GpaRange& range) { bytes += range.size(); });
    if (!done) return done.error();
    return bytes;
  }
  Result<void> release_log(const GpaRange& part) override { return space_.release_dirty_log(part); }
  Result<void> stop_log(const GpaRange& part) override { return space_.stop_dirty_log(part); }
  void flush() override { hal_.flush(); }
  Result<void> form_groups() override { return space_.form_groups(true); }
  void keep_together(Gpa start) override {
    inner_.memory().keep_together(inner_.space(), start.value());
  }
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

template <class F>
std::unique_ptr<HostSpace> made_host_space(Result<Geometry> geometry, const std::string& what,
                                           u64 bytes, u16 vmid, Recording& recording) {
  if (!geometry) throw ShapeError("there are no host tables with " + what);
  if (bytes == 0 || !geometry->accepts(*GpaRange::make(Gpa(0), bytes))) {
    throw ShapeError("host tables with " + what + " do not reach over a guest of " +
                     std::to_string(bytes) + " bytes");
  }
  return std::make_unique<HostSpaceOf<F>>(*geometry, bytes, vmid, recording);
}

}  // namespace nestwalk::software
