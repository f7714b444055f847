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

#include "nestwalk/software/agenda.hpp"
#include "nestwalk/software/cores.hpp"
#include "nestwalk/software/distribution.hpp"
#include "nestwalk/software/guest.hpp"
#include "nestwalk/software/recorded_order.hpp"
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
  Cycle begin = 0;         ///< this and the next two: of one vCPU
  Cycle first_access_end = 0;
  Cycle end = 0;

  // Where the vCPU's time went. These, and in order its accesses, add up to it.
  Cycle instruction_cycles = 0;
  Cycle interrupted_cycles = 0;  ///< by fences for other vCPUs' exits
  Cycle scheduling_cycles = 0;   ///< to leave its core to another vCPU, and to come back
  Cycle waiting_cycles = 0;      ///< for its core
  Cycle ordered_cycles = 0;      ///< for vCPUs that the trace has before it
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
  Cell& data_of(models::AccessKind kind, models::Served served) {
    return data[kind == models::AccessKind::Execute ? 1 : 0][static_cast<unsigned>(served)];
  }

  Cycle untranslatable_cycles = 0;
  Cycle unfinished_cycles = 0;  ///< of what was under way when it had to stop
  Cycle unpaid_cycles = 0;      ///< that interrupts took, when nothing came after them

  u64 total() const { return accesses[0] + accesses[1] + accesses[2]; }
  Cycle data_cycles() const;
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

/// Somebody who looks at a run when its vCPUs come to certain places.
class Milestones {
 public:
  /// The vCPU comes to a marker.
  virtual void on_phase(u32 vcpu, const GuestPhase& phase) = 0;
  /// It has played the accesses that only warm the machine up.
  virtual void on_warm(u32 vcpu) = 0;

 protected:
  Milestones() = default;
  Milestones(const Milestones&) = default;
  Milestones& operator=(const Milestones&) = default;
  ~Milestones() = default;
};

/// How long instructions take. What is less than a cycle is kept for the next ones.
class Pace {
 public:
  explicit Pace(u32 per_1000_cycles) : per_1000_cycles_(per_1000_cycles) {}
  Cycle cycles(u64 instructions) {
    const models::Divisor::Parts parts = per_1000_cycles_.divide(left_ + instructions * 1000);
    left_ = parts.remainder;
    return parts.quotient;
  }

 private:
  models::Divisor per_1000_cycles_;
  u64 left_ = 0;  ///< thousandths
};

/// Which vCPU of the machine it is, and on which core it takes its turns.
struct VcpuPlace {
  u32 vcpu;
  u32 core;
};

class Vcpu final : private models::Actor,
                   private models::Upcoming,
                   private Cores::User,
                   private RecordedOrder::Member {
 public:
  /// `guest` is null where the guest does not translate.
  Vcpu(models::Board& board, Cores& cores, VcpuPlace place, Guest* guest, Hypervisor& hypervisor,
       const models::SoftwareShape& costs, GuestTables tables, GuestStream& stream,
       const VcpuShape& shape = {});

  /// Begins as soon as it has its core; plays at most `limit` accesses. The first `warmup` of them
  /// are no more than that.
  void begin(u64 limit, u64 warmup = 0);
  bool begun() const { return front_ != Front::Idle; }
  bool finished() const { return front_ == Front::Finished && !draining(); }
  /// Why it stopped before its stream ended; none if it did not.
  std::optional<std::string> stopped() const { return stopped_; }

  /// Where it takes its turns.
  u32 core() const { return number_; }
  const VcpuCounts& counts() const { return counts_; }
  /// What the core's MMU counted while this was on it.
  models::Mmu::Totals mmu_totals() const;
  /// With the cycles of what is under way, as if it had to stop now.
  VcpuCounts counts_until(Cycle now) const;
  /// Cycles of each access, from its begin to its end.
  const Distribution& latencies() const { return latencies_; }
  /// Do the parts of its time add up to it? Why not; none if they do.
  std::optional<std::string> contradiction() const;

  /// Before it begins: the stream's tables translate, and no guest's kernel runs.
  void replay(ReplayedTables& tables) { replayed_ = &tables; }
  /// Before it begins: what translates, where no guest's kernel says so.
  void set_regime(const models::Regime& regime) { regime_ = regime; }
  /// Before it begins: what the hypervisor does on this one by the clock.
  void set_agenda(Agenda agenda) { agenda_ = std::move(agenda); }
  /// Before any of them begins: the trace says in which order they are.
  void keep_order(RecordedOrder& order) {
    order_ = &order;
    order.add(*this);
  }
  /// Before it begins: this one hears of milestones.
  void tell(Milestones& milestones) { milestones_ = &milestones; }
  /// Before it begins: this one hears of accesses when they are over.
  void tell(AccessListener& listener) {
    listener_ = &listener;
    next_told_ = listener.next_wanted(0);
  }

 private:
  static constexpr u32 kFront = ~u32{0};
  static constexpr u64 kNever = ~u64{0};
  static constexpr std::size_t kKnownPages = 1024;
  static constexpr u64 kMostInARow = 10'000;
  static constexpr Cycle kLittleTime = 16;  ///< not worth it: some three hits
  enum class Front : u8 {
    Idle,
    Begin,
    Next,
    Ready,  ///< the next record is due
    Attend,
    Attended,
    Leaving,
    Away,
    Arriving,
    Ordered,  ///< waits for those that the trace has before it
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
    bool left_out = false;     ///< untranslatable
    bool faulting = false;     ///< its fault waits, or is handled: nothing else begins
    bool was_refused = false;  ///< by replayed tables
    bool told = false;         ///< the watcher was told of its translation
  };
  struct KnownPage {
    u64 page = ~u64{0};
    u64 guest_page = 0;
  };

  void on_cycle(u32 what) override;
  void on_core() override;
  u64 clock() const override { return clock_base_ + counts_.instructions; }
  bool is_through() const override { return front_ == Front::Finished; }
  void watch(u64 clock) override {
    watched_ =
        clock == RecordedOrder::kNobody ? kNever : std::max(clock, clock_base_) - clock_base_;
  }
  void go_on() override;
  u64 upcoming(u32 others) const override {
    const std::size_t at = at_ + others;
    return at < batch_.accesses.size() ? batch_.accesses[at].address : 0;
  }
  // In order.
  void play_in_order();
  /// Nothing else is due for a while, nobody wants to see each access, and nothing is owed; the
  /// first access is told apart from all others, and is not for it.
  bool may_play_at_once() const {
    return board_.wheel().quiet_until() > board_.wheel().now() + kLittleTime &&
           replayed_ == nullptr && hypervisor_.watcher() == nullptr && !cores_.owes(number_) &&
           latencies_.count() != 0;
  }
  [[gnu::noinline]] bool play_at_once();
  // With a window.
  void play_window();
  void play_front();
  bool plan_next();
  bool may_begin() const;
  bool is_over(u64 number) const;
  void issue();
  void go_on(u32 slot);
  void free_slots();
  void wake_front();
  bool draining() const { return slots_.size() > 1 && oldest_ != issued(); }
  u64 issued() const { return limit_ - rest_ - left_; }

  // The stream.
  bool fetch_record() {
    if (at_ != batch_.accesses.size() && left_ != 0) [[likely]]
      return true;
    return fetch_batch();
  }
  [[gnu::noinline]] bool fetch_batch();
  bool begin_rest();
  Cycle gap(u64 instructions);
  bool spend(Cycle cycles);
  [[gnu::noinline]] bool rare_front();
  bool begin_event();
  void end_event();
  void begin_pause(Cycle VcpuCounts::*cycles);
  void end_pause();
  bool keep_time(u64 time);
  bool needs_attention() const { return attention_ <= board_.wheel().now(); }
  bool attend();
  bool falls_behind(Cycle now);
  bool leave_core(Front resume);
  void left_core();
  bool arrive();
  void begin_fence(const GuestFence& fence);
  bool issue_fence();
  bool begin_replay_event();
  bool store_entry();
  bool finish();
  void end();
  bool stop(std::string why);
  std::string reason() const;

  // An access.
  void begin(Slot& slot);
  bool perform(Slot& slot, u32 index);
  [[gnu::noinline]] bool rare_step(Slot& slot);
  bool access_memory(Slot& slot, u32 index);
  models::MemoryHierarchy::PathId path_of(bool fetch) const {
    return fetch ? core_.paths.fetches : core_.paths.data;
  }
  bool leave_out(Slot& slot);
  void retire(Slot& slot);
  // What every access counts.
  void count_data(models::AccessKind kind, models::Served served, Cycle cycles, u64 times = 1) {
    VcpuCounts::Cell& cell = counts_.data_of(kind, served);
    cell.references += times;
    cell.cycles += cycles;
  }
  void count_access(models::AccessKind kind, Cycle latency, u64 times = 1) {
    latencies_.add(latency, times);
    counts_.accesses[static_cast<unsigned>(kind)] += times;
  }
  bool known_to_agree(const GuestAccess& access) const;
  [[gnu::noinline]] bool disagrees(const Slot& slot);
  [[gnu::noinline]] bool after_translation(Slot& slot);
  [[gnu::noinline]] bool handle_guest_fault(Slot& slot);
  [[gnu::noinline]] bool tell_of_hit(const Slot& slot) const;
  void tell(const Slot& slot, u64 host) const;
  bool hold(Slot& slot);
  void begin_fault(Slot& slot);
  void end_fault(Slot& slot);
  void take_fault(Slot& slot, State state);
  void again(Slot& slot, Cycle& cycles);
  [[gnu::noinline]] void witness_translation(Slot& slot) const;
  [[gnu::noinline]] void witness_data(Slot& slot) const;
  void witness_fault(Slot& slot) const;
  void witness_held(Slot& slot) const;
  static Cycle& cycles_of(VcpuCounts& counts, const Slot& slot);
  void charge_under_way(VcpuCounts& counts, Cycle now) const;
  u32 index_of(const Slot& slot) const { return static_cast<u32>(&slot - slots_.data()); }

  models::Board& board_;
  Cores& cores_;
  models::Board::Core& core_;
  const Cycle& attention_;  ///< when something besides the stream has its turn
  u32 vcpu_;
  u32 number_;  ///< of the core
  Guest* guest_;
  ReplayedTables* replayed_ = nullptr;
  Hypervisor& hypervisor_;
  models::SoftwareShape costs_;
  GuestStream& stream_;

  Front front_ = Front::Idle;
  Front resume_ = Front::Idle;        ///< when it is back on its core
  models::Regime regime_;             ///< when it is not on it
  models::Mmu::Totals mmu_before_{};  ///< of the core, when it came there
  models::Mmu::Totals mmu_totals_{};  ///< until it left there
  bool has_core_ = false;
  Cycle owed_ = 0;            ///< that interrupts took before it left
  bool out_of_turn_ = false;  ///< it waits for another's
  u64 clock_base_ = 0;
  u64 watched_ = kNever;  ///< instructions after which another one may go on
  RecordedOrder* order_ = nullptr;
  Agenda agenda_{{}};
  u64 operations_in_a_row_ = 0;  ///< of the agenda, with no record of the stream in between
  Cycle late_before_ = 0;        ///< how late the first of them was
  std::vector<Slot> slots_;
  GuestBatch batch_;
  std::size_t at_ = 0;
  u64 limit_ = 0;
  u64 left_ = 0;  ///< until the next milestone
  u64 rest_ = 0;  ///< after it
  Pace pace_;
  u64 next_told_ = kNever;  ///< access that the listener wants to hear of
  AccessListener* listener_ = nullptr;
  Milestones* milestones_ = nullptr;

  // With a window.
  u64 oldest_ = 0;  ///< access that is not over, or the next one
  u64 last_read_ = kNever;
  u64 last_fetch_ = kNever;
  Cycle ready_at_ = 0;         ///< the instructions before the next record are issued
  bool known_record_ = false;  ///< the next one, and when it is ready
  u32 faulting_ = 0;           ///< accesses whose faults wait or are handled
  bool front_waits_ = false;
  bool front_runs_ = false;
  bool front_again_ = false;

  models::Calls calls_;
  FaultOutcome backed_ = FaultOutcome::Mapped;
  GuestOutcome handled_ = GuestOutcome::Mapped;
  bool compares_;                 ///< what the guest maps with what the trace says
  std::vector<KnownPage> known_;  ///< where the guest agrees with the trace
  u64 known_moves_ = 0;           ///< the guest's moves when it did
  models::FenceRequest fence_;
  u64 fences_left_ = 0;  ///< of the one that is being issued, page by page
  models::Served stored_ = models::Served::None;
  Cycle gap_end_ = 0;   ///< in order: of the instructions under way
  Cycle gap_lost_ = 0;  ///< with what interrupts took
  Cycle event_since_ = 0;
  Cycle fence_since_ = 0;
  Cycle VcpuCounts::*event_cycles_ = nullptr;
  std::optional<std::string> stopped_;
  VcpuCounts counts_;
  Distribution latencies_;
};

}  // namespace nestwalk::software
