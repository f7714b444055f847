// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A machine's memory with one VM in it, over a Hal that takes frames back.
#pragma once

#include "first_fit.hpp"
#include "vm.hpp"

namespace nestwalk::baremetal {

struct World {
  using Space = AddressSpace<NestedTables, FirstFit>;
  // Where things are for the guest, all below 4 GiB.
  static constexpr Gpa kCode{0}, kTables{0x2000'0000};

  World() : hal(frames), space(made(hal)), guest(space, kCode, kTables, Handler{*this}) {}
  /// Its VMID and its root can be used again.
  ~World() {
    select_vm(VmTag{}, 0);
    retire(hal.capabilities(), space.tag());
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// The last fault's outcome; what is fetched for the first time becomes guest_landing.
  struct Handler {
    World& world;
    bool operator()(Gpa at, Access access) {
      world.outcome = world.space.handle_fault(at, access);
      if (!resolved(world.outcome)) return false;
      if (access.has(kExecute)) world.load_code(at);
      return true;
    }
  };

  void load_code(Gpa at) {
    GuestMemory memory(space);
    const u64 size = static_cast<u64>(guest_end - guest_landing);
    check(memory.write(at, guest_landing, size).status.ok(), "the host writes code for the guest");
    sync_code();
  }

  static Space made(FirstFit& hal);

  static u8 frames[FirstFit::kFrames * kFrameBytes];
  FirstFit hal;
  Space space;
  FaultOutcome outcome = FaultOutcome::Mapped;
  Vm<Space, Handler> guest;
};

}  // namespace nestwalk::baremetal
