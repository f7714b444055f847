// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The hypervisor that the engine's README shows runs a guest, until its 64 frames are used up.

#if !defined(NESTWALK_SVM)

// The very file that the README shows, not a copy of it.
#include "../examples/hypervisor.cpp"
#include "scenario.hpp"
#include "vm.hpp"

namespace nestwalk::baremetal {
namespace {

constexpr Gpa kFirmware(0), kUart(0x1000'0000), kMemory(0x4000'0000);
constexpr u64 kAround = 16 * kFrameBytes;  // make_guest asks for lazy(4)

alignas(kFrameBytes) u8 firmware[kMiB];

template <class Guest>
void touch_everything(Guest& guest, Space& space) {
  GuestRegisters registers{0, 41, 0};
  check(guest.call(guest_count, registers) && guest.faults == 0, "firmware runs, without a fault");
  check_equal(registers.value, 42, "and counts");

  registers = {guest.gva(kUart + kDevice.scratch).value(), 0x5b, 0};
  check(guest.call(guest_device, registers), "the guest reaches its device");
  check_equal(registers.value, 0x5b, "whose register keeps what it was given");

  // The guest's own tables are in the first 16 pages.
  const Gpa read = kMemory + kAround, written = kMemory + 2 * kAround;
  check_equal(guest.load(read), 0, "lazy memory reads as zero");
  check_equal(guest.faults, 1, "one fault for the first read");
  check(guest.last.why == Exit::Why::Hypercall, "and then the guest goes on");
  for (u64 n = 0; n < 16; ++n) {
    check(guest.store(written + n * kFrameBytes, 0x1'0000'0001 * n), "the guest writes a page");
    check_equal(guest.faults, n == 0 ? 1 : 0, "one fault for sixteen pages around it");
  }
  // 3 and 3 in the halves of a word, and no more in the three words after it.
  check_equal(sum_of(space, written + 3 * kFrameBytes, 8), 6, "the host sums what the guest wrote");
  check_equal(sum_of(space, Gpa(0x3000'0000), 8), 0, "and nothing where the guest has no memory");
}

}  // namespace

void run_example() {
  print_line("the README's hypervisor");
  __builtin_memcpy(firmware, guest_begin, static_cast<u64>(guest_end - guest_begin));
  clean_to_memory(firmware, kFrameBytes);
  sync_code();
  PoolHal hal;
  Result<Space> made = make_guest(hal, Hpa(reinterpret_cast<u64>(firmware)), kDevice.page);
  if (!check(made.ok(), "make_guest")) return;
  Space& space = *made;
  const auto handler = [&](Gpa at, Access access) { return on_nested_fault(space, at, access); };
  Vm<Space, decltype(handler)> guest(space, kFirmware, kMemory, handler);
  touch_everything(guest, space);

  check(!guest.store(kFirmware, 1), "a write to firmware is not for the guest");
  check(space.handle_fault(kFirmware, kWrite) == FaultOutcome::NoPermission, "no permission");
  check_equal(guest.last.fault.gpa.value(), kFirmware.value(), "and the fault says where");
  check_equal(guest.load(Gpa(0x3000'0008)), guest.kStuck, "nothing is where nothing is promised");
  check(space.handle_fault(guest.last.fault.gpa, kRead) == FaultOutcome::NoArea, "no area");
  check_equal(guest.last.fault.gpa.value(), 0x3000'0008, "and the fault says where, to the byte");

  // Every group takes at least one frame of 64, so that 64 more must be too many.
  u64 groups = 3;
  while (groups < 3 + 64 && guest.load(kMemory + groups * kAround) == 0) ++groups;
  const Gpa beyond = kMemory + groups * kAround;
  check(groups < 3 + 64, "the pool runs out");
  check(space.handle_fault(beyond, kRead) == FaultOutcome::OutOfMemory, "out of memory, it says");
  check_equal(guest.load(kMemory + 2 * kAround + 5 * kFrameBytes), 0x5'0000'0005,
              "what the guest has stays");

  space.clear();
  check(!guest.store(kMemory + 2 * kAround, 1), "after clear the guest has nothing");
  check(space.handle_fault(guest.last.fault.gpa, guest.last.fault.access) == FaultOutcome::NoArea,
        "at all");
}

}  // namespace nestwalk::baremetal

#endif
