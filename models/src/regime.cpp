// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/regime.hpp"

#include <algorithm>

#include "nestwalk/models/check.hpp"

namespace nestwalk::models {

u16 Tags::number(const Tag& tag) {
  const auto found = std::find(tags_.begin(), tags_.end(), tag);
  if (found != tags_.end()) return static_cast<u16>(found - tags_.begin());
  check(tags_.size() < kMost, "tags", "at most 16383 combinations of tags", 0, tags_.size());
  tags_.push_back(tag);
  return static_cast<u16>(tags_.size() - 1);
}

Regime Regime::tagged(Tags& tags) const {
  Regime next = *this;
  const bool x86 = (guest.on() || nested.on()) && architecture() == Architecture::X86_64;
  const u64 root = x86 && nested.on() ? nested.root : 0;
  next.sign = guest.on() ? u64{1} << (kAddressBits - 1) : 0;
  next.combined = tags.number({root, vmid, asid, false, privilege});
  next.global = tags.number({root, vmid, 0, true, privilege});
  // Intel SDM vol. 3C, "Information That May Be Cached": guest-physical mappings have an EP4TA
  // only.
  next.nested_only = tags.number({root, x86 ? u16{0} : vmid, 0, false, {}});
  return next;
}

}  // namespace nestwalk::models
