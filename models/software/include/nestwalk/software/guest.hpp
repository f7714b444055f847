// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The guest's kernel: address spaces with real tables in guest memory, built when a page is
// touched.
//
// It reaches its own memory through a direct map: guest-physical addresses, translated by the
// second stage, so that what it touches first is backed by the hypervisor as any other page is. A
// page fault of the guest costs, in this order: the guest's handler; waiting until no other vCPU is
// in it; frames for tables, each touched and zeroed; the new page, touched and zeroed; the entries
// that the engine reads and writes, through the caches.
#pragma once

#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <variant>

#include "nestwalk/software/frames.hpp"
#include "nestwalk/software/guest_space.hpp"
#include "nestwalk/software/hypervisor.hpp"
#include "nestwalk/software/tag_pool.hpp"

namespace nestwalk::software {

struct GuestCounts {
  u64 faults = 0;       ///< page faults of the guest itself
  u64 large_pages = 0;  ///< that were answered with 2M
  u64 moved_pages = 0;  ///< a recorded address was mapped to another page before
  u64 table_frames = 0;
  u64 spaces = 0;
  u64 ended_spaces = 0;  ///< of these, taken for ended
  u64 asid_rollovers = 0;
  u64 bytes_zeroed = 0;
  models::FrameCounts frames;  ///< of those that were reserved
  PartCycles fault_cycles;     ///< of all vCPUs; exits on the way included
  PartCycles switch_cycles;
};

/// What became of a fault of the guest.
enum class GuestOutcome : u8 {
  Mapped,
  OutOfMemory,  ///< the guest has no frame left
  NoAddress,    ///< no translation can be: beyond the tables, or the trace names no page for it
  Failed,       ///< the host has no frame for it
  TakenAway,    ///< the hypervisor keeps the kernel's own memory from it
  Stale,        ///< a stale translation hides that nothing backs the kernel's own memory
  InKernel,     ///< the trace says that the page is in the kernel's own memory
};
/// Why the guest cannot go on.
const char* reason_of(GuestOutcome outcome);

class Guest final {
 public:
  Guest(models::Board& board, HostSpace& host, Hypervisor& hypervisor, Recording& recording,
        const GuestShape& shape, const models::SoftwareShape& costs, u16 vmid, u16 most_asids);

  /// Guest-physical memory that the kernel needs besides the guest's own: the first after that
  /// where no device is.
  static MemoryRange kernel_memory(const GuestShape& shape);

  /// This vCPU is on the core from now on.
  void put_on(u32 core, u32 vcpu);
  /// The guest is known to the caches by another VMID, and is on no core.
  void set_vmid(u16 vmid);
  /// The machine has none: nothing of an address space may be left for the next one.
  void has_no_asids() { has_asids_ = false; }
  /// The core goes on in the address space that has this key; it is made when it is new.
  models::Task<GuestOutcome> enter(u32 core, u64 key, models::Witness* witness = nullptr);
  /// A page fault of the first stage at an address of the core's space. `recorded` is where the
  /// trace says that it lies.
  models::Task<GuestOutcome> handle(u32 core, Gva address, std::optional<Gpa> recorded,
                                    models::Witness* witness);
  /// Is a page mapped where the trace says that it is? As far as the guest follows the trace.
  bool agrees(u32 core, Gva address, Gpa recorded) const;
  /// Where its tables have an address of the core's space, if they have it.
  std::optional<Gpa> where(u32 core, Gva address) const;

  /// How often a page came to lie elsewhere: what agreed before may not any more.
  u64 moves() const { return counts_.moved_pages; }

  GuestCounts counts() const {
    GuestCounts all = counts_;
    all.frames = frames_.policy().counts();
    return all;
  }
  /// Frames that are reserved now.
  u64 reserved_frames() const { return frames_.policy().reserved(); }
  EntryCells entries() const;

 private:
  struct Tables {
    std::unique_ptr<GuestSpace> space;
    std::unordered_set<u64> in_small_pages;  ///< regions of 2M that have some
    u64 number = 0;                          ///< names the address space
  };
  struct Space {
    Tables tables;
    models::Regime regime;
    TagPool::Holder asid;
    std::vector<GuestPage> pages;  ///< that it took
    u64 entered = 0;               ///< which of all entries was its last
  };
  struct NoFrame {};
  struct ChosenPage {
    GuestPage page;
    bool is_memory;  ///< it is zeroed before it is mapped
  };
  /// Where a page that faulted is to lie; or what became of the fault without one.
  using Choice = std::variant<ChosenPage, GuestOutcome, NoFrame>;

  models::Task<GuestOutcome> map_page(u32 core, Gva address, std::optional<Gpa> recorded,
                                      Meter& charges);
  models::Task<GuestOutcome> stock_tables(u32 core, Meter& charges);
  models::Task<GuestOutcome> stock_table_for(u32 core, Gva address, Meter& charges);
  models::Task<GuestOutcome> back_table(u32 core, Gpa frame, Meter& charges);
  models::Task<FaultOutcome> zero_frame(u32 core, Gpa frame, Meter& charges);
  models::Task<models::Mmu::Outcome> touch(u32 core, Gpa at, models::Witness* witness);
  models::Task<bool> end_oldest_space(u32 core, Meter& charges);
  Choice choose_page(u32 core, Gva address, std::optional<Gpa> recorded);
  bool is_memory(Gpa at) const;
  void map(u32 core, Gva address, const GuestPage& page);
  /// Those of a space for an address: its own, or the half that all share.
  Tables& tables_for(Space& space, Gva address) {
    return is_upper(address) ? upper_ : space.tables;
  }
  const Tables& tables_for(const Space& space, Gva address) const {
    return is_upper(address) ? upper_ : space.tables;
  }
  bool is_upper(Gva address) const { return upper_.space && (address.value() >> 55 & 1) != 0; }
  void enter_space(u32 core, u64 key);
  void take_asid(u32 core, Space& space);
  const models::Regime& kernel_on(u32 core);
  Space*& current(u32 core) { return current_[on_[core]]; }
  const Space& space_on(u32 core) const { return *current_[on_[core]]; }

  models::Board& board_;
  HostSpace& host_;
  Hypervisor& hypervisor_;
  Recording& recording_;
  GuestShape shape_;
  models::SoftwareShape costs_;
  TableFrames tables_;
  GuestFrames frames_;
  std::deque<Worker> workers_;
  std::vector<u32> on_;          ///< by core: the vCPU
  std::vector<Space*> current_;  ///< by vCPU
  std::unordered_map<u64, std::unique_ptr<Space>> spaces_;
  Tables upper_;  ///< AArch64: the half that they share
  TagPool asids_;
  bool has_asids_ = true;
  models::Lock lock_;
  u16 vmid_;                            ///< in fences
  std::vector<models::Regime> kernel_;  ///< by core: the direct map
  u64 entries_ = 0;                     ///< into address spaces
  u64 last_number_ = 0;                 ///< of an address space; 0 is the shared half
  GuestCounts counts_;
};

}  // namespace nestwalk::software
