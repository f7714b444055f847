// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine in a hypervisor, on bare metal: one VM with a device, firmware and lazy memory.

// [example]
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/fence_execute.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"
#include "nestwalk/addrspace/this_machine.hpp"

using namespace nestwalk::addrspace;

// Frames from a pool. A hypervisor has its own allocator and its own map of physical memory.
alignas(4 * kFrameBytes) static u8 pool[64 * kFrameBytes];

struct PoolHal : HalBase<PoolHal> {
  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    const u64 size = kFrameBytes << order;
    const u64 start = (next.value() + size - 1) & ~(size - 1);  // aligned to its own size
    if (start + size > pool_start().value() + sizeof(pool)) return Error::NoMemory;
    next = Hpa(start + size);
    return Hpa(start);
  }
  void free_run(Hpa, unsigned) {}  // this pool only grows

  Hva phys_to_virt(Hpa at) const { return Hva(at.value()); }
  Hpa virt_to_phys(Hva at) const { return Hpa(at.value()); }

  // On the other processors that run this VM, too: an IPI, or TLBI's own broadcast on Arm.
  void invalidate(const Invalidation<Gpa>& change) {
    execute_fences(FencePolicy::Precise, machine, change);
  }
  Capabilities capabilities() const { return machine; }

  Hpa pool_start() const { return virt_to_phys(Hva(reinterpret_cast<u64>(pool))); }
  Hpa next = pool_start();
  Capabilities machine = this_machine();
};

#if defined(__x86_64__)
using TableFormat = Ept;
constexpr Geometry kShape = *Ept::geometry(4);
#elif defined(__aarch64__)
using TableFormat = Stage2<Granule::k4K>;
constexpr Geometry kShape = *TableFormat::geometry(40);
#elif defined(__riscv)
using TableFormat = GStage;
constexpr Geometry kShape = *GStage::geometry(3);
#endif
using Space = AddressSpace<TableFormat, PoolHal>;

/// 256 MiB of memory, backed 64 KiB at a time when the guest touches it; firmware; a device.
Result<Space> make_guest(PoolHal& hal, Hpa firmware, Hpa uart) {
  const u16 vmid = hal.machine.vmid_bits != 0 ? 1 : 0;
  Result<Space> space = Space::create(hal, kShape, *GpaRange::make(Gpa(0), 4 * kGiB), vmid);
  if (!space) return space;
  Result<void> done = space->map_linear(Gpa(0), firmware, kMiB, {kRead | kExecute});
  if (done) {
    done = space->map_linear(Gpa(0x1000'0000), uart, kFrameBytes,
                             {kRead | kWrite, MemoryType::Device});
  }
  if (done) done = space->map_alloc(Gpa(0x4000'0000), 256 * kMiB, {kRwx}, Backend::lazy(4));
  if (!done) return done.error();
  return space;  // space->config() has EPTP, VTTBR and VTCR, or hgatp
}

/// An EPT violation, a stage-2 data or instruction abort, a guest-page fault: nested_fault.hpp
/// decodes their registers. True: let it retry.
bool on_nested_fault(Space& space, Gpa at, Access access) {
  return resolved(space.handle_fault(at, access));
}

/// A hypercall that names a buffer: whatever the guest says, nothing but its own memory is read.
u64 sum_of(Space& space, Gpa buffer, u64 words) {
  GuestMemory memory(space);
  u64 sum = 0;
  for (u64 n = 0; n < words; ++n) {
    const Result<u32> word = memory.load<u32>(buffer + n * sizeof(u32));
    if (!word) break;  // not mapped, not readable: an error for the guest, not for us
    sum += *word;
  }
  return sum;
}
// [example]

// What an entry point would do.
extern "C" u64 run_guest(u64 firmware, u64 uart, u64 fault_at) {
  PoolHal hal;
  Result<Space> space = make_guest(hal, Hpa(firmware), Hpa(uart));
  if (!space) return 0;
  if (!on_nested_fault(*space, Gpa(fault_at), kWrite)) return 0;
  return space->config().registers.root_register + sum_of(*space, Gpa(fault_at), 16);
}
