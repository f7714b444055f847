// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A virtual processor on a core: plays its stream in order. Instructions between accesses take what
// the machine's shape says; an access takes its translation, then its way through the caches, and
// the next one begins when it is over. Whatever faults is handled, and tried again.
#pragma once

#include <array>

#include "nestwalk/software/distribution.hpp"
#include "nestwalk/software/guest.hpp"
#include "nestwalk/software/stream.hpp"

namespace nestwalk::software {

struct VcpuCounts {
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
  u64 total() const { return accesses[0] + accesses[1] + accesses[2]; }
};

class Vcpu final : private models::Actor {
 public:
  /// `guest` is null where the guest does not translate.
  Vcpu(models::Board& board, u32 core, Guest* guest, Hypervisor& hypervisor,
       const models::SoftwareShape& costs, GuestTables tables, GuestStream& stream);

  /// Begins now, from the wheel; plays at most `limit` accesses.
  void begin(u64 limit);
  bool finished() const { return state_ == State::Finished; }
  /// Why it stopped before its stream ended; none if it did not.
  std::optional<std::string> stopped() const { return stopped_; }

  const VcpuCounts& counts() const { return counts_; }
  /// Cycles of each access, from its begin to its end.
  const Distribution& latencies() const { return latencies_; }

 private:
  enum class State : u8 {
    Begin,
    Next,
    Event,
    Switched,
    EventDone,
    Translate,
    Translated,
    Accessed,
    Exited,
    Backed,  ///< whatever was missing is there: again
    GuestHandled,
    Finished,
  };
  struct KnownPage {
    u64 page = ~u64{0};
    u64 guest_page = 0;
  };

  void on_cycle(u32) override;
  bool rare_step();
  bool next();
  bool access_memory();
  void retire();
  bool spend(u64 cycles);
  bool gap(u64 instructions);
  bool after_translation();
  bool begin_event();
  bool disagrees();
  void begin_fence(const GuestFence& fence);
  bool issue_fence();
  bool finish();
  bool stop(std::string why);
  std::string reason() const;

  models::Board& board_;
  models::Board::Core& core_;
  u32 number_;
  Guest* guest_;
  Hypervisor& hypervisor_;
  models::SoftwareShape costs_;
  GuestStream& stream_;

  State state_ = State::Begin;
  GuestBatch batch_;
  std::size_t at_ = 0;
  u64 left_ = 0;
  u64 carry_ = 0;  ///< thousandths of instructions' cycles
  const GuestAccess* access_ = nullptr;
  Cycle issued_ = 0;
  models::Mmu::Outcome outcome_;
  models::Served served_ = models::Served::None;
  FaultOutcome backed_ = FaultOutcome::Mapped;
  GuestOutcome handled_ = GuestOutcome::Mapped;
  std::vector<KnownPage> known_;  ///< where the guest agrees with the trace
  u64 known_moves_ = 0;           ///< the guest's moves when it did
  models::FenceRequest fence_;
  u64 fences_left_ = 0;  ///< of the one that is being issued, page by page
  std::optional<std::string> stopped_;
  VcpuCounts counts_;
  Distribution latencies_;
};

}  // namespace nestwalk::software
