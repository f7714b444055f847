// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// ASIDs of vCPUs, as KVM and Xen hand them out on AMD: each core numbers the vCPUs that run on it,
// and when it has no ASID left, all of its ASIDs are flushed and handed out anew.
#pragma once

#include <functional>
#include <map>

#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/software/tag_pool.hpp"

namespace nestwalk::software {

class VcpuTags final : public models::CoreTags {
 public:
  VcpuTags(u16 most, u32 cores) {
    for (u32 core = 0; core < cores; ++core) cores_.emplace_back(most);
  }

  /// A number for a guest. Fences name the guest by it; on each core, `tags_of` says which ASIDs
  /// that means.
  u16 take_guest() { return ++guests_; }
  /// `replaced` is called when the guest's ASIDs on a core are no longer to be used.
  void tell(u16 guest, std::function<void(u32 core)> replaced) {
    replaced_[guest] = std::move(replaced);
  }

  /// Before any vCPU runs: assigns a vCPU to a core. It has an ASID if the core has one left.
  void join(u32 core, u32 vcpu) {
    Core& here = cores_[core];
    TagPool::Holder& holder = here.holders[vcpu];
    if (!here.pool.is_exhausted())
      here.pool.renew(holder, std::initializer_list<TagPool::Holder*>{});
  }
  /// Before a vCPU runs on a core: it gets a tag if it has none, or that was taken back. True if it
  /// has another one than before: nothing is cached under it, once the core has fenced what it
  /// owes.
  bool renew(u32 core, u32 vcpu) {
    Core& here = cores_[core];
    TagPool::Holder& holder = here.holders[vcpu];
    if (here.pool.is_current(holder)) return false;
    if (here.pool.renew(holder, std::initializer_list<TagPool::Holder*>{})) {
      here.owes_fences = true;
      here.tags.clear();
      here.owed.clear();
    }
    return true;
  }
  /// It runs there.
  void put_on(u32 core, u16 guest, u32 vcpu) {
    const u16 own = tag(core, vcpu);
    std::vector<u16>& tags = cores_[core].tags[guest];
    const auto found = std::find(tags.begin(), tags.end(), own);
    if (found == tags.end()) {
      tags.insert(tags.begin(), own);
    } else {
      std::rotate(tags.begin(), found, found + 1);
    }
  }
  u16 tag(u32 core, u32 vcpu) const { return cores_[core].holders.at(vcpu).tag; }
  bool is_current(u32 core, u32 vcpu) const {
    return cores_[core].pool.is_current(cores_[core].holders.at(vcpu));
  }
  /// All tags of the core were taken back: everything that is cached there has to go before a
  /// guest is entered.
  bool owes_fences(u32 core) const { return cores_[core].owes_fences; }
  void end_fences(u32 core) { cores_[core].owes_fences = false; }

  /// What is owed under the tag of a vCPU, before it runs there.
  std::vector<addrspace::Fence> take_owed(u32 core, u32 vcpu) {
    auto& owed = cores_[core].owed;
    const auto found = owed.find(tag(core, vcpu));
    if (found == owed.end()) return {};
    std::vector<addrspace::Fence> fences = std::move(found->second);
    owed.erase(found);
    return fences;
  }
  void put_off(u32 core, u16 guest, const addrspace::Fence& fence) override {
    const std::span<const u16> tags = tags_of(core, guest);
    for (std::size_t n = 1; n < tags.size(); ++n) {
      std::vector<addrspace::Fence>& owed = cores_[core].owed[tags[n]];
      if (std::find(owed.begin(), owed.end(), fence) == owed.end()) owed.push_back(fence);
    }
  }

  void replace(u32 core, u16 guest) override {
    Core& here = cores_[core];
    std::vector<u16>& tags = here.tags[guest];
    for (auto& [vcpu, holder] : here.holders) {
      if (std::find(tags.begin(), tags.end(), holder.tag) != tags.end()) holder.generation = 0;
    }
    for (const u16 tag : tags) here.owed.erase(tag);
    tags.clear();
    replaced_.at(guest)(core);
  }

  std::span<const u16> tags_of(u32 core, u16 guest) const override {
    const auto found = cores_[core].tags.find(guest);
    return found == cores_[core].tags.end() ? std::span<const u16>() : std::span(found->second);
  }

 private:
  struct Core {
    explicit Core(u16 most) : pool(most) {}
    TagPool pool;
    std::map<u32, TagPool::Holder> holders;             ///< by vCPU
    std::map<u16, std::vector<u16>> tags;               ///< by guest, since they were taken back
    std::map<u16, std::vector<addrspace::Fence>> owed;  ///< by tag
    bool owes_fences = false;
  };
  std::vector<Core> cores_;
  u16 guests_ = 0;
  std::map<u16, std::function<void(u32 core)>> replaced_;
};

}  // namespace nestwalk::software
