// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A virtual processor on a core: plays its stream. An access takes its translation, then its way
// through the caches. An access that faults is handled, and translated again.
//
// In order, instructions take what the machine's shape says and an access begins when all before it
// is over. Out of order, an access begins as soon as the instructions before it have been issued,
// the fetch before it is over, a dependent one's read before it is, and a port and an entry of its
// queue are free. An instruction is issued when it is in the window, with the oldest access that is
// not over. What faults waits until all before it is over, and nothing begins until it is handled.
// Events wait until nothing is under way.
//
// One process, the front, plays the records of the stream, one after the other. Each slot of the
// window has a process for its accesses.
#pragma once

#include <array>

#include "nestwalk/software/agenda.hpp"
#include "nestwalk/software/cores.hpp"
#include "nestwalk/software/distribution.hpp"
#include "nestwalk/software/guest.hpp"
#include "nestwalk/software/issue_ports.hpp"
#include "nestwalk/software/known_pages.hpp"
#include "nestwalk/software/recorded_order.hpp"
#include "nestwalk/software/records.hpp"
#include "nestwalk/software/replayed.hpp"
#include "nestwalk/software/store_buffer.hpp"
#include "nestwalk/software/vcpu_counts.hpp"

namespace nestwalk::software {

/// How long instructions take.
class Pace {
 public:
  explicit Pace(u32 per_1000_cycles)
      : per_1000_cycles_(per_1000_cycles),
        each_(1000 % per_1000_cycles == 0 ? 1000 / per_1000_cycles : 0) {}
  /// `left`: what is less than a cycle, kept from instruction to instruction.
  Cycle cycles(u64 instructions, u64& left) const {
    if (each_ != 0) return instructions * each_;
    const models::Divisor::Parts parts = per_1000_cycles_.divide(left + instructions * 1000);
    left = parts.remainder;
    return parts.quotient;
  }

 private:
  models::Divisor per_1000_cycles_;
  u32 each_;  ///< cycles, where nothing is ever left
};

class Vcpu final : private models::Upcoming,
                   private RecordedOrder::Member,
                   private StoreBuffer::Owner {
 public:
  /// `guest` is null where the guest does not translate.
  Vcpu(models::Board& board, Cores& cores, VcpuPlace place, Guest* guest, Hypervisor& hypervisor,
       const models::MachineShape& machine, GuestTables tables, GuestStream& stream,
       const ProgramShape& program = {});

  /// Begins as soon as it has its core; plays at most `limit` accesses. The first `warmup` of them
  /// are no more than that.
  void begin(u64 limit, u64 warmup = 0);
  bool begun() const { return life_ != Life::Idle; }
  bool finished() const { return life_ == Life::Finished && !draining(); }
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
  static constexpr u64 kNever = ~u64{0};
  static constexpr u64 kMostInARow = 10'000;
  static constexpr Cycle kMostGrowth = 64;
  static constexpr u32 kMostKernelCalls = 1000;  ///< for one access
  static constexpr Cycle kLittleTime = 16;       ///< not worth it: some three hits
  enum class Life : u8 { Idle, Begun, Finished };
  /// What an access does.
  enum class State : u8 {
    Translates,
    HasAddress,  ///< and waits for its data
    Exited,
    InKernel,
    Held,  ///< a fault, until all before it is over
    Over   ///< without data
  };
  /// Where one slot's accesses are: a process plays them, one after the other.
  struct Slot {
    explicit Slot(Vcpu& vcpu) : translation({&vcpu, this}), data({&vcpu, this}), next(vcpu) {}

    struct Translate {
      Vcpu* vcpu;
      Slot* slot;
      bool operator()(models::Actor& owner) const { return vcpu->translate(*slot, owner); }
    };
    struct AccessMemory {
      Vcpu* vcpu;
      Slot* slot;
      bool operator()(models::Actor& owner) const { return vcpu->access_memory(*slot, owner); }
    };
    /// Until the slot's next access begins: the one before it is over.
    class Next final : public models::Waiter {
     public:
      explicit Next(Vcpu& vcpu) : vcpu_(vcpu) {}
      bool await_ready() const { return false; }
      template <class P>
      void await_suspend(std::coroutine_handle<P> handle) {
        park(handle);
        vcpu_.on_over();
      }
      void await_resume() const {}

     private:
      Vcpu& vcpu_;
    };

    const GuestAccess* access = nullptr;
    GuestAccess own;  ///< out of order: the batch may be gone
    u64 number = 0;
    u64 place = 0;     ///< among the accesses that have a slot
    u64 position = 0;  ///< out of order: instructions before it
    u32 store = 0;     ///< its entry, if stores have some
    Cycle issued = 0;
    Cycle mark = 0;
    models::Mmu::Outcome outcome;
    models::Witness own_witness;
    models::Witness* witness = nullptr;  ///< its own, if somebody wants to hear
    u32 kernel_calls = 0;                ///< for its faults
    State state = State::Over;
    models::Served served = models::Served::None;
    bool done = true;
    bool left_out = false;     ///< untranslatable
    bool faulting = false;     ///< its fault waits, or is handled: nothing else begins
    bool was_refused = false;  ///< by replayed tables
    bool told = false;         ///< the watcher was told of its translation
    bool has_begun = false;    ///< play_at_once has begun what its state says
    bool is_over = false;      ///< and that was over when the call returned

    models::Call<Translate> translation;
    models::Call<AccessMemory> data;
    models::Signal turn;  ///< to have its fault handled
    Next next;
    models::Process process;
  };
  /// Until the next record may begin, or, in order, until the access before it is over. An access
  /// that was issued begins within the wait: after the next record's begin has been scheduled.
  class Turn final : public models::Waiter {
   public:
    explicit Turn(Vcpu& vcpu) : vcpu_(vcpu) {}
    bool await_ready() const { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> handle) {
      park(handle);
      return wait();
    }
    void await_resume() { is_awaited_ = false; }

    bool is_awaited() const { return is_awaited_; }
    void issue(Slot& slot) { issued_ = &slot; }
    bool has_issued() const { return issued_ != nullptr; }
    /// Begins what was issued, if there is something.
    void begin_issued();
    /// What it waits for may be there: it looks again.
    void wake();
    void wake_by_wheel();

   private:
    bool wait();

    Vcpu& vcpu_;
    Slot* issued_ = nullptr;
    bool is_awaited_ = false;
    bool waits_ = false;   ///< for accesses, not for a cycle
    bool begins_ = false;  ///< an access
    bool again_ = false;   ///< that was over at once
  };

  u64 clock() const override { return clock_base_ + counts_.instructions; }
  bool is_through() const override { return life_ == Life::Finished; }
  void watch(u64 clock) override {
    watched_ =
        clock == RecordedOrder::kNobody ? kNever : std::max(clock, clock_base_) - clock_base_;
  }
  void go_on() override;
  u64 upcoming(u32 others) const override { return records_.address_after(others); }

  // The front.
  models::Task<> run();
  models::Task<> play_in_order();
  models::Task<> play_window();
  /// Nothing else is due for a while, nobody wants to see each access or hit, and nothing is owed.
  /// Not the first access: its end is the statistic time.first_access.
  bool may_play_at_once() const {
    return board_.wheel().quiet_until() > board_.wheel().now() + kLittleTime &&
           replayed_ == nullptr && hypervisor_.watcher() == nullptr && !cores_.owes(number_) &&
           latencies_.count() != 0 && !core_.mmu->wants_hits();
  }
  [[gnu::noinline]] void play_at_once();
  bool has_window() const { return core_shape_.is_out_of_order(); }
  bool has_stores() const { return core_shape_.store_buffer != 0; }
  Slot& slot_of(u64 place) { return *slots_[place % slots_.size()]; }
  const Slot& slot_of(u64 place) const { return *slots_[place % slots_.size()]; }
  bool is_due();
  Cycle begins_at();
  Cycle port_free_at(models::AccessKind kind, Cycle now);
  bool waits_for_read(const GuestAccess& access) const {
    return access.is(GuestAccess::kDependent) ||
           (program_.dependences == Dependences::All && access.kind == models::AccessKind::Read);
  }
  bool is_over(u64 place) const;
  void begin_gap();
  void issue_instructions();
  void stall_until(Cycle at);
  void issue();
  models::Task<> wait_for_port();
  bool take_hidden_fetch();
  void hide_fetch(const models::Translation& found, u64 host);
  void on_over();
  void free_slots();
  void pass_done();
  bool draining() const { return has_window() && oldest_ != begun_; }

  Cycle gap();
  u64 count_instructions();
  void finish();
  void end();
  void stop(std::string why);
  bool has_stopped() const { return stopped_.has_value(); }

  // Events.
  models::Task<> play_event();
  models::Task<> enter_space(u64 key);
  models::Task<> issue_fence(const GuestFence& fence);
  models::Task<> store_entry(const TableStore& store);
  models::Until operate_for(Cycle cycles) {
    begin_pause(&VcpuCounts::operation_cycles);
    return {board_.wheel(), board_.wheel().now() + cycles};
  }
  void begin_pause(Cycle VcpuCounts::*cycles);
  void end_pause();
  [[gnu::noinline]] void tell_of_pause(Cycle now) const;
  models::Witness* pause_witness() { return listener_ != nullptr ? &pause_witness_ : nullptr; }

  // Turns.
  models::Task<> keep_time(u64 time);
  bool needs_attention() const { return attention_ <= board_.wheel().now(); }
  models::Task<> attend();
  bool falls_behind(Cycle now);
  models::Task<> come_to_core(bool is_first);
  models::Task<> leave_core();

  // An access.
  void begin(Slot& slot);
  models::Task<> play_accesses(Slot& slot);
  bool translate(Slot& slot, models::Actor& owner);
  bool access_memory(Slot& slot, models::Actor& owner);
  bool begin_data(Slot& slot, const GuestAccess& access, models::Actor& owner);
  void post_store(Slot& slot);
  void on_line(models::Served served, bool was_known) override;
  void end_translation(Slot& slot);
  void use_translation(Slot& slot);
  models::MemoryHierarchy::PathId path_of(bool fetch) const {
    return fetch ? core_.paths.fetches : core_.paths.data;
  }
  void leave_out(Slot& slot);
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
  /// Was it seen that the guest's tables have the page for the address that the trace says?
  bool known_to_agree(const GuestAccess& access) const {
    return !access.is(GuestAccess::kGuestPhysical) || known_.agree(access, guest_->moves());
  }
  [[gnu::noinline]] bool disagrees(const GuestAccess& access);
  [[gnu::noinline]] bool tell_of_hit(const GuestAccess& access) const;
  void tell(const GuestAccess& access, u64 host) const;
  std::optional<Gpa> place_of(const GuestAccess& access) const;

  // Its faults.
  models::Task<> take_fault(Slot& slot);
  models::Task<> leave_guest(Slot& slot);
  models::Task<> call_kernel(Slot& slot);
  const char* why_again(const GuestAccess& access) const;
  models::Task<> hold(Slot& slot);
  bool is_early(const Slot& slot) const { return has_window() && slot.place != oldest_; }
  void begin_handling(Slot& slot, State state);
  void end_handling(Slot& slot, Cycle& cycles);
  void begin_fault(Slot& slot);
  void end_fault(Slot& slot);
  [[gnu::noinline]] void witness_translation(Slot& slot) const;
  [[gnu::noinline]] void witness_data(Slot& slot) const;
  void witness_fault(Slot& slot) const;
  void witness_held(Slot& slot) const;
  static Cycle& cycles_of(VcpuCounts& counts, const Slot& slot);
  void charge_under_way(VcpuCounts& counts, Cycle now) const;

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
  models::CoreShape core_shape_;
  ProgramShape program_;
  Records records_;

  Life life_ = Life::Idle;
  models::Process front_;
  Turn turn_{*this};
  models::Regime regime_;             ///< when it is not on its core
  models::Mmu::Totals mmu_before_{};  ///< of the core, when it came there
  models::Mmu::Totals mmu_totals_{};  ///< until it left there
  bool has_core_ = false;
  u64 records_before_ = 0;    ///< it came to its core
  Cycle owed_ = 0;            ///< that interrupts took before it left
  bool out_of_turn_ = false;  ///< it waits for another's
  models::Signal others_;     ///< waits here for vCPUs that the trace has first, keeping its core
  models::Actor* away_ = nullptr;  ///< waits for them without its core: runs when it has it again
  u64 clock_base_ = 0;
  u64 watched_ = kNever;  ///< instructions after which another one may go on
  RecordedOrder* order_ = nullptr;
  Agenda agenda_{{}};
  u64 operations_in_a_row_ = 0;  ///< of the agenda, with no record of the stream in between
  Cycle late_before_ = 0;        ///< how late the first of them was
  bool begins_turn_ = false;     ///< on a shared core
  Cycle late_in_turn_ = 0;       ///< how late the first of a turn was
  u32 later_turns_ = 0;          ///< in a row, each later than the one before
  Cycle late_at_first_ = 0;      ///< of these
  std::vector<std::unique_ptr<Slot>> slots_;  ///< they stay where they are
  const Pace pace_;
  u64 left_of_cycle_ = 0;
  IssuePorts load_ports_, store_ports_;
  StoreBuffer stores_;
  models::Signal port_;     ///< in order: waits here for an entry of the store buffer
  u64 next_told_ = kNever;  ///< access that the listener wants to hear of
  AccessListener* listener_ = nullptr;
  models::Witness pause_witness_;
  Milestones* milestones_ = nullptr;

  // Out of order.
  u64 begun_ = 0;         ///< accesses that have a slot, or had one: places, as the next two
  u64 oldest_ = 0;        ///< access that is not over, or the next one
  u64 position_ = 0;      ///< instructions issued
  u64 unissued_ = 0;      ///< instructions before the next record that are not in the window
  u32 loads_ = 0;         ///< from the oldest access on
  Cycle lost_until_ = 0;  ///< what interrupts took, before the instructions
  u64 last_read_ = kNever;
  u64 last_fetch_ = kNever;
  Cycle ready_at_ = 0;  ///< the instructions before the next record that have room are issued
  u32 faulting_ = 0;    ///< accesses whose faults wait or are handled

  bool compares_;       ///< what the guest maps with what the trace says
  KnownPages known_;    ///< where the guest agrees with the trace
  Cycle gap_end_ = 0;   ///< in order: of the instructions under way
  Cycle gap_lost_ = 0;  ///< with what interrupts took
  Cycle event_since_ = 0;
  Cycle VcpuCounts::*event_cycles_ = nullptr;
  std::optional<std::string> stopped_;
  VcpuCounts counts_;
  Distribution latencies_;
};

}  // namespace nestwalk::software
