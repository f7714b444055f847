// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Tells a checker of fences what a simulated hypervisor and its guest do.
#pragma once

#include "nestwalk/checker/events.hpp"
#include "nestwalk/software/watcher.hpp"

namespace nestwalk::sim {

class FenceFeed final : public software::Watcher {
 public:
  FenceFeed(checker::Events& events, models::Board& board, const checker::Vm& vm);

  void entered(addrspace::u32 core) override;
  void left(addrspace::u32 core) override;
  void faulted(addrspace::u32 core, addrspace::Gpa at, addrspace::Access access) override;
  void began(addrspace::u32 core, const char* operation) override;
  void ended(addrspace::u32 core) override;
  void stored(addrspace::u32 core, addrspace::Hpa slot, addrspace::u64 before,
              addrspace::u64 after) override;
  void allocated(addrspace::u32 core, addrspace::Hpa first, addrspace::u64 bytes) override;
  void freed(addrspace::u32 core, addrspace::Hpa first, addrspace::u64 bytes) override;
  void executed(addrspace::u32 core, const addrspace::Fence& fence) override;
  void accessed(addrspace::u32 core, addrspace::Gva address,
                std::optional<addrspace::Gpa> guest_physical, addrspace::Hpa host,
                bool write) override;

 private:
  checker::Moment now(addrspace::u32 core) const { return {core, board_.wheel().now()}; }

  checker::Events& events_;
  models::Board& board_;
  checker::Vm vm_;
  addrspace::u64 accesses_ = 0;
};

}  // namespace nestwalk::sim
