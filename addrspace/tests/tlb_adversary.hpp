// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The worst processor that the architecture permits: at any time it has cached whatever the tables
// permit, and it keeps it until a fence takes it away.
//
// What the tables say now is therefore always cached, and only what they said before needs to be
// remembered: each store to a reachable entry leaves the old entry (and what hung below it) behind
// as stale. Fences remove stale entries by the rules of their scope: Intel SDM vol. 3C,
// "Operations that Invalidate Cached Mappings" under VMX; AMD APM vol. 2, "TLB Control"; Arm ARM D8
// "TLB maintenance"; RISC-V privileged spec, "Hypervisor Memory-Management Fence Instructions". A
// stale entry that is still there when an operation returns, and that the tables contradict, is a
// stale hit; one that leads to a frame that is given back is a use after free.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "observing_hal.hpp"

namespace nestwalk::addrspace {

template <NestedFormat F>
class TlbAdversary {
 public:
  TlbAdversary(const ArenaHal<>& memory, const Geometry& geometry, Hpa root, VmTag tag)
      : memory_(memory),
        geometry_(geometry),
        format_(memory.capabilities()),
        root_(root),
        tag_(tag),
        // "Without Svvptc an invalid entry may be cached."
        caches_invalid_(F::kArchitecture == Architecture::RiscV64 &&
                        !memory.capabilities().caches_no_invalid) {
    const u64 root_slots = geometry.entries(geometry.root_level());
    for (u64 n = 0; n < root_slots; n += kSlots) {
      reachable_[(root + n * sizeof(u64)).value()] = {n << geometry.shift(geometry.root_level()),
                                                      geometry.root_level()};
    }
  }

  void on_store(Hpa slot, u64 before, u64 after) {
    const auto found = reachable_.find(slot.aligned_down(kFrameBytes).value());
    if (found == reachable_.end() || before == after) return;
    const unsigned level = found->second.level;
    const u64 index = slot.offset_in(kFrameBytes) / sizeof(u64);
    before = entry_at<F>(index, before);
    after = entry_at<F>(index, after);
    if (level == 0) changed_.insert(slot.aligned_down(kFrameBytes).value());
    const u64 start = found->second.start + (index << geometry_.shift(level));
    const bool makes_valid = F::is_valid(after, level);
    ordered_ = false;
    if (F::is_valid(before, level)) {
      leave_behind(start, level, before);
    } else if (caches_invalid_ && makes_valid) {
      stale_.push_back({Cached::Kind::Nothing, start, level, before});
    }
    if (!makes_valid) return;
    if (F::kBreakBeforeMake) check_broken_before(start, level, after);
    if (!F::is_valid(before, level))
      unpublished_ = unpublished_ || translates_anything(after, level);
    if (F::is_table(after, level)) reach(F::address(after, level), level - 1, start);
  }

  void on_fence(const Fence& fence) {
    switch (F::kArchitecture) {
      case Architecture::X86_64:
        return on_x86_fence(fence);
      case Architecture::AArch64:
        return on_arm_fence(fence);
      case Architecture::RiscV64:
        return on_riscv_fence(fence);
    }
  }

  void on_free(Hpa start, u64 bytes) {
    for (const Cached& item : stale_) {
      if (item.kind == Cached::Kind::Nothing) continue;
      const Hpa memory = F::address(item.entry, item.level);
      const u64 size = item.kind == Cached::Kind::Table ? kFrameBytes : size_of(item);
      if (memory < start + bytes && start < memory + size) {
        ++uses_after_free;
        find("freed while cached", item);
      }
    }
    for (u64 at = 0; at < bytes; at += kFrameBytes) {
      if (reachable_.erase((start + at).value()) != 0 && start != root_) {
        findings.push_back("a reachable table was freed");
      }
    }
  }

  /// The operation returned.
  void settle() {
    for (const u64 table : changed_) check_groups(Hpa(table));
    changed_.clear();
    for (const Cached& item : stale_) {
      if (!contradicted(item)) continue;
      ++stale_hits;
      find("stale", item);
    }
    // "Nothing is there" may stay true for long after a table was linked there.
    remove([&](const Cached& item) {
      return item.kind != Cached::Kind::Nothing || contradicted(item);
    });
    if (F::kArchitecture == Architecture::AArch64 && (unpublished_ || unsynchronised_)) {
      findings.push_back("new entries are not visible yet");
    }
    unpublished_ = unsynchronised_ = false;
  }

  std::vector<std::string> findings;
  u64 stale_hits = 0;
  u64 groups_seen = 0;  ///< leaves of groups, after operations
  u64 uses_after_free = 0;

 private:
  static constexpr u64 kSlots = kFrameBytes / sizeof(u64);

  struct Place {
    u64 start;
    unsigned level;
  };
  enum class State : u8 { Cached, Going, Gone };
  struct Cached {
    enum class Kind : u8 { Leaf, Table, Nothing };
    Kind kind;
    u64 start;
    unsigned level;
    u64 entry;
    bool visible = false;  ///< Arm: the store that made it stale was waited for
    State nested = State::Cached;
    State combined = State::Cached;  ///< the same, merged with the guest's own translation
  };

  u64 size_of(const Cached& item) const { return geometry_.leaf_bytes(item.level); }
  bool covers(const Cached& item, u64 gpa) const { return gpa - item.start < size_of(item); }
  u64 load(Hpa table, u64 n) const {
    return entry_at<F>(n, memory_.read_entry(table + n * sizeof(u64)));
  }

  // A leaf of a group speaks for the others.
  void check_groups(Hpa table) {
    const auto found = reachable_.find(table.value());
    if (found == reachable_.end() || found->second.level != 0) return;
    for (u64 n = 0; n < kSlots; ++n) {
      const u64 entry = load(table, n);
      if (!F::is_valid(entry, 0) || neighbours<F>(entry, 0) == 0) continue;
      const u64 first = align_down(n, u64{1} << neighbours<F>(entry, 0));
      const u64 begin = load(table, first);
      const u64 page = geometry_.page_bytes();
      const bool alike = F::is_valid(begin, 0) && neighbours<F>(begin, 0) != 0 &&
                         F::address(entry, 0) == F::address(begin, 0) + (n - first) * page &&
                         F::address(begin, 0).is_aligned(page << neighbours<F>(entry, 0)) &&
                         format_.flags(entry, 0) == format_.flags(begin, 0);
      ++groups_seen;
      if (!alike)
        find("a group of different leaves",
             {Cached::Kind::Leaf, found->second.start + n * page, 0, entry});
      for (u64 other = 0; n == first && other < u64{1} << neighbours<F>(entry, 0); ++other) {
        const u64 member = load(table, first + other);
        if (F::is_valid(member, 0) && neighbours<F>(member, 0) != 0) continue;
        find("a group with a gap", {Cached::Kind::Leaf, found->second.start + n * page, 0, entry});
      }
    }
  }

  void reach(Hpa table, unsigned level, u64 start) {
    reachable_[table.value()] = {start, level};
    if (level == 0) changed_.insert(table.value());
    for (u64 n = 0; n < kSlots && level != 0; ++n) {
      const u64 entry = load(table, n);
      if (!F::is_valid(entry, level) || !F::is_table(entry, level)) continue;
      reach(F::address(entry, level), level - 1, start + (n << geometry_.shift(level)));
    }
  }
  void leave_behind(u64 start, unsigned level, u64 entry) {
    const bool table = F::is_table(entry, level);
    stale_.push_back({table ? Cached::Kind::Table : Cached::Kind::Leaf, start, level, entry});
    if (!table) return;
    const Hpa below = F::address(entry, level);
    reachable_.erase(below.value());
    for (u64 n = 0; n < kSlots; ++n) {
      const u64 child = load(below, n);
      if (!F::is_valid(child, level - 1)) continue;
      leave_behind(start + (n << geometry_.shift(level - 1)), level - 1, child);
    }
  }

  // "Using break-before-make": whatever translated a part of this differently has to be gone.
  void check_broken_before(u64 start, unsigned level, u64 entry) {
    const u64 size = geometry_.leaf_bytes(level);
    for (const Cached& item : stale_) {
      // What was of a group may be cached as the whole of it.
      const unsigned spoke_for =
          item.kind == Cached::Kind::Leaf ? neighbours<F>(item.entry, item.level) : 0;
      const u64 whole = size_of(item) << spoke_for;
      const u64 first = align_down(item.start, whole);
      if (first >= start + size || start >= first + whole) continue;
      const bool same =
          item.start == start && spoke_for == 0 && item.level == level &&
          item.kind == kind_of(entry, level) &&
          F::address(item.entry, level) == F::address(entry, level) &&
          format_.flags(item.entry, level).memory == format_.flags(entry, level).memory;
      if (!same) find("made before it was broken", item);
    }
  }
  static typename Cached::Kind kind_of(u64 entry, unsigned level) {
    return F::is_table(entry, level) ? Cached::Kind::Table : Cached::Kind::Leaf;
  }

  bool contradicted(const Cached& item) const {
    Hpa table = root_;
    for (unsigned level = geometry_.root_level();; --level) {
      u64 index = item.start >> geometry_.shift(level);
      if (level != geometry_.root_level()) index &= kSlots - 1;
      const u64 now = load(table, index);
      if (!F::is_valid(now, level)) return item.kind != Cached::Kind::Nothing;
      if (level == item.level) return contradicted(item, now);
      if (!F::is_table(now, level)) return true;
      table = F::address(now, level);
    }
  }
  bool contradicted(const Cached& item, u64 now) const {
    const unsigned level = item.level;
    if (item.kind == Cached::Kind::Nothing) return translates_anything(now, level);
    if (item.kind != kind_of(now, level)) return true;
    if (F::address(item.entry, level) != F::address(now, level)) return true;
    if (item.kind == Cached::Kind::Table) return false;
    const MappingFlags cached = format_.flags(item.entry, level);
    const MappingFlags flags = format_.flags(now, level);
    if (cached.memory != flags.memory) return true;
    // A write through a dirty copy leaves no trace.
    if (F::is_dirty(item.entry) && !F::is_dirty(now)) return true;
    // x86: an EPT violation removes the entry that caused it, so one that permits less is harmless.
    const bool may_permit_less = F::kArchitecture == Architecture::X86_64;
    return may_permit_less ? !flags.access.has(cached.access) : flags.access != cached.access;
  }

  bool translates_anything(u64 entry, unsigned level) const {
    if (!F::is_valid(entry, level)) return false;
    if (!F::is_table(entry, level)) return true;
    for (u64 n = 0; n < kSlots; ++n) {
      if (translates_anything(load(F::address(entry, level), n), level - 1)) return true;
    }
    return false;
  }

  template <class Remove>
  void remove(Remove&& gone) {
    stale_.erase(std::remove_if(stale_.begin(), stale_.end(), gone), stale_.end());
  }

  void on_x86_fence(const Fence& fence) {
    constexpr u64 kEp4ta = ((u64{1} << 52) - 1) & ~(kFrameBytes - 1);  // EPTP bits 51:12
    const bool ours = ((fence.operand ^ tag_.root_register) & kEp4ta) == 0;
    // INVLPG and MOV CR3 do not touch guest-physical mappings, nor what the guest's VPID tags.
    const FenceOp op = fence.op;
    if constexpr (std::is_same_v<F, Npt>) {
      const bool our_asid = fence.operand == tag_.vmid;
      // What INVLPGB, which broadcasts, takes is gone at TLBSYNC. INVLPGA, and INVLPGB without
      // nested translations, leave those; TLB_CONTROL 7 what was merged with global pages.
      const bool asked = op == svm::kInvlpgbNested && our_asid;
      if (asked) going_ = stale_.size();
      if (op == svm::kTlbsync) {
        stale_.erase(stale_.begin(),
                     stale_.begin() + static_cast<std::ptrdiff_t>(std::min(going_, stale_.size())));
        going_ = 0;
      }
      if (op == svm::kVmrunAll || (op == svm::kVmrunAsid && our_asid)) stale_.clear();
      return;
    }
    if (op == vmx::kInveptAll || (op == vmx::kInveptSingle && ours)) stale_.clear();
  }

  void on_riscv_fence(const Fence& fence) {
    const bool ours = fence.vmid == tag_.vmid;
    const FenceOp op = fence.op;
    // "Ordered by SFENCE.W.INVAL before, and by SFENCE.INVAL.IR after" (Svinval).
    if (op == hext::kSfenceWInval) {
      ordered_ = true;
    } else if (op == hext::kGvmaAddressVmid.posted) {
      if (ordered_) parts_.push_back({hext::kGvmaAddressVmid.at_once, fence.vmid, fence.operand});
    } else if (op == hext::kGvmaVmid.posted) {
      if (ordered_) parts_.push_back({hext::kGvmaVmid.at_once, fence.vmid});
    } else if (op == hext::kSfenceInvalIr) {
      for (const Fence& part : std::exchange(parts_, {})) on_riscv_fence(part);
    } else if (op == hext::kGvmaAll.at_once || (op == hext::kGvmaVmid.at_once && ours)) {
      stale_.clear();
    } else if (op == hext::kGvmaAddressVmid.at_once) {  // rs1 holds GPA >> 2; only leaf entries
      remove([&](const Cached& item) {
        return ours && item.kind != Cached::Kind::Table && covers(item, fence.operand << 2);
      });
    }  // HFENCE.VVMA: not the G-stage
  }

  void on_arm_fence(const Fence& fence) {
    const FenceOp op = fence.op;
    const bool waits = op == stage2::kDsbIsh || op == stage2::kDsbSy;
    if (waits) complete();
    if (waits || op == stage2::kDsbIshst) {
      for (Cached& item : stale_) item.visible = true;
      unsynchronised_ = unsynchronised_ || unpublished_;
      unpublished_ = false;
    } else if (op == stage2::kIsb) {
      unsynchronised_ = false;
    } else {
      for (Cached& item : stale_) {
        // A walker that does not see the store yet caches the old entry again.
        if (item.visible) on_tlbi(item, fence);
      }
    }
  }
  void on_tlbi(Cached& item, const Fence& fence) {
    // The operand's low 36 bits are IPA[47:12]; the rest is no address.
    const bool here = covers(item, (fence.operand & low_mask(36)) << 12);
    const bool leaf = item.kind != Cached::Kind::Table;
    const FenceOp op = fence.op;
    const auto start = [](State& state) {
      if (state == State::Cached) state = State::Going;
    };
    const bool by_page = op == stage2::kIpas2e1.is || (op == stage2::kIpas2le1.is && leaf);
    const bool by_range = op == stage2::kRipas2e1.is || (op == stage2::kRipas2le1.is && leaf);
    if ((by_page && here) || (by_range && in_range(item, fence.operand))) start(item.nested);
    // As long as the nested entry is there, it may be merged anew.
    if (op == stage2::kVmalle1.is && item.nested == State::Gone) start(item.combined);
    if (op == stage2::kVmalls12e1.is) {
      start(item.nested);
      start(item.combined);
    }  // The others are the EL2 regime's.
  }
  // TLBI R...: NUM + 1 (bits 43:39) times 2^(5 * SCALE + 1) (bits 45:44) pages of 4K (TG 1, bits
  // 47:46) from BaseADDR (36:0).
  bool in_range(const Cached& item, u64 operand) const {
    if (operand >> 46 != 1) return false;
    const u64 start = (operand & low_mask(37)) * 4096;
    const u64 pages = ((operand >> 39 & 31) + 1) << (5 * (operand >> 44 & 3) + 1);
    return start < item.start + size_of(item) && item.start < start + pages * 4096;
  }
  void complete() {
    for (Cached& item : stale_) {
      if (item.nested == State::Going) item.nested = State::Gone;
      if (item.combined == State::Going) item.combined = State::Gone;
      unsynchronised_ = true;
    }
    remove([](const Cached& item) {
      return item.nested == State::Gone && item.combined == State::Gone;
    });
  }

  void find(const char* what, const Cached& item) {
    constexpr const char* kKinds[] = {"leaf", "table", "nothing"};
    Text<64> where;
    where.add_hex(item.start);
    findings.push_back(std::string(what) + ": " + kKinds[static_cast<unsigned>(item.kind)] +
                       " of level " + std::to_string(item.level) + " at " + where.c_str());
  }

  const ArenaHal<>& memory_;
  Geometry geometry_;
  F format_;
  Hpa root_;
  VmTag tag_;
  bool caches_invalid_;
  bool unpublished_ = false;     ///< Arm: a new translation was stored, and no barrier came yet
  bool unsynchronised_ = false;  ///< Arm: a barrier came, and no ISB yet
  bool ordered_ = false;         ///< RISC-V: SFENCE.W.INVAL came after the last store
  std::size_t going_ = 0;        ///< AMD: so many of the stale ones go at TLBSYNC
  std::vector<Fence> parts_;     ///< RISC-V: HINVAL whose SFENCE.INVAL.IR did not come yet
  std::unordered_map<u64, Place> reachable_;  ///< the frames of reachable tables
  std::vector<Cached> stale_;
  std::set<u64> changed_;  ///< tables of pages, since the last operation
};

}  // namespace nestwalk::addrspace
