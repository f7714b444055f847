// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the payloads ask of an architecture; <architecture>/machine.cpp answers. Everything else is
// shared.
#pragma once

#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/nested_fault.hpp"
#if defined(NESTWALK_SVM)
#include "nestwalk/addrspace/vmrun.hpp"
#endif

namespace nestwalk::baremetal {

using namespace addrspace;

#if defined(__x86_64__)
using GuestFormat = LongMode;
inline constexpr Geometry kGuestShape = *LongMode::geometry(4);
#elif defined(__aarch64__)
using GuestFormat = Stage1<Granule::k4K>;
inline constexpr Geometry kGuestShape = *GuestFormat::geometry(39);
#elif defined(__riscv)
using GuestFormat = Sv;
inline constexpr Geometry kGuestShape = *Sv::geometry(3);
#endif

/// The registers through which guest.S and we talk. boot.S knows their order.
struct GuestRegisters {
  u64 address = 0;
  u64 value = 0;
  u64 other = 0;
};

/// Why the guest stopped.
struct Exit {
  enum class Why : u8 { Hypercall, NestedFault, Unexpected };
  Why why = Why::Unexpected;
  NestedFault fault{};
  /// scause, ESR_EL2, or exit reason and qualification << 16 (AMD: exit code, EXITINFO1)
  u64 syndrome = 0;
};

/// What satp, TTBR0_EL1 or CR3 holds for the guest's own tables.
inline u64 guest_root_register(Gpa root) {
#if defined(__x86_64__)
  return LongMode::cr3(root, 0);
#elif defined(__aarch64__)
  return GuestFormat::ttbr(root, 0);
#elif defined(__riscv)
  return Sv::satp(root, kGuestShape, 0);
#endif
}

/// Takes the machine from how it was started to where guests can run.
void start_hypervisor();
/// From now on guests translate with these. Without a root of its own the guest's addresses are
/// guest-physical.
void select_vm(const VmTag& space, u64 guest_root);
/// Runs the guest from `pc` until it stops; `pc` is where by then.
Exit run_guest_from(u64& pc, GuestRegisters& registers);
#if defined(NESTWALK_SVM)
inline constexpr unsigned kProcessors = 2;
/// What that processor's next VMRUN under that ASID has to flush.
svm::TlbControl& next_vmrun(unsigned processor, u16 asid);
/// Once it runs: it leaves the guest, and then enters it again.
void kick_second_processor();
/// That of the first processor's last VMRUN.
u8 last_tlb_control();
#endif
#if defined(__riscv)
/// HLV: a load with the guest's eyes, of what is mapped, without a world switch.
u64 load_as_guest(u64 address);
#elif defined(__aarch64__) || defined(NESTWALK_SVM)
/// A second processor runs the same guest from `pc`, for good; it tries again where it faults.
void start_second_processor(const VmTag& space, u64 guest_root, u64 pc,
                            const GuestRegisters& registers);
#endif
/// New instructions were written.
void sync_code();

void put(char c);
[[noreturn]] void stop(bool success);

/// A page with a device behind it, and a register in it that keeps the low byte written to it.
struct DevicePage {
  Hpa page;
  u64 scratch;
};
extern const DevicePage kDevice;
extern const char kMachineName[];

/// Code of guest.S: it runs wherever it lies, and ends with a hypercall.
extern "C" {
extern const u8 guest_begin[], guest_end[];
extern const u8 guest_count[];    ///< value += 1
extern const u8 guest_load[];     ///< value = [address]
extern const u8 guest_store[];    ///< [address] = value
extern const u8 guest_jump[];     ///< to address
extern const u8 guest_device[];   ///< the same as store and load, in the device's width
extern const u8 guest_rewrite[];  ///< loads [address], stores value to [other]; value = [address]
extern const u8 guest_watch[];    ///< for ever, [other] = [address], ++[other + 8]
extern const u8 guest_landing[];  ///< what is jumped to: value = 0x5a
}
inline constexpr u64 kLandingValue = 0x5a;

}  // namespace nestwalk::baremetal
