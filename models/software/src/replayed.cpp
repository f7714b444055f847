// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/replayed.hpp"

#include <numeric>

#include <algorithm>

namespace nestwalk::software {
namespace {

using models::Regime;
using models::Rights;

constexpr u64 kWord = sizeof(u64);
/// What one fault may bring lies in the region of this size around it.
constexpr u64 kRegion = u64{2} << 20;

constexpr u64 page_of(u64 address) { return addrspace::align_down(address, kFrameBytes); }

}  // namespace

ReplayedTables::ReplayedTables(models::Board& board, HostSpace* engine, u16 vmid, u16 most_asids)
    : board_(board),
      engine_(engine),
      vmid_(vmid),
      peek_(board.memory()),
      stages_(board.memory()),
      on_(board.cores()),
      states_(board.cores(), State(vmid)),
      numbers_(most_asids) {
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
    if (!change(nested, page_of(address) + n * kWord, entries[n])) return false;
  }
  return true;
}

bool ReplayedTables::lies_in(const MemoryRange& range) const {
  const auto page = pages_.lower_bound(page_of(range.start));
  return page != pages_.end() && page->first < range.start + range.bytes;
}

std::optional<ReplayedTables::Fences> ReplayedTables::store(bool nested, u64 address, u64 value) {
  ++(nested ? counts_.host_stores : counts_.guest_stores);
  return change(nested, address & ~(kWord - 1), value);
}

std::optional<ReplayedTables::Fences> ReplayedTables::change(bool nested, u64 address, u64 value) {
  if (nested) return change_nested(address, value);
  return change_guest(address, value) ? std::optional(Fences{}) : std::nullopt;
}

// No fence is recorded, but one that was needed was there: for each second stage that has the
// entry, whichever of them the vCPU is in.
ReplayedTables::Fences ReplayedTables::change_nested(u64 address, u64 value) {
  if (!board_.memory().contains(Hpa(address), kWord)) {
    ++counts_.unplaced;
    return {};
  }
  Fences fences;
  for (const RecordedStage* const changed : stages_.store(address, value)) {
    const models::Stage& stage = changed->stage;
    fences.push_back({stage.format->extension().whole_vm, stage.root, changed->vmid.tag});
  }
  counts_.fences += fences.size();
  if (fences.empty()) {
    place_missing(0, ~u64{0});
    return fences;
  }
  for (auto& [at, page] : pages_) {
    if (!place(at, page)) missing_.insert(at);
  }
  return fences;
}

bool ReplayedTables::change_guest(u64 address, u64 value) {
  const u64 at = page_of(address);
  const auto [found, is_new] = pages_.try_emplace(at);
  if (is_new && pages_.size() > kMostPages) return false;
  Page& page = found->second;
  page.entries[(address - at) / kWord] = value;
  // The engine may have taken it away; recorded tables of the second stage say so themselves.
  const bool looks = is_new || engine_ != nullptr;
  if (looks ? place(at, page) : page.host != kNowhere) {
    board_.memory().store(Hpa(page.host + (address - at)), value);
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

// Who translates with them -----------------------------------------------------------------------

u16 ReplayedTables::number_of(u16 asid) const {
  const auto number = asids_.find(asid);
  if (number == asids_.end() || !numbers_.is_current(number->second)) return 0;
  return number->second.tag;
}

std::vector<TagPool::Holder*> ReplayedTables::running(TagPool::Holder* (*of)(const State&)) const {
  std::vector<TagPool::Holder*> holders;
  for (const State& state : states_) {
    TagPool::Holder* const holder = state.known ? of(state) : nullptr;
    if (holder != nullptr) holders.push_back(holder);
  }
  return holders;
}

// At once: how long the recorded machine took for it is not known.
void ReplayedTables::invalidate(const models::FenceRequest& fence) {
  for (u32 core = 0; core < board_.cores(); ++core) {
    apply_fence(fence, *board_.core(core).mmu, board_.tags());
  }
}

// The caches tell fewer ASIDs apart than there are.
void ReplayedTables::take_number(State& state, u16 asid) {
  TagPool::Holder& holder = asids_[asid];
  if (!numbers_.is_current(holder) &&
      numbers_.renew(holder, running([](const State& each) { return each.asid; }))) {
    const models::FenceOp all = nested_.format->isa().guest_fences.all;
    if (engine_ != nullptr) {
      for (const State& each : states_) invalidate({all, 0, each.vmid});
    }
    stages_.for_each([&](const RecordedStage& each) { invalidate({all, 0, each.vmid.tag}); });
    ++counts_.fences;
  }
  state.asid = &holder;
}

// VMIDs that the recorded hypervisor took back and gave to others come from here as new ones, so
// nothing need be known of when it did. Two roots share none, even if no VMID is recorded (x86).
void ReplayedTables::take_stage(State& state, const TableRoots& roots) {
  nested_ = roots.nested;
  RecordedStage& stage = stages_.of(roots.nested, roots.vmid);
  const auto vmid_of = [](const State& each) { return each.stage ? &each.stage->vmid : nullptr; };
  if (!vmids_.is_current(stage.vmid) && vmids_.renew(stage.vmid, running(vmid_of))) {
    stages_.for_each([&](const RecordedStage& each) {
      const models::EntryFormat& format = *each.stage.format;
      invalidate({format.extension().whole_vm, each.stage.root, each.vmid.tag});
      invalidate({format.isa().guest_fences.all, 0, each.vmid.tag});
    });
    stages_.forget_all_but([&](const RecordedStage& each) { return vmids_.is_current(each.vmid); });
    ++counts_.fences;
  }
  state.stage = &stage;
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
  if (engine_ == nullptr && on_[core] != vcpu) {
    // ASIDs are each recorded processor's own. Under the engine's second stage the hypervisor
    // fences.
    stages_.for_each([&](const RecordedStage& each) {
      const models::FenceOp all = each.stage.format->isa().guest_fences.all;
      apply_fence({all, 0, each.vmid.tag}, *board_.core(core).mmu, board_.tags());
    });
  }
  on_[core] = vcpu;
  if (vcpu >= states_.size()) states_.resize(vcpu + 1, State(vmid_));
}

void ReplayedTables::set_vmid(std::optional<u32> vcpu, u16 vmid) {
  if (engine_ == nullptr) return;
  if (!vcpu) vmid_ = vmid;
  if (vcpu && *vcpu >= states_.size()) states_.resize(*vcpu + 1, State(vmid_));
  for (u32 n = vcpu.value_or(0); n < (vcpu ? *vcpu + 1 : states_.size()); ++n) {
    State& state = states_[n];
    state.vmid = vmid;
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
  core.known = roots.known && (engine_ != nullptr || roots.nested.on());
  if (!core.known) {
    core.stage = nullptr;
    return;
  }
  make_room_for_tags();
  if (engine_ == nullptr) take_stage(core, roots);
  place_missing(0, ~u64{0});
  core.physical.nested = nested_;
  core.physical.vmid = engine_ != nullptr ? core.vmid : core.stage->vmid.tag;
  core.physical.privilege = roots.privilege;
  core.physical.privilege.not_known = true;
  core.translating = core.physical;
  core.physical = core.physical.tagged(board_.tags());
  core.translating.guest = roots.guest;
  core.translating.guest_upper = roots.guest_upper;
  core.asid = nullptr;
  if (roots.guest.on()) take_number(core, roots.asid);
  core.translating.asid = core.asid != nullptr ? core.asid->tag : u16{0};
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

bool ReplayedTables::is_permitted(const Regime& regime, const GuestAccess& access) {
  const models::Peek::Found now = peek_.translate(regime, {access.address, access.kind, true});
  return !now.fault && now.translation.permits(Rights::needed(access.kind, true));
}

// A table that was backed a moment ago, for another vCPU, may still be empty. And where the tables
// permit by now what a cached translation refuses, nothing has to tell the caches: the access that
// was refused is none of the trace's, nor what the recorded software did about it. The recorded
// machine made the access, so its caches had nothing that refuses it any more.
ReplayedTables::Answer ReplayedTables::answer(u32 core, u64 number, const GuestAccess& access,
                                              const models::Fault& fault, bool& was_refused) {
  if (fault.nested && engine_ != nullptr) return Answer::Exit;
  if (engine_ != nullptr && place_missing(0, ~u64{0})) return Answer::Again;
  const bool is_first = !std::exchange(was_refused, true);
  models::Mmu& mmu = *board_.core(core).mmu;
  if (is_first && is_permitted(mmu.regime(), access)) {
    mmu.forget(mmu.regime(), access.address, fault);
    ++counts_.repeated;
    return Answer::Again;
  }
  ++(fault.nested ? counts_.host_faults : counts_.guest_faults);
  disagree(core, number, access, models::kFaultKindNames[static_cast<unsigned>(fault.kind)],
           access.guest_physical, std::nullopt);
  return Answer::Over;
}

}  // namespace nestwalk::software
