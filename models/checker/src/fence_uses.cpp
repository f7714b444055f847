// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/fence_uses.hpp"

#include <algorithm>

namespace nestwalk::checker {
namespace {

constexpr u64 page_of(u64 gpa) { return gpa >> addrspace::kFrameShift; }

}  // namespace

u32 FenceUses::add(const Moment& when, models::FenceOp op, u32 operation, bool interrupts) {
  const PlaceKey key = {operation, reinterpret_cast<std::uintptr_t>(op.row()),
                        reinterpret_cast<std::uintptr_t>(when.site.data())};
  const auto [place, is_new] = numbers_.emplace(key, static_cast<u32>(places_.size()));
  if (is_new) {
    FenceUse& use = places_.emplace_back();
    use.op = op;
    use.operation = operation;
    use.first = when;
  }
  Fence& fence = fences_.emplace_back();
  fence.place = place->second;
  fence.interrupts = interrupts;
  return static_cast<u32>(fences_.size() - 1);
}

void FenceUses::remove(u32 fence, u32 vm, u32 processor, bool inside) {
  const auto found = held_.find({vm, processor});
  if (found == held_.end() || !found->second.may_hold) return;
  Held& held = found->second;
  held.may_hold = inside;
  ++fences_[fence].emptied;
  if (!held.used.empty()) held.emptied_by.push_back(fence);
}

void FenceUses::remove(u32 fence, u32 vm, u32 processor, u64 gpa, u64 bytes) {
  const auto found = held_.find({vm, processor});
  if (found == held_.end() || !found->second.may_hold) return;
  Held& held = found->second;
  const u64 first = page_of(gpa);
  const u64 last = page_of(gpa + (bytes - 1));
  fences_[fence].pages += last - first + 1;
  if (last - first > held.used.size()) {
    for (const auto& [page, before] : held.used) {
      if (page - first <= last - first) held.removed.emplace(page, fence);
    }
    return;
  }
  for (u64 page = first; page <= last; ++page) {
    if (held.used.count(page) != 0) held.removed.emplace(page, fence);
  }
}

void FenceUses::accessed(u32 vm, u32 processor, u64 gpa) {
  knows_accesses_ = true;
  Held& held = held_[{vm, processor}];
  held.may_hold = true;
  const u64 page = page_of(gpa);
  const u32 now = static_cast<u32>(fences_.size());
  const auto [used, is_new] = held.used.emplace(page, now);
  if (is_new) return;
  u32 by = now;
  const auto all = std::lower_bound(held.emptied_by.begin(), held.emptied_by.end(), used->second);
  if (all != held.emptied_by.end()) by = *all;
  const auto one = held.removed.find(page);
  if (one != held.removed.end()) {
    by = std::min(by, one->second);
    held.removed.erase(one);
  }
  used->second = now;
  if (by != now) ++fences_[by].refills;
}

void FenceUses::forget(u32 vm) {
  held_.erase(held_.lower_bound({vm, 0}), held_.lower_bound({vm + 1, 0}));
}

std::vector<FenceUse> FenceUses::uses() const {
  std::vector<FenceUse> uses = places_;
  for (const Fence& fence : fences_) {
    FenceUse::Counts& counts = uses[fence.place].counts[static_cast<unsigned>(fence.use)];
    ++counts.fences;
    counts.interrupts += fence.interrupts ? 1 : 0;
    counts.covered += fence.covered;
    counts.refills += fence.refills;
    counts.emptied += fence.emptied;
    counts.pages += fence.pages;
  }
  return uses;
}

}  // namespace nestwalk::checker
