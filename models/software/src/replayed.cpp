// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/replayed.hpp"

#include <numeric>

#include <algorithm>

namespace nestwalk::software {
namespace {

using models::EntryKind;
using models::Regime;

constexpr u64 kWord = sizeof(u64);
/// What one fault may bring lies in the region of this size around it.
constexpr u64 kRegion = u64{2} << 20;

constexpr u64 page_of(u64 address) { return addrspace::align_down(address, kFrameBytes); }

}  // namespace

ReplayedTables::ReplayedTables(models::Board& board, HostSpace* engine, u16 vmid, u16 most_asids)
    : board_(board),
      engine_(engine),
      vmid_(vmid),
      most_asids_(most_asids),
      peek_(board.memory()),
      on_(board.cores()),
      states_(board.cores()) {
  std::iota(on_.begin(), on_.end(), 0u);
  if (engine != nullptr) nested_ = engine->stage();
}

// Where they are ---------------------------------------------------------------------------------

std::optional<u64> ReplayedTables::host_of(u64 guest_physical) {
  if (engine_ != nullptr) {
    const Result<Hpa> host = engine_->translate(Gpa(guest_physical));
    return host ? std::optional(host->value()) : std::nullopt;
  }
  if (!nested_.on()) return std::nullopt;
  Regime regime;
  regime.nested = nested_;
  const models::Peek::Found found =
      peek_.translate(regime, {guest_physical, models::AccessKind::Read, true});
  if (found.fault) return std::nullopt;
  return found.translation.host_of(guest_physical);
}

bool ReplayedTables::place(u64 address, Page& page) {
  const std::optional<u64> host = host_of(address);
  if (!host || !board_.memory().contains(Hpa(*host), kFrameBytes)) {
    page.host = kNowhere;
    return false;
  }
  if (page.host == *host) return true;
  page.host = *host;
  for (std::size_t n = 0; n < page.entries.size(); ++n) {
    board_.memory().store(Hpa(*host + n * kWord), page.entries[n]);
  }
  return true;
}

bool ReplayedTables::place_missing(u64 first, u64 last) {
  const std::size_t before = missing_.size();
  for (auto page = missing_.lower_bound(first); page != missing_.end() && *page <= last;) {
    page = place(*page, pages_[*page]) ? missing_.erase(page) : std::next(page);
  }
  return missing_.size() != before;
}

bool ReplayedTables::put(bool nested, u64 address, const Entries& entries) {
  for (std::size_t n = 0; n < entries.size(); ++n) {
    if (!store(nested, page_of(address) + n * kWord, entries[n])) return false;
  }
  return true;
}

bool ReplayedTables::lies_in(const MemoryRange& range) const {
  const auto page = pages_.lower_bound(page_of(range.start));
  return page != pages_.end() && page->first < range.start + range.bytes;
}

bool ReplayedTables::store(bool nested, u64 address, u64 value) {
  address &= ~(kWord - 1);
  models::HostMemory& memory = board_.memory();
  if (nested) {
    if (!memory.contains(Hpa(address), kWord)) {
      ++counts_.unplaced;
      return true;
    }
    const bool moves = fence_for(address, value).has_value();
    memory.store(Hpa(address), value);
    if (!moves) {
      place_missing(0, ~u64{0});
      return true;
    }
    for (auto& [at, page] : pages_) {
      if (!place(at, page)) missing_.insert(at);
    }
    return true;
  }
  const u64 at = page_of(address);
  const auto [found, is_new] = pages_.try_emplace(at);
  if (is_new && pages_.size() > kMostPages) return false;
  Page& page = found->second;
  page.entries[(address - at) / kWord] = value;
  // The engine may have taken it away; recorded tables of the second stage say so themselves.
  const bool looks = is_new || engine_ != nullptr;
  if (looks ? place(at, page) : page.host != kNowhere) {
    memory.store(Hpa(page.host + (address - at)), value);
  } else {
    missing_.insert(at);
  }
  return true;
}

// What the hypervisor took away, it gives back empty. Until its work is over the old frame seems to
// be there still, and a table that comes in that time is put into it.
void ReplayedTables::backed(u64 guest_physical) {
  const u64 first = guest_physical & ~(kRegion - 1);
  for (auto page = pages_.lower_bound(first); page != pages_.end(); ++page) {
    if (page->first > first + (kRegion - 1)) break;
    if (page->second.host != kNowhere && is_empty(page->second.host)) page->second.host = kNowhere;
    if (place(page->first, page->second)) {
      missing_.erase(page->first);
    } else {
      missing_.insert(page->first);
    }
  }
}

bool ReplayedTables::is_empty(u64 frame) const {
  for (u64 at = frame; at != frame + kFrameBytes; at += kWord) {
    if (board_.memory().load(Hpa(at)) != 0) return false;
  }
  return true;
}

// What is said to change and what was there: no fence is recorded, but one that was needed was
// there.
std::optional<models::FenceRequest> ReplayedTables::fence_for(u64 address, u64 value) {
  if (!nested_.on() || !board_.memory().contains(Hpa(address), kWord)) return std::nullopt;
  const models::EntryFormat& format = *nested_.format;
  const u64 before = board_.memory().load(Hpa(address));
  const models::Entry was = format.decode(before, 0);
  const models::Entry is = format.decode(value, 0);
  if (was.kind == EntryKind::Invalid) return std::nullopt;
  if (format.updated(before, true) == format.updated(value, true)) return std::nullopt;
  const bool only_more =
      was.kind == is.kind && was.address == is.address && is.access.has(was.access);
  if (only_more && was.kind == EntryKind::Leaf) return std::nullopt;
  return models::FenceRequest{format.extension().whole_vm, nested_.root, vmid_};
}

// Who translates with them -----------------------------------------------------------------------

u16 ReplayedTables::number_of(u16 asid) const {
  const auto number = asids_.find(asid);
  return number == asids_.end() ? 0 : number->second;
}

// The caches tell fewer ASIDs apart than there are. When no number is left, only those that run
// keep theirs, and nothing of the others may be cached.
u16 ReplayedTables::take_number(u16 asid) {
  if (const u16 known = number_of(asid)) return known;
  const auto runs = [&](u16 number) {
    return std::any_of(states_.begin(), states_.end(), [&](const State& state) {
      return state.known && state.translating.asid == number;
    });
  };
  if (asids_.size() == most_asids_) {
    std::erase_if(asids_, [&](const auto& each) { return !runs(each.second); });
    const models::FenceRequest all{nested_.format->isa().guest_fences.all, 0, vmid_};
    for (u32 core = 0; core < board_.cores(); ++core) {
      apply_fence(all, *board_.core(core).mmu, board_.tags());
    }
    last_number_ = 0;
    ++counts_.fences;
  }
  do {
    last_number_ = static_cast<u16>(last_number_ % most_asids_ + 1);
  } while (runs(last_number_));
  return asids_[asid] = last_number_;
}

// A recorded hypervisor may have had more root tables than the caches tell apart. When no tags are
// left, only what runs keeps its own, and nothing of the rest may be cached. Under the engine's
// second stage there is one root for each guest, and tags are left always.
void ReplayedTables::make_room_for_tags() {
  if (engine_ != nullptr || board_.tags().left() >= 2 * Regime::kTags) return;
  std::vector<bool> in_use(models::Tags::kMost + 1);
  for (const State& state : states_) {
    if (!state.known) continue;
    state.translating.note_tags(in_use);
    state.physical.note_tags(in_use);
  }
  for (u32 core = 0; core < board_.cores(); ++core) board_.core(core).mmu->note_tags(in_use);
  for (u32 core = 0; core < board_.cores(); ++core) {
    board_.core(core).mmu->drop_other_tags(in_use);
  }
  board_.tags().keep_only(in_use);
  ++counts_.fences;
}

void ReplayedTables::put_on(u32 core, u32 vcpu) {
  on_[core] = vcpu;
  if (vcpu >= states_.size()) states_.resize(vcpu + 1);
}

void ReplayedTables::set_vmid(u16 vmid) {
  vmid_ = vmid;
  for (State& state : states_) {
    if (!state.known) continue;
    make_room_for_tags();
    for (models::Regime* const regime : {&state.translating, &state.physical}) {
      regime->vmid = vmid;
      *regime = regime->tagged(board_.tags());
    }
  }
}

void ReplayedTables::enter(u32 number, const TableRoots& roots) {
  State& core = states_[on_[number]];
  if (engine_ == nullptr && roots.nested.on()) nested_ = roots.nested;
  core.known = roots.known && nested_.on();
  if (!core.known) return;
  make_room_for_tags();
  place_missing(0, ~u64{0});
  core.physical.nested = nested_;
  core.physical.vmid = vmid_;
  core.physical.privilege.not_known = true;
  core.translating = core.physical;
  core.physical = core.physical.tagged(board_.tags());
  core.translating.guest = roots.guest;
  core.translating.guest_upper = roots.guest_upper;
  core.translating.asid = roots.guest.on() ? take_number(roots.asid) : u16{0};
  core.translating = core.translating.tagged(board_.tags());
  core.translates = true;
  board_.core(number).mmu->set_regime(core.translating);
}

bool ReplayedTables::prepare(u32 number, const GuestAccess& access) {
  State& core = states_[on_[number]];
  if (!core.known) {
    ++counts_.not_known;
    return false;
  }
  if (core.translates == access.is(GuestAccess::kUntranslated)) {
    core.translates = !access.is(GuestAccess::kUntranslated);
    board_.core(number).mmu->set_regime(core.translates ? core.translating : core.physical);
  }
  return true;
}

void ReplayedTables::judge(u32 core, u64 number, const GuestAccess& access,
                           const models::Mmu::Outcome& found) {
  const bool knows_host = access.is(GuestAccess::kHost) && engine_ == nullptr;
  const auto agrees = [&](u64 guest_physical, u64 host) {
    return (!access.is(GuestAccess::kGuestPhysical) || guest_physical == access.guest_physical) &&
           (!knows_host || host == access.host);
  };
  if (!access.is(GuestAccess::kGuestPhysical) && !knows_host) {
    ++counts_.not_judged;
    return;
  }
  if (agrees(found.guest_physical, found.host)) [[likely]] {
    ++counts_.agreed;
    return;
  }
  const models::Peek::Found now =
      peek_.translate(board_.core(core).mmu->regime(), {access.address, access.kind, true});
  // The engine may have no frame there yet; or none for the tables, which nobody read then.
  const bool ends_there =
      now.fault.nested && engine_ != nullptr &&
      (now.fault.for_table || now.fault.guest_physical == access.guest_physical);
  if (ends_there || (!now.fault && agrees(now.translation.guest_physical_of(access.address),
                                          now.translation.host_of(access.address)))) {
    ++counts_.stale;
    disagree(core, number, access, "stale guest-physical", access.guest_physical,
             found.guest_physical);
  } else if (access.is(GuestAccess::kGuestPhysical) &&
             found.guest_physical != access.guest_physical) {
    ++counts_.wrong_page;
    disagree(core, number, access, "guest-physical", access.guest_physical, found.guest_physical);
  } else {
    ++counts_.wrong_frame;
    disagree(core, number, access, "host", access.host, found.host);
  }
}

void ReplayedTables::disagree(u32 core, u64 number, const GuestAccess& access, const char* what,
                              u64 recorded, std::optional<u64> found) {
  if (disagreements_.size() == kMostShown) return;
  disagreements_.push_back({core, number, access.address, what, recorded, found});
}

// A table that was backed a moment ago, for another vCPU, may still be empty. And a permission that
// was granted in a fault needs no fence: the recorded guest had that fault, the access before it is
// none of the trace's, and whatever was cached is gone when the second one is made.
ReplayedTables::Answer ReplayedTables::answer(u32 core, u64 number, const GuestAccess& access,
                                              const models::Fault& fault, bool& was_refused) {
  if (fault.nested && engine_ != nullptr) return Answer::Exit;
  if (engine_ != nullptr && place_missing(0, ~u64{0})) return Answer::Again;
  const bool is_first = !std::exchange(was_refused, true);
  if (is_first && fault.kind == models::FaultKind::Permission) {
    ++counts_.repeated;
    return Answer::Again;
  }
  ++(fault.nested ? counts_.host_faults : counts_.guest_faults);
  disagree(core, number, access, models::kFaultKindNames[static_cast<unsigned>(fault.kind)],
           access.guest_physical, std::nullopt);
  return Answer::Over;
}

}  // namespace nestwalk::software
