// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Tells a checker of fences what a simulated hypervisor and its guest do.
#pragma once

#include <map>
#include <vector>

#include "nestwalk/checker/events.hpp"
#include "nestwalk/software/virtual_machine.hpp"

namespace nestwalk::checker {

class FenceFeed final : public software::Watcher {
 public:
  /// Of a virtual machine that has not begun. Throws software::ShapeError if its fences cannot be
  /// checked.
  FenceFeed(Events& events, models::Board& board, const software::VirtualMachine& machine);

  void entered(u32 core, u32 vcpu, u16 vmid) override;
  void left(u32 core) override;
  void took_vmids_back(u32 core) override;
  void faulted(u32 core, addrspace::Gpa at, addrspace::Access access) override;
  void began(u32 core, const char* operation) override;
  void ended(u32 core) override;
  void stored(u32 core, addrspace::Hpa slot, u64 before, u64 after) override;
  void allocated(u32 core, addrspace::Hpa first, u64 bytes) override;
  void freed(u32 core, addrspace::Hpa first, u64 bytes) override;
  void executed(u32 core, const addrspace::Fence& fence) override;
  void accessed(u32 core, addrspace::Gva address, std::optional<addrspace::Gpa> guest_physical,
                addrspace::Hpa host, bool write) override;

 private:
  Moment now(u32 core) const { return {core, board_.wheel().now()}; }

  /// Who is known by a tag: a guest, or one of its vCPUs.
  struct Known {
    u32 id = 0;
    u16 vmid = 0;
    u32 core = 0;
  };
  u32 id_on(u32 core) const { return known_.at(on_[core]).id; }

  Events& events_;
  models::Board& board_;
  Vm vm_;                       ///< the last one
  std::map<u32, Known> known_;  ///< by vCPU
  std::vector<u32> on_;         ///< by core: the vCPU
  u64 accesses_ = 0;
  u32 next_id_ = 0;
};

}  // namespace nestwalk::checker
