// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Pages of one address space at which the guest's tables were seen to agree with the trace. A page
// that is not here has to be looked up in the tables.
#pragma once

#include <vector>

#include "nestwalk/software/stream.hpp"

namespace nestwalk::software {

class KnownPages {
 public:
  /// `moves`: how often a page of the guest came to lie elsewhere. What was seen before the last
  /// time is not known any more.
  bool agree(const GuestAccess& access, u64 moves) const {
    if (moves != moves_) return false;
    const u64 page = access.address / kFrameBytes;
    const Page& known = pages_[page % kPages];
    return known.page == page && known.guest_page == access.guest_physical / kFrameBytes;
  }
  void add(const GuestAccess& access, u64 moves) {
    if (moves != moves_) pages_.assign(kPages, {});
    moves_ = moves;
    const u64 page = access.address / kFrameBytes;
    pages_[page % kPages] = {page, access.guest_physical / kFrameBytes};
  }
  void forget() { pages_.assign(pages_.size(), {}); }

 private:
  static constexpr std::size_t kPages = 1024;
  struct Page {
    u64 page = ~u64{0};
    u64 guest_page = 0;
  };

  std::vector<Page> pages_;
  u64 moves_ = ~u64{0};  ///< at which there are pages
};

}  // namespace nestwalk::software
