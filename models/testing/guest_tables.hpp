// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A guest with 4-level tables over 4-level EPT, for tests and benchmarks of a whole machine:
// `pages` of memory in pages of 4 KiB on both sides, guest-physical from 0, host memory wherever
// frames are.
#pragma once

#include "full_machine.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/models/machine/board.hpp"
#include "nestwalk/models/memory/sim_hal.hpp"

namespace nestwalk::models {

class GuestTables {
 public:
  static constexpr u64 kBase = u64{1} << 40;    ///< virtual address of the first page
  static constexpr u64 kTables = u64{1} << 36;  ///< guest-physical address of the guest's tables

  GuestTables(Board& board, u64 pages)
      : hal(board.memory(), addrspace::full_machine()),
        nested(*Nested::create(hal, *addrspace::Ept::geometry(4))),
        guest_hal(*this),
        guest(*Guest::create(guest_hal, *addrspace::LongMode::geometry(4))),
        guest_format(addrspace::full_machine()),
        nested_format(addrspace::full_machine()) {
    for (u64 page = 0; page < pages; ++page) {
      back(Gpa(page * kFrameBytes));
      must(guest.map(Gva(kBase + page * kFrameBytes), Gpa(page * kFrameBytes), kFrameBytes,
                     {kRwx | kUser}));
    }
    regime.guest = {&guest_format, guest.geometry(), guest.root().value()};
    regime.nested = {&nested_format, nested.geometry(), nested.root().value()};
    regime.vmid = 1;
    regime.asid = 1;
    regime = regime.tagged(board.tags());
  }

  /// A host frame for a guest page.
  Hpa back(Gpa page) {
    const Hpa frame = *hal.alloc_frame();
    must(nested.map(page, frame, kFrameBytes, {kRwx}));
    return frame;
  }
  static void must(Result<void> done) { check(done.ok(), "test", "a mapping", 0, 0); }

  class GuestHal : public addrspace::HalBase<GuestHal, Gpa> {
   public:
    explicit GuestHal(GuestTables& owner) : owner_(&owner) {}
    Result<Gpa> alloc_run(unsigned, addrspace::FrameUse) {  // single frames: tables of 4 KiB
      const Gpa frame(kTables + hosts_.size() * kFrameBytes);
      hosts_.push_back(owner_->back(frame));
      return frame;
    }
    void free_run(Gpa, unsigned) {}
    Hva phys_to_virt(Gpa at) const {
      const Hpa host = hosts_[(at.value() - kTables) / kFrameBytes];
      return owner_->hal.memory().pointer(host + at.offset_in(kFrameBytes));
    }
    Gpa virt_to_phys(Hva at) const {
      const Hpa host = owner_->hal.memory().physical(at);
      for (u64 n = 0; n < hosts_.size(); ++n) {
        if (hosts_[n] == host.aligned_down(kFrameBytes)) {
          return Gpa(kTables + n * kFrameBytes + host.offset_in(kFrameBytes));
        }
      }
      return Gpa(0);
    }
    void invalidate(const addrspace::Invalidation<Gva>&) {}
    addrspace::Capabilities capabilities() const { return addrspace::full_machine(); }

   private:
    GuestTables* owner_;
    std::vector<Hpa> hosts_;
  };
  using Nested = addrspace::PageTable<addrspace::Ept, SimHal<>>;
  using Guest = addrspace::PageTable<addrspace::LongMode, GuestHal>;

  SimHal<> hal;
  Nested nested;
  GuestHal guest_hal;
  Guest guest;
  EntryFormatOf<addrspace::LongMode> guest_format;
  EntryFormatOf<addrspace::Ept> nested_format;
  Regime regime;
};

}  // namespace nestwalk::models
