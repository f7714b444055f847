// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Page tables of a guest's kernel, in one of the engine's formats.
#pragma once

#include <string>

#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/software/guest_space.hpp"

namespace nestwalk::software {

using addrspace::Geometry;
using addrspace::Hva;
using addrspace::kRwx;
using addrspace::kUser;

class GuestHal {
 public:
  using Physical = Gpa;
  static constexpr bool kFramesComeZeroed = true;

  explicit GuestHal(TableFrames& frames) : frames_(&frames), space_(frames.new_space()) {}

  Result<Gpa> alloc_frame(addrspace::FrameUse use) { return frames_->take(use, space_); }
  void free_frame(Gpa frame) { frames_->give_back(frame); }
  Result<Gpa> alloc_run(unsigned order, addrspace::FrameUse use) {
    if (order != 0) return addrspace::Error::UnsupportedFeature;
    return alloc_frame(use);
  }
  void free_run(Gpa first, unsigned) { frames_->give_back(first); }
  void zero(Gpa start, u64 bytes) { memory().zero(frames_->host_of(start), bytes); }
  void publish(Gpa, u64) {}
  Hva phys_to_virt(Gpa at) const { return memory().pointer(frames_->host_of(at)); }
  Gpa virt_to_phys(Hva at) const { return frames_->guest_of(memory().physical(at)); }

  u64 read_entry(Gpa slot) const {
    const Hpa host = frames_->host_of(slot);
    frames_->recording().read(host.value());
    return memory().load(host);
  }
  void write_entry(Gpa slot, u64 entry) {
    const Hpa host = frames_->host_of(slot);
    frames_->recording().written(host.value(), memory().load(host), entry);
    memory().store(host, entry);
  }
  bool compare_exchange_entry(Gpa slot, u64 expected, u64 desired) {
    if (read_entry(slot) != expected) return false;
    write_entry(slot, desired);
    return true;
  }
  void invalidate(const addrspace::Invalidation<Gva>&) {}  // the trace has the guest's fences
  addrspace::Capabilities capabilities() const { return frames_->recording().machine(); }
  TableFrames& frames() const { return *frames_; }
  u64 space() const { return space_; }

 private:
  models::HostMemory& memory() const { return frames_->recording().memory(); }
  TableFrames* frames_;
  u64 space_;
};

template <class F>
class GuestSpaceOf final : public GuestSpace {
 public:
  GuestSpaceOf(const Geometry& geometry, TableFrames& frames)
      : hal_(frames), table_(made(hal_, geometry)), format_(frames.recording().machine()) {}

  models::Stage stage() const override {
    return {&format_, table_.geometry(), table_.root().value(), hal_.frames().areas(number())};
  }
  u64 number() const override { return hal_.space(); }
  Result<void> map(Gva gva, Gpa gpa, u64 bytes) override {
    return table_.map(gva, gpa, bytes, {kRwx | kUser});
  }
  Result<void> unmap(Gva gva, u64 bytes) override {
    const auto range = addrspace::GvaRange::make(gva, bytes);
    if (!range) return range.error();
    return table_.unmap_region(*range);
  }
  std::optional<GuestPage> query(Gva gva) const override {
    const auto leaf = table_.query(gva);
    if (!leaf) return std::nullopt;
    return GuestPage{leaf->address, leaf->size};
  }
  bool accepts(Gva gva) const override { return table_.geometry().accepts(gva.value()); }
  bool reaches(Gpa gpa) const override { return gpa.value() >> table_.geometry().output_bits == 0; }

 private:
  using Table = addrspace::PageTable<F, GuestHal>;
  static Table made(GuestHal& hal, const Geometry& geometry) {
    Result<Table> table = Table::create(hal, geometry);
    if (!table) throw ShapeError(std::string("a guest's tables: ") + to_string(table.error()));
    return std::move(*table);
  }

  GuestHal hal_;
  Table table_;
  models::EntryFormatOf<F> format_;
};

template <class F>
std::unique_ptr<GuestSpace> made_guest_space(const Result<Geometry>& geometry, unsigned levels,
                                             TableFrames& frames) {
  if (!geometry) {
    throw ShapeError("there are no guest tables with " + std::to_string(levels) + " levels");
  }
  return std::make_unique<GuestSpaceOf<F>>(*geometry, frames);
}

}  // namespace nestwalk::software
