// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The page tables that a trace carries, byte by byte where the real machine had them: a walk reads
// what its walker read, and has to arrive where it arrived.
//
// The second stage's lie at their host addresses. The guest's own lie where the second stage has
// their guest-physical pages: the recorded one, or the engine's, which backs them when they are
// walked.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "nestwalk/models/translation/peek.hpp"
#include "nestwalk/software/host_space.hpp"
#include "nestwalk/software/recorded_stages.hpp"
#include "nestwalk/software/stream.hpp"

namespace nestwalk::software {

struct ReplayCounts {
  u64 agreed = 0;        ///< accesses that arrived where the trace says
  u64 wrong_page = 0;    ///< at another guest-physical page
  u64 wrong_frame = 0;   ///< at that page, but at another host frame
  u64 stale = 0;         ///< by a TLB that nobody told: the tables lead where the trace says
  u64 not_judged = 0;    ///< the trace does not say where
  u64 not_known = 0;     ///< left out: nor does it say which tables translate
  u64 guest_faults = 0;  ///< left out: the guest's tables refuse them
  u64 host_faults = 0;   ///< left out: the second stage's do
  u64 repeated = 0;      ///< refused by what was cached, and tried again without it
  u64 guest_stores = 0;
  u64 host_stores = 0;
  u64 unplaced = 0;  ///< entries beyond the host's memory
  u64 fences = 0;    ///< that must have been: an entry that translated became another one
};

/// An access that did not arrive where the trace says.
struct Disagreement {
  u32 core;
  u64 access;  ///< number of the vCPU's accesses, from 0
  u64 address;
  const char* what;  ///< kind of address, or of fault
  u64 recorded;
  std::optional<u64> found;  ///< none where it faulted
};

class ReplayedTables {
 public:
  static constexpr std::size_t kMostShown = 5;
  /// 512 MiB of the guest's tables.
  static constexpr std::size_t kMostPages = std::size_t{1} << 17;
  using Entries = std::array<u64, kFrameBytes / sizeof(u64)>;

  /// `engine` has the second stage; null where the trace has its tables, too.
  ReplayedTables(models::Board& board, HostSpace* engine, u16 vmid, u16 most_asids);

  /// As the recording begins; false if that is more than there can be.
  bool put(bool nested, u64 page, const Entries& entries);
  /// Is a part of the guest's tables there?
  bool lies_in(const MemoryRange& range) const;
  /// An entry gets a new value. The fences that must have followed, where it was one of the second
  /// stage that translated; none if that is more than there can be.
  using Fences = std::vector<models::FenceRequest>;
  std::optional<Fences> store(bool nested, u64 address, u64 value);
  /// This vCPU is on the core from now on.
  void put_on(u32 core, u32 vcpu);
  /// The guest, or one of its vCPUs, is known to the caches by another VMID, and is on no core.
  void set_vmid(std::optional<u32> vcpu, u16 vmid);
  /// These tables translate on a core from here on.
  void enter(u32 core, const TableRoots& roots);
  bool knows_tables(u32 core) const { return states_[on_[core]].known; }
  /// Before an access is translated; false if nothing is known of how.
  bool prepare(u32 core, const GuestAccess& access);
  void judge(u32 core, u64 number, const GuestAccess& access, const models::Mmu::Outcome& found);
  enum class Answer : u8 {
    Over,  ///< there is nobody who could do something about it
    Again,
    Exit,  ///< the engine is asked
  };
  /// `was_refused`: it was before; true from here on.
  Answer answer(u32 core, u64 number, const GuestAccess& access, const models::Fault& fault,
                bool& was_refused);
  /// The engine gave the guest memory around there.
  void backed(u64 guest_physical);

  /// What translates for the vCPU that is on the core, if that is known.
  const models::Regime& regime(u32 core) const {
    const State& state = states_[on_[core]];
    return state.translates ? state.translating : state.physical;
  }
  /// The number that the caches know an ASID by.
  u16 number_of(u16 asid) const;

  const ReplayCounts& counts() const { return counts_; }
  const std::vector<Disagreement>& disagreements() const { return disagreements_; }

 private:
  struct Page {
    Entries entries{};
    u64 host = kNowhere;
  };
  struct State {
    explicit State(u16 of_guest) : vmid(of_guest) {}
    u16 vmid;  ///< with the engine's second stage
    models::Regime translating, physical;
    RecordedStage* stage = nullptr;  ///< none where the engine has the second stage
    TagPool::Holder* asid = nullptr;
    bool known = false;
    bool translates = true;
  };
  static constexpr u64 kNowhere = ~u64{0};

  std::optional<u64> host_of(u64 guest_physical);
  bool is_empty(u64 frame) const;
  bool place(u64 address, Page& page);
  bool place_missing(u64 first, u64 last);
  bool is_permitted(const models::Regime& regime, const GuestAccess& access);
  void disagree(u32 core, u64 number, const GuestAccess& access, const char* what, u64 recorded,
                std::optional<u64> found);
  std::optional<Fences> change(bool nested, u64 address, u64 value);
  Fences change_nested(u64 address, u64 value);
  bool change_guest(u64 address, u64 value);
  std::vector<TagPool::Holder*> running(TagPool::Holder* (*of)(const State&)) const;
  void take_number(State& state, u16 asid);
  void take_stage(State& state, const TableRoots& roots);
  void invalidate(const models::FenceRequest& fence);
  void make_room_for_tags();

  models::Board& board_;
  HostSpace* engine_;
  u16 vmid_;  ///< likewise, of vCPUs that have none of their own
  models::Peek peek_;
  models::Stage nested_;  ///< that a vCPU entered last
  RecordedStages stages_;
  TagPool vmids_{models::Tags::kMost};  ///< of recorded second stages
  std::map<u64, Page> pages_;           ///< of the guest's tables, by guest-physical address
  std::set<u64> missing_;               ///< of these, that no host frame has yet
  std::vector<u32> on_;                 ///< by core: the vCPU
  std::vector<State> states_;           ///< by vCPU
  std::unordered_map<u16, TagPool::Holder> asids_;  ///< their numbers
  TagPool numbers_;
  ReplayCounts counts_;
  std::vector<Disagreement> disagreements_;
};

}  // namespace nestwalk::software
