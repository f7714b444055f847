// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "adversary.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace nestwalk::checker {

using addrspace::Architecture;
using addrspace::kWrite;
using models::Entry;
using models::EntryKind;
using models::FenceOp;
namespace hext = addrspace::hext;
namespace stage2 = addrspace::stage2;
namespace svm = addrspace::svm;
namespace vmx = addrspace::vmx;
namespace x86_64 = addrspace::x86_64;
using models::FenceRequest;
using models::Upkeep;

namespace {
bool is_valid(const Entry& entry) {
  return entry.kind == EntryKind::Leaf || entry.kind == EntryKind::Table;
}
addrspace::Access kind_of(bool write) { return write ? kWrite : addrspace::kRead; }
}  // namespace

const char* to_string(Adversary::Wrong wrong) {
  constexpr const char* kNames[] = {"stale translation", "lost dirty flag", "unlinked table",
                                    "repeated fault", "stale combined translation"};
  return kNames[static_cast<unsigned>(wrong)];
}

u32 Adversary::number_of(u32 id) const {
  const auto found = std::find(ids_.begin(), ids_.end(), id);
  if (found == ids_.end()) throw std::invalid_argument("VM " + std::to_string(id));
  return static_cast<u32>(found - ids_.begin());
}

Architecture Adversary::architecture(u32 vm) const {
  return tables_.vm(vm).nested.format->isa().architecture;
}

// VMs -------------------------------------------------------------------------------------------

void Adversary::vm_created(const Moment&, const Vm& vm) {
  tables_.add(vm);
  ids_.push_back(vm.id);
  running_.push_back({vm.processors, vm.processors, false});
}
void Adversary::vm_destroyed(const Moment&, u32 vm) {
  const u32 number = number_of(vm);
  running_[number] = {0, 0, true};
  tables_.remove(number);
  std::erase_if(copies_, [&](const Copy& copy) { return copy.vm == number; });
}
void Adversary::vm_entered(const Moment& when, u32 vm) {
  const u32 number = number_of(vm);
  Running& running = running_[number];
  running.inside |= u64{1} << when.processor;
  running.ran |= u64{1} << when.processor;
  for (Copy& copy : copies_) {
    if (copy.vm != number || copy.processor != when.processor || !copy.alive()) continue;
    uses_after_free_ += copy.freed ? 1 : 0;
    // An operation that is not over may send its fence yet.
    const bool late = depth_[copy.stored_by] == 0 && misleads(copy);
    left_behind_ += late ? 1 : 0;
    const bool faults = copy.faulted_at != kNowhere && refuses(copy, copy.faulted_at, copy.refused);
    repeated_faults_ += faults ? 1 : 0;
    copy.faulted_at = kNowhere;
  }
}
void Adversary::vm_left(const Moment& when, u32 vm) {
  running_[number_of(vm)].inside &= ~(u64{1} << when.processor);
}
void Adversary::vm_faulted(const Moment& when, u32 vm, u64 gpa, addrspace::Access access) {
  const u32 number = number_of(vm);
  if (architecture(number) != Architecture::X86_64) {
    for (Copy& copy : copies_) {
      const bool here = copy.vm == number && copy.processor == when.processor && copy.alive();
      if (!here || !refuses(copy, gpa, access)) continue;
      copy.faulted_at = gpa;
      copy.refused = access;
    }
    return;
  }
  std::erase_if(copies_, [&](Copy& copy) {
    const bool used = copy.vm == number && copy.processor == when.processor &&
                      gpa - copy.what.start < bytes(copy);
    if (!used) return false;
    // Of a large leaf, only the part that was used: the processor may have cut it up.
    if (copy.kind != Copy::Kind::Leaf || bytes(copy) == addrspace::kFrameBytes) return true;
    copy.holes.push_back(gpa >> 12);
    return false;
  });
}

// Copies ----------------------------------------------------------------------------------------

void Adversary::leave(const Moment& when, u32 vm, const Tables::Found& what, Copy::Kind kind) {
  const bool arm = architecture(vm) == Architecture::AArch64;
  for (u32 processor = 0; processor < kMostProcessors; ++processor) {
    if ((running_[vm].ran >> processor & 1) == 0) continue;
    if (fills_ == Fills::OnDemand) {
      const u64 first = what.start >> 12;
      const auto touched = touched_.lower_bound({processor, vm, first});
      const u64 last = first + (tables_.bytes_of(vm, what.level) >> 12);
      if (touched == touched_.end() || *touched >= std::array<u64, 3>{processor, vm, last})
        continue;
    }
    copies_.push_back({processor, vm, what, kind, when.processor, !arm, false, {}});
  }
}

void Adversary::entry_stored(const Moment& when, u64 slot, u64 before, u64 after) {
  const std::vector<Tables::Place> places = tables_.places_of(slot);
  if (before == after) return tables_.store(slot, after);
  for (const Tables::Place& place : places) leave_all(when, place, before, after);
  tables_.store(slot, after);
  for (const Tables::Place& place : places) look_for_conflicts(when, place, before, after);
}

// The old entry, and what hangs below it.
void Adversary::leave_all(const Moment& when, const Tables::Place& place, u64 before, u64 after) {
  const Entry old = tables_.decode(place.vm, before, place.level);
  const Entry now = tables_.decode(place.vm, after, place.level);
  const Tables::Found what{place.level, place.start, before};
  // A fault there that is answered with a store was none of a stale copy's.
  for (Copy& copy : copies_) {
    const bool answered = copy.vm == place.vm &&
                          copy.faulted_at - place.start < tables_.bytes_of(place.vm, place.level);
    if (answered) copy.faulted_at = kNowhere;
  }
  if (!is_valid(old)) {
    const bool cached = is_valid(now) && architecture(place.vm) == Architecture::RiscV64 &&
                        !tables_.vm(place.vm).caches_no_invalid;
    if (cached) leave(when, place.vm, what, Copy::Kind::Nothing);
    return;
  }
  std::vector<Tables::Found> below;
  if (old.kind == EntryKind::Table) {
    tables_.collect(place.vm, before, place.level, place.start, below);
  }
  below.push_back(what);
  for (const Tables::Found& each : below) {
    const bool leaf = tables_.decode(place.vm, each.entry, each.level).kind == EntryKind::Leaf;
    leave(when, place.vm, each, leaf ? Copy::Kind::Leaf : Copy::Kind::Table);
  }
}

void Adversary::look_for_conflicts(const Moment& when, const Tables::Place& place, u64 before,
                                   u64 after) {
  const Entry now = tables_.decode(place.vm, after, place.level);
  if (!is_valid(now) || architecture(place.vm) != Architecture::AArch64) return;
  const Tables::Found made{place.level, place.start, after};
  const bool conflict = std::any_of(copies_.begin(), copies_.end(), [&](const Copy& copy) {
    return copy.vm == place.vm && copy.alive() && conflicts_with(copy, made);
  });
  conflicts_ += conflict ? 1 : 0;
  std::vector<Tables::Found> linked;
  if (now.kind == EntryKind::Table) {
    tables_.collect(place.vm, after, place.level, place.start, linked);
  }
  linked.push_back(made);
  const bool translates = std::any_of(linked.begin(), linked.end(), [&](const auto& each) {
    return tables_.decode(place.vm, each.entry, each.level).kind == EntryKind::Leaf;
  });
  const bool was = is_valid(tables_.decode(place.vm, before, place.level));
  if (!was && translates) unseen_.push_back({place.vm, when.processor, 0});
}

bool Adversary::conflicts_with(const Copy& copy, const Tables::Found& made) const {
  const u64 made_bytes = tables_.bytes_of(copy.vm, made.level);
  if (copy.what.start >= made.start + made_bytes || made.start >= copy.what.start + bytes(copy)) {
    return false;
  }
  const Entry old = tables_.decode(copy.vm, copy.what.entry, copy.what.level);
  const Entry now = tables_.decode(copy.vm, made.entry, made.level);
  return copy.what.level != made.level || old.kind != now.kind || old.address != now.address ||
         old.memory != now.memory;
}

bool Adversary::clashes(const Copy& copy, u64 gpa, addrspace::Access access, Wrong& wrong) const {
  const bool write = access.has(kWrite);
  if (gpa - copy.what.start >= bytes(copy)) return false;
  if (std::find(copy.holes.begin(), copy.holes.end(), gpa >> 12) != copy.holes.end()) return false;
  const Tables::Found found = tables_.walk(copy.vm, gpa);
  const Entry now = tables_.decode(copy.vm, found.entry, found.level);
  const Entry old = tables_.decode(copy.vm, copy.what.entry, copy.what.level);
  const bool permits_now = now.kind == EntryKind::Leaf && now.access.has(access);
  if (copy.kind == Copy::Kind::Nothing) {
    wrong = Wrong::Fault;
    return permits_now;
  }
  if (copy.kind == Copy::Kind::Table) {
    wrong = Wrong::Table;
    // Is it linked there, still or again?
    if (found.level >= copy.what.level) return true;
    std::vector<Tables::Found> path;
    u64 table = tables_.vm(copy.vm).nested.root;
    for (unsigned level = tables_.vm(copy.vm).nested.geometry.root_level();; --level) {
      const auto& geometry = tables_.vm(copy.vm).nested.geometry;
      const u64 index = (gpa >> geometry.shift(level)) & (geometry.entries(level) - 1);
      const Entry entry = tables_.decode(copy.vm, tables_.load(table + index * sizeof(u64)), level);
      if (level == copy.what.level) {
        return entry.address != old.address || !entry.access.has(old.access);
      }
      table = entry.address;
    }
  }
  const auto& rules = tables_.vm(copy.vm).nested.format->rules();
  const bool permits =
      old.access.has(access) && (!write || old.dirty || rules.dirty != Upkeep::Faults);
  if (!permits) {
    wrong = Wrong::Fault;
    return permits_now && architecture(copy.vm) != Architecture::X86_64;
  }
  wrong = Wrong::Translation;
  if (!permits_now || now.memory != old.memory) return true;
  if (old.address + (gpa - copy.what.start) != now.address + (gpa - found.start)) return true;
  wrong = Wrong::Dirty;
  return write && old.dirty && !now.dirty && rules.dirty != Upkeep::Ignored;
}

bool Adversary::would_hit(u32 processor, u32 vm, u64 gpa, bool write, Wrong& wrong) const {
  const u32 number = number_of(vm);
  return std::any_of(copies_.begin(), copies_.end(), [&](const Copy& copy) {
    return copy.processor == processor && copy.vm == number && copy.alive() &&
           copy.kind != Copy::Kind::Nothing && clashes(copy, gpa, kind_of(write), wrong) &&
           wrong != Wrong::Fault;
  });
}

// Is the processor in the guest?
bool Adversary::is_usable(const Copy& copy) const {
  return copy.alive() && (running_[copy.vm].inside >> copy.processor & 1) != 0;
}

/// Is it so somewhere in what the copy covers? Each of the leaves that are there now is asked.
template <class Is>
bool Adversary::anywhere(const Copy& copy, Is&& is) const {
  constexpr unsigned kMostSteps = 4096;
  const u64 end = copy.what.start + bytes(copy);
  u64 at = copy.what.start;
  for (unsigned step = 0; at < end && step < kMostSteps; ++step) {
    if (is(at, addrspace::kRead) || is(at, kWrite)) return true;
    const Tables::Found found = tables_.walk(copy.vm, at);
    const bool hole = std::find(copy.holes.begin(), copy.holes.end(), at >> 12) != copy.holes.end();
    at = hole ? at + addrspace::kFrameBytes : found.start + tables_.bytes_of(copy.vm, found.level);
  }
  return false;
}

bool Adversary::disagrees(const Copy& copy) const {
  Wrong wrong{};
  return anywhere(copy,
                  [&](u64 gpa, addrspace::Access kind) { return clashes(copy, gpa, kind, wrong); });
}

// Does an access go wrong with it? One that faults is tried again.
bool Adversary::misleads(const Copy& copy) const {
  Wrong wrong{};
  return copy.kind != Copy::Kind::Nothing && anywhere(copy, [&](u64 gpa, addrspace::Access kind) {
           return clashes(copy, gpa, kind, wrong) && wrong != Wrong::Fault;
         });
}

// Does such an access there fault although the tables permit it?
bool Adversary::refuses(const Copy& copy, u64 gpa, addrspace::Access access) const {
  Wrong wrong{};
  const addrspace::Access kind = access & addrspace::kRwx;
  if (!kind.any_of(addrspace::kRwx)) return false;
  const Tables::Found found = tables_.walk(copy.vm, gpa);
  const Entry now = tables_.decode(copy.vm, found.entry, found.level);
  const auto& rules = tables_.vm(copy.vm).nested.format->rules();
  const bool flags = (now.accessed || rules.accessed != Upkeep::Faults) &&
                     (now.dirty || !kind.has(kWrite) || rules.dirty != Upkeep::Faults);
  return flags && clashes(copy, gpa, kind, wrong) && wrong == Wrong::Fault;
}

void Adversary::operation_ended(const Moment& when) {
  u32& depth = depth_[when.processor];
  if (depth == 0 || --depth != 0) return;
  for (const auto& [vm, processor, see] : unseen_) {
    left_behind_ += (running_[vm].inside & ~see) != 0 ? 1 : 0;
  }
  // What agrees with the tables is as good as a new walk.
  std::erase_if(copies_, [&](const Copy& copy) { return !disagrees(copy); });
  for (const Copy& copy : copies_) {
    left_behind_ += is_usable(copy) && misleads(copy) ? 1 : 0;
  }
  unseen_.clear();
  constexpr std::size_t kMostCopies = 1024;
  if (copies_.size() > kMostCopies) {
    copies_.erase(copies_.begin(), copies_.end() - static_cast<std::ptrdiff_t>(kMostCopies / 2));
  }
}

void Adversary::frames_freed(const Moment&, u64 first, u64 size) {
  for (Copy& copy : copies_) {
    if (!copy.alive() || copy.kind == Copy::Kind::Nothing || !misleads(copy)) continue;
    const u64 address = tables_.decode(copy.vm, copy.what.entry, copy.what.level).address;
    const u64 used = copy.kind == Copy::Kind::Table
                         ? tables_.vm(copy.vm).nested.geometry.page_bytes()
                         : bytes(copy);
    if (address >= first + size || first >= address + used) continue;
    is_usable(copy) ? void(++uses_after_free_) : void(copy.freed = true);
  }
  tables_.for_each_use(first, size, [&](const Tables::Place& place, u64) {
    uses_after_free_ += running_[place.vm].ran != 0 ? 1 : 0;
  });
  tables_.free(first, size);
}

// Accesses --------------------------------------------------------------------------------------

void Adversary::fill(u32 processor, u32 vm, u64 gpa) {
  if (fills_ == Fills::OnDemand) touched_.insert({processor, number_of(vm), gpa >> 12});
}

void Adversary::accessed(const Access& access) {
  const u32 vm = number_of(access.vm);
  const u32 processor = access.when.processor;
  fill(processor, access.vm, access.gpa);
  const auto found = [&](Wrong wrong, u64 stale) {
    if (++hit_count_ > kMostHits) return;
    hits_.push_back({access, wrong, stale, tables_.walk(vm, access.gpa).entry});
  };
  for (auto copy = copies_.begin(); copy != copies_.end(); ++copy) {
    Wrong wrong{};
    if (copy->processor != processor || copy->vm != vm || !copy->alive()) continue;
    if (!clashes(*copy, access.gpa, kind_of(access.write), wrong)) continue;
    if (wrong == Wrong::Fault) {
      ++spurious_;
      continue;
    }
    found(wrong, copy->what.entry);
    break;
  }
  if (access.guest_shift >= 64) return;
  const u64 page = addrspace::align_down(access.gva, addrspace::kFrameBytes);
  const Merged merged{processor,
                      vm,
                      page,
                      access.asid,
                      addrspace::align_down(access.gpa, addrspace::kFrameBytes),
                      access.guest_shift};
  const auto [before, is_new] = merged_.insert(merged);
  if (!is_new && before->gpa != merged.gpa) found(Wrong::Combined, before->gpa);
  constexpr std::size_t kMostMerged = 1 << 20;
  if (merged_.size() > kMostMerged) merged_.clear();
}

// Fences ----------------------------------------------------------------------------------------

namespace {

enum class Stage : u8 { None, First, Second, SecondLeaves, Both, BothLeaves };
struct Strike {
  Stage stage = Stage::None;
  bool by_gpa = false;
  bool broadcast = false;
  bool any_vm = false;
  bool posted = false;  ///< begins with W.INVAL, ends with INVAL.IR
  bool waits = false;   ///< ends with TLBSYNC
};

struct StrikeRow {
  FenceOp op;
  Strike strike;
};
constexpr Strike kBoth{Stage::Both}, kFirst{Stage::First}, kSecond{Stage::Second, true},
    kSecondLeaves{Stage::SecondLeaves, true}, kBothLeaves{Stage::BothLeaves, true};
constexpr Strike broadcast(Strike strike) {
  strike.broadcast = true;
  return strike;
}
constexpr Strike by_tlbsync(Strike strike) {
  strike.broadcast = strike.waits = true;
  return strike;
}
constexpr Strike of_any_vm(Strike strike) {
  strike.any_vm = true;
  return strike;
}
constexpr Strike posted(Strike strike) {
  strike.posted = true;
  return strike;
}

// Written out again, after the manuals: what the checker uses is in the operations' own rows.
constexpr StrikeRow kStrikes[] = {
    {vmx::kInveptSingle, kBoth},
    {vmx::kInveptAll, of_any_vm(kBoth)},
    {vmx::kInvvpidSingle, kFirst},
    {vmx::kInvvpidAll, of_any_vm(kFirst)},
    // "Flush this guest's non-global TLB entries": what was merged with global ones stays.
    {svm::kVmrunAsidKeepGlobals, {Stage::Second}},
    {svm::kVmrunAsid, kBoth},
    {svm::kVmrunAll, of_any_vm(kBoth)},
    {svm::kInvlpgbNested, by_tlbsync(kBoth)},
    {svm::kInvlpgb, by_tlbsync(kFirst)},
    {stage2::kIpas2e1.local, kSecond},
    {stage2::kIpas2e1.is, broadcast(kSecond)},
    {stage2::kIpas2e1.os, broadcast(kSecond)},
    {stage2::kRipas2e1.local, kSecond},
    {stage2::kRipas2e1.is, broadcast(kSecond)},
    {stage2::kRipas2e1.os, broadcast(kSecond)},
    {stage2::kIpas2le1.local, kSecondLeaves},
    {stage2::kIpas2le1.is, broadcast(kSecondLeaves)},
    {stage2::kIpas2le1.os, broadcast(kSecondLeaves)},
    {stage2::kRipas2le1.local, kSecondLeaves},
    {stage2::kRipas2le1.is, broadcast(kSecondLeaves)},
    {stage2::kRipas2le1.os, broadcast(kSecondLeaves)},
    {stage2::kVmalle1.local, kFirst},
    {stage2::kVmalle1.is, broadcast(kFirst)},
    {stage2::kVmalle1.os, broadcast(kFirst)},
    {stage2::kVmalls12e1.local, kBoth},
    {stage2::kVmalls12e1.is, broadcast(kBoth)},
    {stage2::kVmalls12e1.os, broadcast(kBoth)},
    {stage2::kAlle1.local, of_any_vm(kBoth)},
    {stage2::kAlle1.is, of_any_vm(broadcast(kBoth))},
    {stage2::kAlle1.os, of_any_vm(broadcast(kBoth))},
    {hext::kVvmaAll.at_once, kFirst},
    {hext::kVvmaAll.posted, posted(kFirst)},
    {hext::kGvmaAll.at_once, of_any_vm(kBoth)},
    {hext::kGvmaAll.posted, posted(of_any_vm(kBoth))},
    {hext::kGvmaVmid.at_once, kBoth},
    {hext::kGvmaVmid.posted, posted(kBoth)},
    {hext::kGvmaAddress.at_once, of_any_vm(kBothLeaves)},
    {hext::kGvmaAddress.posted, posted(of_any_vm(kBothLeaves))},
    {hext::kGvmaAddressVmid.at_once, kBothLeaves},
    {hext::kGvmaAddressVmid.posted, posted(kBothLeaves)},
};

// Its second-stage translations are known by their root.
bool is_vmx(const Vm& vm) { return std::string_view(vm.nested.format->extension().name) == "vmx"; }

Strike strike_of(FenceOp op) {
  for (const StrikeRow& row : kStrikes) {
    if (row.op == op) return row.strike;
  }
  return {};
}

}  // namespace

namespace {

// "TTL": granule in bits 47:46 of the operand, level in 45:44; of ranges, TG there and the level in
// 38:37. An entry elsewhere need not go; tables go above the leaf that is hinted at.
bool may_hint(const FenceRequest& request, const Vm& vm, unsigned level, bool table) {
  if (vm.nested.format->isa().architecture != Architecture::AArch64) return true;
  const u64 operand = request.instruction.operand;
  const unsigned granule = static_cast<unsigned>(operand >> 46 & 3);
  const bool range = request.bytes > 1;
  const unsigned hint = static_cast<unsigned>(operand >> (range ? 37 : 44) & 3);
  const unsigned shift = vm.nested.geometry.shift(0);
  if (granule == 0) return true;
  if (10 + 2 * granule != shift) return false;
  if (hint == 0) return true;
  return table ? hint > 3 - level : hint == 3 - level;
}

}  // namespace

void Adversary::strike(const Moment& when, const FenceRequest& request, Copy& copy) const {
  const Strike strike = strike_of(request.op);
  if (!copy.alive()) return;
  if (!strike.broadcast && copy.processor != when.processor) return;
  const Vm& vm = tables_.vm(copy.vm);
  if (!strike.any_vm) {
    constexpr u64 kEp4ta = 0x000f'ffff'ffff'f000;
    const bool by_root = is_vmx(vm) && strike.stage == Stage::Both;
    if (by_root && ((request.root ^ vm.root_register) & kEp4ta) != 0) return;
    if (!by_root && request.vmid != vm.vmid) return;
  }
  if (strike.by_gpa) {
    const u64 address = request.address ^ vm.operand_tag;
    const bool meets = address < copy.what.start + bytes(copy) &&
                       copy.what.start < address + std::max<u64>(request.bytes, 1);
    if (!meets) return;
  }
  if (strike.by_gpa && !may_hint(request, vm, copy.what.level, copy.kind == Copy::Kind::Table)) {
    return;
  }
  // A walker that does not see the store yet caches the old entry again.
  const bool visible =
      copy.visible || (copy.visible_there && !strike.broadcast && copy.stored_by == when.processor);
  if (!visible || (strike.posted && !copy.ordered)) return;
  const bool waits =
      strike.posted || strike.waits || architecture(copy.vm) == Architecture::AArch64;
  const bool table =
      copy.kind == Copy::Kind::Table || (copy.kind == Copy::Kind::Nothing && copy.what.level != 0);
  const bool leaves_only = strike.stage == Stage::SecondLeaves || strike.stage == Stage::BothLeaves;
  const bool second = strike.stage != Stage::First && !(leaves_only && table);
  const bool first = strike.stage == Stage::First || strike.stage == Stage::Both ||
                     (strike.stage == Stage::BothLeaves && !table);
  copy.ends_there = waits && !strike.broadcast;
  if (second && copy.nested) {
    waits ? void(copy.nested_ends = when.processor) : void(copy.nested = false);
  }
  // While the nested copy is there, it is merged again at once.
  if (first && copy.combined && (second || !copy.nested)) {
    waits ? void(copy.combined_ends = when.processor) : void(copy.combined = false);
  }
}

// Guest-virtual fences, and those that take everything: each names any address in the guest's leaf.
void Adversary::strike_merged(const Moment& when, const FenceRequest& request) {
  const Strike strike = strike_of(request.op);
  const auto is_one_of = [&](std::initializer_list<FenceOp> ops) {
    return std::find(ops.begin(), ops.end(), request.op) != ops.end();
  };
  const bool by_address =
      is_one_of({hext::kVvmaAddress.at_once, hext::kVvmaAddressAsid.at_once, stage2::kVae1.is,
                 stage2::kVae1.local, stage2::kVaae1.is, stage2::kVaae1.local, x86_64::kInvlpg,
                 vmx::kInvvpidAddress, svm::kInvlpga});
  const bool by_asid = is_one_of({hext::kVvmaAsid.at_once, hext::kVvmaAddressAsid.at_once,
                                  stage2::kVae1.is, stage2::kVae1.local, stage2::kAside1.is,
                                  stage2::kAside1.local, x86_64::kMovCr3, x86_64::kInvlpg});
  const bool all = strike.stage != Stage::None && strike.stage != Stage::Second &&
                   strike.stage != Stage::SecondLeaves;
  if (!by_address && !by_asid && !all) return;
  const bool everywhere =
      strike.broadcast || is_one_of({stage2::kVae1.is, stage2::kVaae1.is, stage2::kAside1.is});
  std::erase_if(merged_, [&](const Merged& each) {
    if (!everywhere && each.processor != when.processor) return false;
    if (!strike.any_vm && strike.stage != Stage::Both && tables_.vm(each.vm).vmid != request.vmid) {
      return false;
    }
    if (by_asid && each.asid != request.asid) return false;
    const u64 leaf = u64{1} << each.guest_shift;
    return !by_address ||
           addrspace::align_down(each.gva, leaf) == addrspace::align_down(request.address, leaf);
  });
}

void Adversary::fence_issued(const Moment& when, const FenceRequest& request, Cycle) {
  if (request.op == hext::kSfenceWInval) {
    for (Copy& copy : copies_) copy.ordered = copy.ordered || copy.processor == when.processor;
    return;
  }
  if (request.op == hext::kSfenceInvalIr || request.op == svm::kTlbsync) {
    return finish(when.processor);
  }
  if (strike_of(request.op).stage != Stage::None) {
    for (Copy& copy : copies_) strike(when, request, copy);
  }
  forget(when, request);
  if (!merged_.empty()) strike_merged(when, request);
  std::erase_if(copies_, [](const Copy& copy) { return !copy.alive(); });
  const Strike all = strike_of(request.op);
  if (fills_ == Fills::OnDemand && all.stage == Stage::Both && !all.by_gpa) {
    std::erase_if(touched_, [&](const std::array<u64, 3>& each) {
      return all.broadcast || each[0] == when.processor;
    });
  }
}

// All of a VM is gone from processors that are outside: they walk nothing until they enter.
void Adversary::forget(const Moment& when, const FenceRequest& request) {
  const Strike strike = strike_of(request.op);
  if (strike.stage != Stage::Both || strike.by_gpa) return;
  for (u32 vm = 0; vm < running_.size(); ++vm) {
    const Vm& shape = tables_.vm(vm);
    const bool same = is_vmx(shape) ? (request.root ^ shape.root_register) << 12 >> 24 == 0
                                    : request.vmid == shape.vmid;
    if (!strike.any_vm && !same) continue;
    const u64 reached = strike.broadcast ? ~u64{0} : u64{1} << when.processor;
    const bool waits = strike.posted || strike.waits || architecture(vm) == Architecture::AArch64;
    waits ? void(forgetting_.push_back({vm, when.processor, reached}))
          : void(running_[vm].ran &= ~reached | running_[vm].inside);
  }
}

void Adversary::finish(u32 processor, bool broadcast) {
  const auto ends = [&](const auto& each) {
    return each[1] == processor && (broadcast || each[2] != ~u64{0});
  };
  for (const auto& each : forgetting_) {
    if (ends(each)) running_[each[0]].ran &= ~each[2] | running_[each[0]].inside;
  }
  std::erase_if(forgetting_, ends);
  for (Copy& copy : copies_) {
    if (!broadcast && !copy.ends_there) continue;
    if (copy.nested_ends == processor) copy.nested = false;
    if (copy.combined_ends == processor) copy.combined = false;
  }
  std::erase_if(copies_, [](const Copy& copy) { return !copy.alive(); });
}

void Adversary::barrier_issued(const Moment& when, Barrier barrier) {
  if (barrier == Barrier::Isb) return;
  if (barrier == Barrier::DsbNsh || barrier == Barrier::DsbNshst) {
    for (Copy& copy : copies_) {
      copy.visible_there = copy.visible_there || copy.stored_by == when.processor;
    }
    for (auto& [vm, stored_by, see] : unseen_) {
      if (stored_by == when.processor) see |= u64{1} << when.processor;
    }
    if (barrier == Barrier::DsbNsh) finish(when.processor, false);
    return;
  }
  for (Copy& copy : copies_) copy.visible = copy.visible || copy.stored_by == when.processor;
  std::erase_if(unseen_, [&](const auto& each) { return each[1] == when.processor; });
  if (barrier == Barrier::DsbIsh) finish(when.processor);
}

}  // namespace nestwalk::checker
