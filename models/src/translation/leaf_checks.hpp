// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the hardware makes of a leaf's flags and rights, in either stage.
#pragma once

#include "nestwalk/models/translation/entry_format.hpp"
#include "nestwalk/models/translation/fault.hpp"

namespace nestwalk::models {

// The first of the reasons to refuse a leaf that concern its flags and rights.
inline FaultKind refusal(const Entry& leaf, const StageRules& rules, bool permitted, bool write) {
  const bool missing = (!leaf.accessed && rules.accessed == Upkeep::Faults) ||
                       (write && !leaf.dirty && rules.dirty == Upkeep::Faults);
  if (rules.flag_before_permission && missing) return FaultKind::AccessFlag;
  if (!permitted) return FaultKind::Permission;
  return missing ? FaultKind::AccessFlag : FaultKind::None;
}

inline bool needs_update(const Entry& leaf, const StageRules& rules, bool write) {
  return (!leaf.accessed && rules.accessed == Upkeep::Updated) ||
         (write && !leaf.dirty && rules.dirty == Upkeep::Updated);
}

// Will a write through this leaf need no update?
inline bool is_settled(const Entry& leaf, const StageRules& rules) {
  return leaf.dirty || rules.dirty == Upkeep::Ignored;
}

}  // namespace nestwalk::models
