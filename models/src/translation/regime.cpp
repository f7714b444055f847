// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/regime.hpp"

#include "nestwalk/models/translation/extension.hpp"

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/translation/fault_report.hpp"

namespace nestwalk::models {

u16 Tags::number(const Tag& tag) {
  const auto [found, is_new] = numbers_.try_emplace(tag);
  if (!is_new) return found->second;
  check(numbers_.size() <= kMost, "tags", "at most 16383 combinations of tags", 0, numbers_.size());
  if (free_.empty()) {
    free_.push_back(static_cast<u16>(tags_.size()));
    tags_.emplace_back();
  }
  found->second = free_.back();
  free_.pop_back();
  tags_[found->second] = tag;
  return found->second;
}

void Tags::keep_only(const std::vector<bool>& in_use) {
  std::erase_if(numbers_, [&](const auto& each) {
    if (in_use[each.second]) return false;
    free_.push_back(each.second);
    return true;
  });
}

Regime Regime::tagged(Tags& tags) const {
  Regime next = *this;
  const bool by_root = nested.on() && nested.format->extension().tags_by_root;
  const u64 root = by_root ? nested.root : 0;
  next.sign = guest.on() ? u64{1} << (kAddressBits - 1) : 0;
  next.combined = tags.number({root, vmid, asid, false, privilege});
  next.global = tags.number({root, vmid, 0, true, privilege});
  // Intel SDM vol. 3C, "Information That May Be Cached": guest-physical mappings have an EP4TA
  // only.
  next.nested_only = tags.number({root, by_root ? u16{0} : vmid, 0, false, {}});
  return next;
}

FaultReport Regime::report_of(const Fault& fault) const {
  return fault.nested ? nested.format->extension().report(fault) : isa().report(fault);
}

}  // namespace nestwalk::models
