// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/fences/fence_unit.hpp"

#include <algorithm>

#include "nestwalk/addrspace/fence_range.hpp"

namespace nestwalk::models {
namespace {

using addrspace::FenceOperand;
using addrspace::low_mask;
using namespace fence;

// Does it wait for what its core broadcast or posted before?
bool completes(const FenceRow& row) {
  return row.order == FenceOrder::All || row.order == FenceOrder::End;
}

/// The same of another VMID.
FenceRequest under(u16 vmid, FenceRequest fence) {
  fence.vmid = vmid;
  if (fence.op->operand == FenceOperand::Vpid) fence.instruction.operand = vmid;
  if (fence.op->operand == FenceOperand::VpidLinear) fence.instruction.vmid = vmid;
  return fence;
}

class Scope {
 public:
  Scope(const FenceRequest& fence, const Tags& tags, Mmu& mmu)
      : fence_(fence),
        row_(*fence.op),
        tags_(tags),
        takes_all_(row_.by == By::Virtual &&
                   mmu.flushes_for_parts([&](u16 tag) { return has_tags(tag); })) {}

  const FenceRow& row() const { return row_; }

  bool has_tags(u16 number) const {
    const Tag& tag = tags_.tag(number);
    if (row_.has(kRoot) && tag.root != root_of(fence_.root)) return false;
    if (row_.has(kNested) && tag.root == 0) return false;
    if (row_.has(kVmid) && tag.vmid != fence_.vmid) return false;
    if (row_.has(kHost) && tag.vmid != 0) return false;
    if (row_.has(kGuests) && tag.vmid == 0) return false;
    if (tag.global) return row_.has(kGlobals);
    return !row_.has(kAsid) || tag.asid == fence_.asid;
  }
  // Does the fence name an address in it?
  bool names(const TableSpan& span) const {
    const u64 page = span.address & low_mask(kAddressBits) & ~low_mask(span.shift);
    const u64 first = fence_.address & low_mask(kAddressBits);
    if (first >= page + (u64{1} << span.shift)) return false;
    return page < first || page - first < fence_.bytes;
  }

  bool reaches(const EntryKey& where, const Translation& entry) const {
    if (!has_tags(where.tag)) return false;
    if (row_.by == By::Nothing || takes_all_) return true;
    // A combined entry covers the smaller of two leaves; a fence names any address in its own
    // stage's leaf.
    if (row_.by == By::Virtual) return names(span_of(where, entry));
    return names(nested_span_of(where, entry));
  }
  bool reaches(const EntryKey& where, const CachedTable& table) const {
    if (!has_tags(where.tag)) return false;
    if (!row_.has(kTables)) return true;
    // A nested table is known by what it translates; a guest table by where it lies, too.
    const bool by_place = row_.by == By::GuestPhysical && table.nested_shift != 0;
    return names(by_place ? TableSpan{table.table_guest, table.nested_shift}
                          : span_of(where, table));
  }
  bool reaches(const EntryKey& where, const CachedNested& entry) const {
    if (!has_tags(where.tag)) return false;
    return row_.by == By::Nothing || names(span_of(where, entry));
  }

 private:
  const FenceRequest& fence_;
  const FenceRow& row_;
  const Tags& tags_;
  bool takes_all_;  ///< of TLBs, whatever it names
};

}  // namespace

u64 apply_fence(const FenceRequest& fence, Mmu& mmu, const Tags& tags, bool remember) {
  const Scope scope(fence, tags, mmu);
  const u8 structures = scope.row().structures;
  const auto reached = [&](const EntryKey& where, const auto& entry) {
    return scope.reaches(where, entry);
  };
  u64 dropped = 0;
  const auto drop = [&](auto& cache) {
    dropped += remember ? cache.drop_and_remember(reached) : cache.drop_if(reached);
  };
  if ((structures & kTlb) != 0) {
    drop(mmu.fetch_tlb());
    drop(mmu.data_tlb());
    drop(mmu.store_tlb());
    drop(mmu.second_tlb());
    drop(mmu.prefetch_buffer());
    mmu.revoke_if([&](const Grant& grant) { return reached(grant.where, grant.translation); });
  }
  Walker& walker = mmu.walker();
  if ((structures & kGuestWalk) != 0) drop(walker.guest_walk_cache());
  if ((structures & kNestedWalk) != 0) drop(walker.nested_walk_cache());
  if ((structures & kNestedTlb) != 0) drop(walker.nested_tlb());
  if (structures != 0) mmu.restart();
  return dropped;
}

FenceRequest request_of(const addrspace::Fence& fence, u16 vmid, u16 asid) {
  const FenceRow& row = *fence.op;
  // Where Secure EL2 serves the Non-secure IPA space.
  const u64 non_secure = fence.operand & u64{1} << 63;
  FenceRequest request;
  request.op = fence.op;
  request.vmid = row.has(kHost) ? u16{0} : vmid;
  request.asid = row.has(kHost) ? u16{0} : asid;
  request.instruction = fence;
  const auto take_range = [&] {
    // The models' machines have no VTCR_EL2.DS: the granule says how addresses are counted.
    const unsigned granule = 2 * static_cast<unsigned>(fence.operand >> 46 & 3) + 10;
    const addrspace::TlbiRange range = addrspace::range_of({granule, granule}, fence.operand);
    request.address = range.start;
    request.bytes = range.bytes;
  };
  switch (row.operand) {
    case FenceOperand::None:
      break;
    case FenceOperand::Root:
      request.root = fence.operand;
      break;
    case FenceOperand::Vpid:
      request.vmid = static_cast<u16>(fence.operand);
      break;
    case FenceOperand::VpidLinear:
      request.vmid = fence.vmid;
      request.address = fence.operand;
      break;
    case FenceOperand::Linear:
      request.address = fence.operand;
      break;
    // The address field; bits above hold a hint (FEAT_TTL).
    case FenceOperand::Ipa:
      request.address = (fence.operand & low_mask(40)) << 12 | non_secure;
      break;
    case FenceOperand::IpaRange:
      take_range();
      request.address |= non_secure;
      break;
    case FenceOperand::Va:
      request.address = (fence.operand & low_mask(44)) << 12;
      request.asid = static_cast<u16>(fence.operand >> 48);
      break;
    case FenceOperand::VaRange:
      take_range();
      request.asid = static_cast<u16>(fence.operand >> 48);
      break;
    case FenceOperand::Asid:
      request.asid = static_cast<u16>(fence.operand >> 48);
      break;
    case FenceOperand::Hart:
      if (row.by != By::Nothing) {
        request.address = row.by == By::GuestPhysical ? fence.operand << 2 : fence.operand;
      }
      if ((row.structures & kSecond) == 0) {
        if (row.has(kAsid)) request.asid = fence.vmid;
      } else if (row.has(kVmid)) {
        request.vmid = fence.vmid;
      }
      break;
  }
  return request;
}

u32 FenceUnit::take_place() {
  if (free_.empty()) {
    pending_.push_back({});
    return static_cast<u32>(pending_.size() - 1);
  }
  const u32 place = free_.back();
  free_.pop_back();
  return place;
}

Cycle& FenceUnit::posted(u32 core) {
  if (posted_.size() < board_.cores()) posted_.resize(board_.cores());
  return posted_[core];
}

// On one core: it acts, or somebody is told that it was executed, or both. An event's number is
// place * cores + core.
void FenceUnit::put(const FenceRequest& fence, u32 core, Cycle at, bool acts, bool tells) {
  if (!acts && (witness_ == nullptr || !fence.engine)) return;
  const u32 place = take_place();
  pending_[place] = {fence, acts, tells};
  board_.wheel().schedule(at, *this, place * board_.cores() + core);
}

void FenceUnit::issue(u32 core, const FenceRequest& fence, Reach reach, Actor& owner, u32 what) {
  const FenceShape& shape = board_.fence();
  const FenceRow& row = *fence.op;
  const bool broadcast = row.has(kBroadcast);
  const Cycle now = board_.wheel().now();
  FenceRequest here = fence;
  here.alone = reach == Reach::Own;
  Cycle own = now + shape.cycles(row.cost);
  if (completes(row)) own = std::max(own, posted(core));
  if (row.has(kPosted)) posted(core) = std::max(own, posted(core));
  Cycle end = own;
  interrupted_.clear();
  for (u32 n = 0; n < board_.cores(); ++n) {
    if (n == core || broadcast) {
      put(here, n, own, true, false);
    } else if (reach == Reach::Interrupts) {
      const Cycle there = own + shape.ipi_cycles;
      put(fence, n, there, true, false);
      interrupted_.push_back({n, there, there, true});
      end = std::max(end, there + shape.cycles(&kAcknowledgeCost));
    }
  }
  const Cycle through = row.has(kPosted) ? now + 1 : end;
  tell_of({&fence, 1}, {core, now, through, false}, broadcast ? std::optional(own) : std::nullopt);
  board_.wheel().schedule(through, owner, what);
}

void FenceUnit::tell_of(std::span<const FenceRequest> fences, FenceSpan issuer,
                        std::optional<Cycle> broadcast) {
  if (listener_ == nullptr) [[likely]]
    return;
  std::vector<FenceSpan> spans = {issuer};
  spans.insert(spans.end(), interrupted_.begin(), interrupted_.end());
  for (u32 n = 0; broadcast && n < board_.cores(); ++n) {
    if (n != issuer.core) spans.push_back({n, *broadcast, *broadcast, false});
  }
  listener_->on_fences(fences, spans);
}

// What one core executes; when it is through.
Cycle FenceUnit::run_on(u32 core, Cycle start, bool issuer, std::span<const FenceRequest> fences) {
  const FenceShape& shape = board_.fence();
  Cycle now = start;
  Cycle& until = posted(core);
  for (const FenceRequest& fence : fences) {
    const FenceRow& row = *fence.op;
    const Cycle cycles = shape.cycles(row.cost);
    if (row.has(kBroadcast)) {
      if (!issuer) continue;
      put(fence, core, now, false, true);
      until = std::max(until, now + cycles);
      for (u32 n = 0; n < board_.cores(); ++n) put(fence, n, now + cycles, true, false);
      last_broadcast_ = now + cycles;
      now += shape.issue_cycles;
    } else if (row.has(kPosted)) {
      put(fence, core, now, false, true);
      if (row.orders_only()) continue;
      until = std::max(until, now + cycles);
      put(fence, core, now + cycles, true, false);
      now += shape.issue_cycles;
    } else {
      now += cycles;
      if (completes(row)) now = std::max(now, until);
      put(fence, core, now, true, true);
    }
  }
  return now;
}

FenceUnit::Sequence FenceUnit::issue_all(u32 core, std::span<const FenceRequest> fences,
                                         std::span<const InterruptTarget> interrupts, Actor& owner,
                                         u32 what) {
  const Cycle now = board_.wheel().now();
  Sequence sequence;
  last_broadcast_.reset();
  sequence.own = run_on(core, now, true, fences);
  // Barriers are for the issuer.
  const bool local = std::any_of(fences.begin(), fences.end(), [](const FenceRequest& fence) {
    return !fence.op.is_broadcast() && !fence.op->orders_only();
  });
  each_.clear();
  interrupted_.clear();
  for (const InterruptTarget& other : local ? interrupts : std::span<const InterruptTarget>()) {
    const Cycle there = now + board_.fence().ipi_cycles + other.delay;
    const Cycle end = run_on(other.core, there, false, fences);
    each_.push_back(end - there);
    interrupted_.push_back({other.core, there, end, true});
    sequence.others = std::max(sequence.others, end + board_.fence().cycles(&kAcknowledgeCost));
    ++sequence.interrupts;
  }
  sequence.each = each_;
  tell_of(fences, {core, now, sequence.end(), false}, last_broadcast_);
  board_.wheel().schedule(sequence.end(), owner, what);
  return sequence;
}

void FenceUnit::on_cycle(u32 event) {
  const u32 cores = board_.cores();
  const Pending pending = pending_[event / cores];
  const u32 core = event % cores;
  free_.push_back(event / cores);
  if (tags_ == nullptr || !pending.fence.op->has(kVmid)) return act(core, pending);
  if (pending.fence.op->structures == 0) {
    if (pending.acts) tags_->replace(core, pending.fence.vmid);
    return;
  }
  // Those of the hypervisor, and of a vCPU for itself, are under the tag that runs; a guest's
  // kernel fences all of its processors.
  std::span<const u16> tags = tags_->tags_of(core, pending.fence.vmid);
  const FenceRequest& fence = pending.fence;
  if (fence.engine && pending.acts && !fence.alone) {
    tags_->put_off(core, fence.vmid, fence.instruction);
  }
  if (fence.engine || fence.alone) tags = tags.first(std::min<std::size_t>(tags.size(), 1));
  for (const u16 tag : tags) {
    act(core, {under(tag, pending.fence), pending.acts, pending.tells});
  }
}

void FenceUnit::act(u32 core, const Pending& pending) {
  if (pending.acts) {
    dropped_ +=
        apply_fence(pending.fence, *board_.core(core).mmu, board_.tags(), pending.fence.engine);
  }
  if (pending.tells && witness_ != nullptr) witness_->executed(core, pending.fence.instruction);
}

}  // namespace nestwalk::models
