// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A machine's memory with one VM in it, over a Hal that takes frames back.
#pragma once

#include "first_fit.hpp"
#include "vm.hpp"

namespace nestwalk::baremetal {

#if defined(__x86_64__)
using NestedTables = Ept;
inline constexpr Geometry kNestedShape = *Ept::geometry(4);
#elif defined(__aarch64__)
using NestedTables = Stage2<Granule::k4K>;
inline constexpr Geometry kNestedShape = *NestedTables::geometry(40);
#elif defined(__riscv)
using NestedTables = GStage;
inline constexpr Geometry kNestedShape = *GStage::geometry(3);
#endif

struct World {
  using Space = AddressSpace<NestedTables, FirstFit>;
  // Where things are for the guest, all below 4 GiB.
  static constexpr Gpa kCode{0}, kTables{0x2000'0000};

  World() : hal(frames), space(made(hal)), guest(space, kCode, kTables, Handler{*this}) {}
  /// Its VMID and its root can be used again.
  ~World() {
    select_vm(VmTag{}, 0);
    execute_retirement(hal.capabilities(), space.tag());
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
