// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What runs for each page, fault or access, and the ways in which results are passed on, to be
// compiled and read by check.py. The Hal is out of sight, as a hypervisor's may be.
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"

namespace nestwalk::addrspace {

struct OpaqueHal : HalBase<OpaqueHal> {
  Result<Hpa> alloc_run(unsigned order, FrameUse use);
  void free_run(Hpa start, unsigned order);
  Hva phys_to_virt(Hpa at) const;
  Hpa virt_to_phys(Hva at) const;
  void invalidate(const Invalidation<Gpa>& change);
  Capabilities capabilities() const;
};
using Space = AddressSpace<Ept, OpaqueHal>;

template <class T>
Result<T> error_or_value(OpaqueHal& hal) {
  const Result<Hpa> run = hal.alloc_run(0, {});
  if (!run) return run.error();
  return T(run->value());
}
template Result<u8> error_or_value(OpaqueHal&);
template Result<u16> error_or_value(OpaqueHal&);
template Result<u32> error_or_value(OpaqueHal&);
template Result<u64> error_or_value(OpaqueHal&);
template Result<Gpa> error_or_value(OpaqueHal&);

Result<Hpa> another_error(OpaqueHal& hal) {
  const Result<Hpa> run = hal.alloc_run(0, {});
  if (run && !run->is_aligned(kFrameBytes)) return Error::UnusableFrame;
  return run;
}
Result<void> error_alone(OpaqueHal& hal) {
  const Result<Hpa> run = hal.alloc_run(0, {});
  if (!run) return run.error();
  return {};
}

/// The leaves of AMD-V depend on the host's PAT, which is looked up.
using SvmSpace = AddressSpace<Npt, OpaqueHal>;

FaultOutcome handle_fault(Space& space, Gpa at) { return space.handle_fault(at, kWrite); }
Result<Hpa> translate(const Space& space, Gpa at) { return space.translate(at); }
Result<Space::Table::Leaf> query(const Space& space, Gpa at) { return space.query(at); }
Result<Window> window(const Space& space, Gpa at) { return space.window(at, kRead); }
Result<u32> load(Space& space, Gpa at) { return GuestMemory(space).load<u32>(at); }
Result<void> map_alloc(Space& space, Gpa at, u64 size) {
  return space.map_alloc(at, size, {kRead}, Backend::eager());
}
Result<void> map_linear(Space& space, Gpa at, u64 size) {
  return space.map_linear(at, Hpa(0), size, {kRead});
}
Result<void> unmap(Space& space, Gpa at, u64 size) { return space.unmap(at, size); }

FaultOutcome handle_fault(SvmSpace& space, Gpa at) { return space.handle_fault(at, kWrite); }
Result<Hpa> translate(const SvmSpace& space, Gpa at) { return space.translate(at); }
Result<Window> window(const SvmSpace& space, Gpa at) { return space.window(at, kRead); }
Result<void> map_alloc(SvmSpace& space, Gpa at, u64 size) {
  return space.map_alloc(at, size, {kRead}, Backend::eager());
}
Result<void> unmap(SvmSpace& space, Gpa at, u64 size) { return space.unmap(at, size); }

}  // namespace nestwalk::addrspace
