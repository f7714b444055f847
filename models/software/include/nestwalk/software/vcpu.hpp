// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A virtual processor on a core: plays its stream. An access takes its translation, then its way
// through the caches; whatever faults is handled, and tried again.
//
// In order, instructions take what the machine's shape says and an access begins when all before it
// is over. With a window, an access begins as soon as the instructions before it have been issued,
// and: a slot of the window is free (slots are freed in order); a fetch, once the fetch before it
// is over; anything else, once the fetch before it is; a dependent access, once the read before it
// is. What faults waits until all before it is over, and nothing begins until it is handled.
// Events wait for an empty window.
#pragma once

#include <array>

#include "nestwalk/software/distribution.hpp"
#include "nestwalk/software/guest.hpp"
#include "nestwalk/software/replayed.hpp"
#include "nestwalk/software/stream.hpp"

namespace nestwalk::software {

struct VcpuCounts {
  using Cell = models::WalkTotals::Cell;

  u64 accesses[3] = {};  ///< by AccessKind
  u64 instructions = 0;
  u64 switches = 0;
  u64 fences = 0;  ///< of the guest
  u64 guest_faults = 0;
  u64 exits = 0;           ///< of its own accesses; those of its kernel are not here
  u64 emulated = 0;        ///< accesses outside of the guest's memory
  u64 forbidden = 0;       ///< accesses that the hypervisor does not permit
  u64 untranslatable = 0;  ///< accesses for which the guest can have no translation: left out
  Cycle begin = 0;
  Cycle first_access_end = 0;
  Cycle end = 0;

  // Where the vCPU's time went. These, and in order its accesses, add up to it.
  Cycle instruction_cycles = 0;
  Cycle interrupted_cycles = 0;  ///< by fences for other vCPUs' exits
  Cycle stalled_cycles = 0;      ///< with a window: nothing could begin
  Cycle switch_cycles = 0;
  Cycle fence_cycles = 0;
  Cycle operation_cycles = 0;

  // Where the accesses' time went. These add up to the latencies and the next two.
  Cycle translation_cycles = 0;
  Cycle exit_cycles = 0;
  Cycle guest_cycles = 0;
  Cycle held_cycles = 0;                         ///< faults that waited for what was before them
  Cell data[2][models::WalkTotals::kSources]{};  ///< of data and of fetches, by who had it

  Cycle untranslatable_cycles = 0;
  Cycle unfinished_cycles = 0;  ///< of what was under way when it had to stop

  u64 total() const { return accesses[0] + accesses[1] + accesses[2]; }
  Cycle data_cycles() const;
  void add(const VcpuCounts& other);
};

/// An access that is over, and what became of it.
struct AccessStory {
  u64 number;  ///< of the vCPU's accesses, from 0
  const GuestAccess& access;
  Cycle begin;
  Cycle latency;
  std::span<const models::WitnessStep> steps;  ///< they add up to the latency
};
class AccessListener {
 public:
  /// The first access from this number on that it wants to hear of.
  virtual u64 next_wanted(u64 number) = 0;
  virtual void on_story(const AccessStory& story) = 0;

 protected:
  AccessListener() = default;
  AccessListener(const AccessListener&) = default;
  AccessListener& operator=(const AccessListener&) = default;
  ~AccessListener() = default;
};

class Vcpu final : private models::Actor, private models::Upcoming {
 public:
  /// `guest` is null where the guest does not translate.
  Vcpu(models::Board& board, u32 core, Guest* guest, Hypervisor& hypervisor,
       const models::SoftwareShape& costs, GuestTables tables, GuestStream& stream,
       const VcpuShape& shape = {});

  /// Begins now, from the wheel; plays at most `limit` accesses.
  void begin(u64 limit);
  bool finished() const { return front_ == Front::Finished; }
  /// Why it stopped before its stream ended; none if it did not.
  std::optional<std::string> stopped() const { return stopped_; }

  const VcpuCounts& counts() const { return counts_; }
  /// Cycles of each access, from its begin to its end.
  const Distribution& latencies() const { return latencies_; }
  /// Do the parts of its time add up to it? Why not; none if they do.
  std::optional<std::string> contradiction() const;

  /// Before it begins: the stream's tables translate, and no guest's kernel runs.
  void replay(ReplayedTables& tables) { replayed_ = &tables; }
  /// Before it begins: this one hears of accesses when they are over.
  void tell(AccessListener& listener) {
    listener_ = &listener;
    next_told_ = listener.next_wanted(0);
  }

 private:
  static constexpr u32 kFront = ~u32{0};
  static constexpr u64 kNever = ~u64{0};
  static constexpr std::size_t kKnownPages = 1024;
  enum class Front : u8 {
    Begin,
    Next,
    Issue,
    Event,
    Switched,
    Fencing,
    Stored,  ///< the entry of a recorded table is at hand
    StoreFenced,
    EventDone,
    Finished
  };
  enum class State : u8 {
    Translate,
    Translated,
    Accessed,
    Exited,
    GuestHandled,
    Held,  ///< a fault, until all before it is over
    Over,  ///< without data
  };
  /// An access that is under way.
  struct Slot {
    const GuestAccess* access = nullptr;
    GuestAccess own;  ///< with a window: the batch may be gone
    u64 number = 0;
    Cycle issued = 0;
    Cycle mark = 0;
    models::Mmu::Outcome outcome;
    models::Witness own_witness;
    models::Witness* witness = nullptr;  ///< its own, if somebody wants to hear
    State state = State::Over;
    models::Served served = models::Served::None;
    bool done = true;
    bool left_out = false;  ///< untranslatable
  };
  struct KnownPage {
    u64 page = ~u64{0};
    u64 guest_page = 0;
  };

  void on_cycle(u32 what) override;
  u64 upcoming(u32 others) const override {
    const std::size_t at = at_ + others;
    return at < batch_.accesses.size() ? batch_.accesses[at].address : 0;
  }
  // In order.
  void play_in_order();
  // With a window.
  void play_window();
  bool plan_next();
  bool may_begin() const;
  bool is_over(u64 number) const;
  void issue();
  void go_on(u32 slot);
  void free_slots();
  u64 issued() const { return limit_ - left_; }

  // The stream.
  bool fetch_record();
  Cycle gap(u64 instructions);
  bool spend(Cycle cycles);
  [[gnu::noinline]] bool rare_front();
  bool begin_event();
  void end_event();
  void begin_fence(const GuestFence& fence);
  bool issue_fence();
  bool begin_replay_event();
  bool store_entry();
  bool finish();
  bool stop(std::string why);
  std::string reason() const;

  // An access.
  void begin(Slot& slot);
  bool perform(Slot& slot, u32 index);
  [[gnu::noinline]] bool rare_step(Slot& slot);
  bool access_memory(Slot& slot, u32 index);
  bool leave_out(Slot& slot);
  void retire(Slot& slot);
  [[gnu::noinline]] bool disagrees(const Slot& slot);
  [[gnu::noinline]] bool after_translation(Slot& slot);
  [[gnu::noinline]] bool handle_guest_fault(Slot& slot);
  [[gnu::noinline]] void tell(Watcher& watcher, const Slot& slot) const;
  bool hold(Slot& slot);
  void take_fault(Slot& slot, State state);
  bool again(Slot& slot, Cycle& cycles);
  [[gnu::noinline]] void witness_translation(Slot& slot) const;
  [[gnu::noinline]] void witness_data(Slot& slot) const;
  void witness_fault(Slot& slot) const;
  void witness_held(Slot& slot) const;
  Cycle& cycles_of(const Slot& slot);
  u32 index_of(const Slot& slot) const { return static_cast<u32>(&slot - slots_.data()); }

  models::Board& board_;
  models::Board::Core& core_;
  u32 number_;
  Guest* guest_;
  ReplayedTables* replayed_ = nullptr;
  Hypervisor& hypervisor_;
  models::SoftwareShape costs_;
  GuestStream& stream_;

  Front front_ = Front::Begin;
  std::vector<Slot> slots_;
  GuestBatch batch_;
  std::size_t at_ = 0;
  u64 limit_ = 0;
  u64 left_ = 0;
  u64 carry_ = 0;           ///< thousandths of instructions' cycles
  u64 next_told_ = kNever;  ///< access that the listener wants to hear of
  AccessListener* listener_ = nullptr;

  // With a window.
  u64 oldest_ = 0;  ///< access that is not over, or the next one
  u64 last_read_ = kNever;
  u64 last_fetch_ = kNever;
  Cycle ready_at_ = 0;         ///< the instructions before the next record are issued
  bool known_record_ = false;  ///< the next one, and when it is ready
  u32 faulting_ = 0;           ///< accesses whose faults wait or are handled
  bool front_waits_ = false;

  FaultOutcome backed_ = FaultOutcome::Mapped;
  GuestOutcome handled_ = GuestOutcome::Mapped;
  std::vector<KnownPage> known_;  ///< where the guest agrees with the trace
  u64 known_moves_ = 0;           ///< the guest's moves when it did
  models::FenceRequest fence_;
  u64 fences_left_ = 0;  ///< of the one that is being issued, page by page
  models::Served stored_ = models::Served::None;
  Cycle event_since_ = 0;
  Cycle fence_since_ = 0;
  Cycle* event_cycles_ = nullptr;
  std::optional<std::string> stopped_;
  VcpuCounts counts_;
  Distribution latencies_;
};

}  // namespace nestwalk::software
