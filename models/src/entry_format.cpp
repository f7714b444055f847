// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/entry_format.hpp"

namespace nestwalk::models {
namespace {

// [architecture][guest, nested][machine updates dirty bits]
constexpr StageRules kRules[3][2][2] = {
    // x86-64: guest tables have flags in every level, always kept by hardware; EPT if EPTP bit 6.
    {{{Upkeep::Updated, Upkeep::Updated, true, false, false},
      {Upkeep::Updated, Upkeep::Updated, true, false, false}},
     {{Upkeep::Ignored, Upkeep::Ignored, false, false, false},
      {Upkeep::Updated, Upkeep::Updated, true, true, false}}},
    // AArch64: FEAT_HAFDBS keeps both; without it, a clear AF faults and DBM means nothing.
    {{{Upkeep::Faults, Upkeep::Ignored, false, false, true},
      {Upkeep::Updated, Upkeep::Updated, false, false, true}},
     {{Upkeep::Faults, Upkeep::Ignored, false, false, true},
      {Upkeep::Updated, Upkeep::Updated, false, false, true}}},
    // RISC-V: Svadu, or a page fault (privileged spec, "Virtual Address Translation Process", 9).
    {{{Upkeep::Faults, Upkeep::Faults, false, false, false},
      {Upkeep::Updated, Upkeep::Updated, false, false, false}},
     {{Upkeep::Faults, Upkeep::Faults, false, false, false},
      {Upkeep::Updated, Upkeep::Updated, false, false, false}}},
};

}  // namespace

StageRules stage_rules(Architecture architecture, bool nested, bool hardware_dirty) {
  return kRules[static_cast<unsigned>(architecture)][nested ? 1 : 0][hardware_dirty ? 1 : 0];
}

}  // namespace nestwalk::models
