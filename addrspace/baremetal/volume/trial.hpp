// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Random tables in one format, made by the engine, and random probes of them. The same seed makes
// the same, so that who judges the answers need not be told what was asked.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <span>
#include <stdexcept>

#include "image_hal.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "nestwalk/machines/entry_format_of.hpp"

namespace nestwalk::baremetal {

/// What is tried, and on which machine.
struct Machine {
  MemoryMap map;
  Capabilities capabilities;
  unsigned probe_bits;  ///< addresses that a guest can name there
};

/// What the engine says about an address.
struct Expected {
  bool mapped = false;
  Access access{};
  u64 host = 0;
};

class Trial {
 public:
  virtual ~Trial() = default;
  virtual Expected query(u64 gpa) const = 0;
  virtual const models::EntryFormat& format() const = 0;
  virtual const Geometry& geometry() const = 0;
  virtual const VmTag& tag() const = 0;
  virtual u64 root() const = 0;
  virtual std::vector<u8> image() const = 0;

  const Machine& machine() const { return machine_; }
  const std::vector<Probe>& probes() const { return probes_; }
  /// Pages whose leaves will be wrong, with their entries' places and what will be there.
  struct Plant {
    u64 page, slot, entry;
  };
  const std::vector<Plant>& plants() const { return plants_; }

 protected:
  explicit Trial(const Machine& machine) : machine_(machine) {}

  Machine machine_;
  std::vector<Probe> probes_;
  std::vector<Plant> plants_;
};

/// The format with one bit of its leaves wrong, and none the wiser: it reads back what it meant.
template <class F>
class OneBitWrong : public F {
 public:
  using F::F;
  // RISC-V and AMD: U, without which every access faults. Arm: S2AP[1], so that writes are
  // permitted where they are not. EPT: write-back becomes a memory type that is reserved.
  static constexpr u64 kBit = std::same_as<F, Npt>                        ? Npt::kUser
                              : F::kArchitecture == Architecture::RiscV64 ? u64{1} << 4
                              : F::kArchitecture == Architecture::AArch64 ? u64{1} << 7
                                                                          : u64{1} << 5;
  constexpr u64 leaf(Hpa address, MappingFlags flags, unsigned level) const {
    return F::leaf(address, flags, level) ^ kBit;
  }
  constexpr MappingFlags flags(u64 entry, unsigned level) const {
    return F::flags(entry ^ kBit, level);
  }
};

/// `F` writes the tables and answers queries; `Real` is what the machine expects.
template <class F, class Real = F>
class TrialOf final : public Trial {
 public:
  using Table = PageTable<F, ImageHal>;

  TrialOf(const Machine& machine, const Geometry& geometry, u64 seed, unsigned probes,
          unsigned plants)
      : Trial(machine),
        random_(seed),
        hal_(machine.map, tables_at(probes), machine.capabilities),
        table_(*Table::create(hal_, geometry, machine.capabilities.vmid_bits != 0 ? 3 : 0)),
        real_(machine.capabilities) {
    build();
    plant(plants);
    while (probes_.size() < probes) probes_.push_back(random_probe());
  }

  Expected query(u64 gpa) const override {
    const auto leaf = table_.query(Gpa(gpa));
    if (!leaf) return {};
    return {true, leaf->flags.access, leaf->address.value()};
  }
  const models::EntryFormat& format() const override { return real_; }
  const Geometry& geometry() const override { return table_.geometry(); }
  const VmTag& tag() const override { return table_.tag(); }
  u64 root() const override { return table_.root().value(); }

  std::vector<u8> image() const override {
    std::vector<u8> bytes = hal_.bytes();
    mark_groups(bytes);
    mend_firmware(bytes);
    // A hypervisor learns of Svnapot from the device tree, which the payload does not read.
    Capabilities told = machine_.capabilities;
    told.napot_pages = false;
    const ImageHeader header{ImageHeader::kMagic, tag(), probes_.size(), told};
    std::memcpy(bytes.data(), &header, sizeof(header));
    std::memcpy(bytes.data() + sizeof(header), probes_.data(), probes_.size() * sizeof(Probe));
    return bytes;
  }

 private:
  static constexpr unsigned kOperations = 1'200, kNeighbourhoods = 12;
  static constexpr u64 kGroupBytes = 64 * kKiB;

  u64 tables_at(unsigned probes) const {
    const u64 end = machine_.map.image + sizeof(ImageHeader) + probes * sizeof(Probe);
    return (end + kFrameBytes - 1) & ~(kFrameBytes - 1);
  }
  u64 below(u64 limit) { return random_() % limit; }
  u64 page() const { return table_.geometry().page_bytes(); }

  /// In the few gigabytes after a few random addresses, of which some have the top bit.
  u64 some_address() {
    const unsigned bits = std::min<unsigned>(table_.geometry().input_bits, machine_.probe_bits);
    if (centres_.empty()) {
      for (unsigned n = 0; n < kNeighbourhoods; ++n) {
        centres_.push_back(random_() & low_mask(n % 4 == 0 ? bits : bits - 1));
      }
    }
    const u64 near = below(u64{1} << (12 + below(20)));
    return (centres_[below(centres_.size())] + near) & low_mask(bits);
  }
  MappingFlags some_flags() {
    constexpr MemoryType kTypes[] = {MemoryType::WriteBack, MemoryType::WriteThrough,
                                     MemoryType::Uncached};
    for (;;) {
      const MappingFlags flags{Access(static_cast<u8>(1 + below(7))),
                               kTypes[below(8) == 0 ? below(3) : 0]};
      if (table_.format().check(flags)) return flags;
    }
  }
  u64 some_data() { return machine_.map.data + below(kDataFrames) * kFrameBytes; }

  void build() {
    // The guest's code; on x86 its own tables as well, which the processor writes to.
    must(table_.map_region(*GpaRange::make(Gpa(0), kFirmwareBytes), Hpa(machine_.map.firmware),
                           {kRwx}));
    for (unsigned n = 0; n < kOperations; ++n) operate();
  }
  void operate() {
    const u64 at = pages_.empty() || below(2) == 0 ? some_address() : pages_[below(pages_.size())];
    if (machine_.capabilities.napot_pages && below(8) == 0) return map_group(at);
    switch (below(8)) {
      case 0:
        return change(at, [&](GpaRange range) { return table_.unmap_region(range); });
      case 1:
      case 2:
        return change(at,
                      [&](GpaRange range) { return table_.protect_region(range, some_flags()); });
      default:
        return map(at);
    }
  }
  // A few pages, so that large leaves are split. What is refused leaves everything as it was.
  template <class Operation>
  void change(u64 at, Operation&& operation) {
    const u64 start = std::max(align_down(at, page()), kFirmwareBytes);
    const auto range = GpaRange::make(Gpa(start), page() * (1 + below(5)));
    if (range) (void)operation(*range);
  }
  void map(u64 at) {
    const Geometry& shape = table_.geometry();
    const unsigned level = below(3) == 0 ? static_cast<unsigned>(below(shape.levels)) : 0;
    if (!shape.may_be_leaf(level)) return;
    const u64 size = shape.leaf_bytes(level), start = align_down(at, size);
    const Hpa to(align_down(some_data(), size));
    // Of a leaf that begins below all memory nothing would be reached.
    if (!table_.map(Gpa(start), to, size, some_flags())) return;
    for (unsigned n = 0; n < 1 + 3 * level; ++n) {
      pages_.push_back(align_down(start + below(size), page()));
    }
  }

  // Pages of which Svnapot can make one of 64 KiB, see mark_groups.
  void map_group(u64 at) {
    const u64 start = align_down(at, kGroupBytes);
    if (start < kFirmwareBytes) return;
    const auto range = GpaRange::make(Gpa(start), kGroupBytes);
    const Hpa to(align_down(some_data(), kGroupBytes));
    if (!range || !table_.map_region(*range, to, some_flags())) return;
    groups_.push_back(start);
    for (unsigned n = 0; n < 4; ++n)
      pages_.push_back(start + align_down(below(kGroupBytes), page()));
  }
  // The engine writes no NAPOT pages. What it has made of a group is marked as one where it still
  // is one, and translates as before.
  void mark_groups(std::vector<u8>& bytes) const {
    for (const u64 start : groups_) {
      std::array<u64, kGroupBytes / kFrameBytes> slots{};
      const auto first = table_.entry(Gpa(start));
      bool alike = true;
      for (u64 n = 0; n < slots.size(); ++n) {
        const auto leaf = table_.entry(Gpa(start + n * kFrameBytes));
        alike = alike && leaf && leaf->level == 0 && F::is_valid(leaf->entry, 0) &&
                leaf->entry == first->entry + F::address_bits(Hpa(n * kFrameBytes));
        if (alike) slots[n] = leaf->slot.value();
      }
      if (!alike || !is_aligned(F::address(first->entry, 0).value(), kGroupBytes)) continue;
      const u64 marked = first->entry | F::address_bits(Hpa(kGroupBytes / 2)) | u64{1} << 63;
      for (const u64 slot : slots) {
        std::memcpy(&bytes[slot - machine_.map.image], &marked, sizeof(marked));
      }
    }
  }

  /// An address in the leaf that leads to data, if any does.
  u64 to_data(u64 gpa) {
    const auto leaf = table_.query(Gpa(gpa));
    if (!leaf || gpa < kFirmwareBytes) return gpa;
    const u64 host = align_down(leaf->address.value(), leaf->size);
    const u64 first = std::max(host, machine_.map.data);
    const u64 end = std::min(host + leaf->size, machine_.map.data + kDataFrames * kFrameBytes);
    if (first >= end) return gpa;
    const u64 frame = first + below((end - first) / kFrameBytes) * kFrameBytes;
    return align_down(gpa, leaf->size) + (frame - host);
  }
  /// Memory that is neither data nor the guest's code must not be touched.
  bool leads_elsewhere(u64 gpa) const {
    const auto leaf = table_.query(Gpa(gpa));
    return leaf && gpa >= kFirmwareBytes &&
           leaf->address.value() - machine_.map.data >= kDataFrames * kFrameBytes;
  }
  Probe random_probe() {
    for (;;) {
      const u64 gpa = to_data(address_to_probe());
      if (!leads_elsewhere(gpa)) return probe_of(gpa, below(3));
    }
  }
  u64 address_to_probe() {
    // Beyond what the tables translate, too, where a guest can say so.
    if (below(64) == 0) return random_() & low_mask(machine_.probe_bits);
    const u64 choice = below(16);
    if (choice == 0) return some_address();
    return pages_[below(pages_.size())] + (choice == 1 ? page() : 0);
  }
  Probe probe_of(u64 gpa, u64 kind) {
    // The guest's own code and tables are not to be written to, nor executed by accident.
    if (gpa < kFirmwareBytes) kind = kLoads;
    const u64 offsets[] = {below(kCodeAt / 8) * 8,
                           kStoresAt + below((kFrameBytes - kStoresAt) / 8) * 8, kCodeAt};
    return (align_down(gpa, kFrameBytes) + offsets[kind]) | kind;
  }

  // Whatever is wrong with the format, the guest must run.
  void mend_firmware(std::vector<u8>& bytes) const {
    const MappingFlags flags{kRwx};
    const u64 wrong =
        table_.format().leaf(Hpa(0), flags, 0) ^ Real(machine_.capabilities).leaf(Hpa(0), flags, 0);
    for (u64 at = 0; at < kFirmwareBytes; at += page()) {
      const auto found = *table_.entry(Gpa(at));
      const u64 right = found.entry ^ wrong;
      std::memcpy(&bytes[found.slot.value() - machine_.map.image], &right, sizeof(right));
    }
  }

  /// Other addresses in some leaves, of which nobody is told; each is probed.
  void plant(unsigned count) {
    while (plants_.size() < count) {
      const u64 at = pages_[below(pages_.size())];
      const auto leaf = table_.query(Gpa(at));
      if (!leaf || leaf->size != page() || at < kFirmwareBytes || planted(at)) continue;
      // An emulator that faults there anyway (deviations.json) would see nothing.
      if ((at >> (table_.geometry().input_bits - 1) & 1) != 0) continue;
      const auto found = *table_.entry(Gpa(at));
      const Hpa old = leaf->address.aligned_down(page());
      const Hpa other(align_down(some_data(), page()));
      if (other == old) continue;
      plants_.push_back(
          {at, found.slot.value(), found.entry - F::address_bits(old) + F::address_bits(other)});
      const Access access = leaf->flags.access;
      const u64 kind = access.has(kRead) ? kLoads : access.has(kWrite) ? kStores : kJumps;
      probes_.push_back(probe_of(at, kind));
    }
  }
  bool planted(u64 at) const {
    return std::any_of(plants_.begin(), plants_.end(),
                       [&](const Plant& plant) { return plant.page == at; });
  }
  static void must(const Result<void>& done) {
    if (!done) throw std::runtime_error(to_string(done.error()));
  }

  std::mt19937_64 random_;
  ImageHal hal_;
  Table table_;
  models::EntryFormatOf<Real> real_;
  std::vector<u64> centres_;
  std::vector<u64> pages_;
  std::vector<u64> groups_;  ///< where they begin
};

}  // namespace nestwalk::baremetal
