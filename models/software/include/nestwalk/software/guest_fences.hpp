// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a guest's kernel fences its own tables with.
#pragma once

#include "nestwalk/models/fence_unit.hpp"

namespace nestwalk::software {

/// By architecture; then: all, by address, by space, by both.
inline constexpr models::FenceKind kGuestFences[3][4] = {
    {models::FenceKind::InvvpidSingle, models::FenceKind::InvlpgGuest,
     models::FenceKind::MovCr3Guest, models::FenceKind::InvlpgGuest},
    {models::FenceKind::TlbiVmalle1is, models::FenceKind::TlbiVaae1is,
     models::FenceKind::TlbiAside1is, models::FenceKind::TlbiVae1is},
    {models::FenceKind::VvmaAll, models::FenceKind::VvmaAddress, models::FenceKind::VvmaAsid,
     models::FenceKind::VvmaAddressAsid}};

constexpr models::FenceKind guest_fence(addrspace::Architecture architecture, bool by_address,
                                        bool by_space) {
  return kGuestFences[static_cast<unsigned>(architecture)]
                     [(by_address ? 1 : 0) + (by_space ? 2 : 0)];
}

/// How many of a guest's ASIDs are used: PCIDs have 12 bits. Of ASIDs of 16 bits the models' caches
/// can tell some thousands apart.
constexpr addrspace::u16 most_asids(addrspace::Architecture architecture) {
  return architecture == addrspace::Architecture::X86_64 ? 4095 : 8191;
}

}  // namespace nestwalk::software
