// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fence instructions that not every machine of an extension has, and that save others: for many
// pages, or for all processors. A machine says which of them it has, a policy which it uses.
#pragma once

#include "nestwalk/addrspace/fence_op.hpp"

namespace nestwalk::addrspace {

struct FenceFeature {
  const char* name;
  const char* title;  ///< as the manual calls it
  [[no_unique_address]] Unique unique{};
};

namespace stage2 {
/// TLBI R...
inline constexpr FenceFeature kTlbiRange{"tlbi-range", "FEAT_TLBIRANGE"};
}  // namespace stage2
namespace hext {
/// HINVAL.GVMA, SFENCE.INVAL.IR
inline constexpr FenceFeature kSvinval{"svinval", "Svinval"};
}  // namespace hext
namespace svm {
/// INVLPGB, of nested translations as well, and TLBSYNC
inline constexpr FenceFeature kInvlpgbTlbsync{"invlpgb", "INVLPGB"};
}  // namespace svm

inline constexpr const FenceFeature* kFenceFeatures[] = {&stage2::kTlbiRange, &hext::kSvinval,
                                                         &svm::kInvlpgbTlbsync};

}  // namespace nestwalk::addrspace
