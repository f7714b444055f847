// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a user of the installed library writes: a Hal of his own, a space on it, guest memory that
// is mapped, faulted in and translated. Exits with 0 only if all of that does what it should.

#include <nestwalk/addrspace/address_space.hpp>
#include <nestwalk/addrspace/fence.hpp>
#include <nestwalk/addrspace/formats.hpp>
#include <nestwalk/addrspace/guest_memory.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

using namespace nestwalk::addrspace;

/// Frames from the heap, where physical addresses are virtual ones.
class HeapHal : public HalBase<HeapHal> {
 public:
  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    const std::size_t bytes = std::size_t{kFrameBytes} << order;
    void* memory = std::aligned_alloc(bytes, bytes);
    if (memory == nullptr) return Error::NoMemory;
    ++runs_in_use;
    return Hpa(reinterpret_cast<std::uintptr_t>(memory));
  }
  void free_run(Hpa start, unsigned) {
    --runs_in_use;
    std::free(reinterpret_cast<void*>(start.value()));
  }
  Hva phys_to_virt(Hpa at) const { return Hva(at.value()); }
  Hpa virt_to_phys(Hva at) const { return Hpa(at.value()); }
  /// IA32_VMX_EPT_VPID_CAP with bits 16 and 17 (large pages), 20 and 25 (INVEPT of one context).
  Capabilities capabilities() const { return capabilities_from_ept_vpid_cap(0x213'0000, 48); }
  void invalidate(const Invalidation<Gpa>& change) {
    emit_fences<vmx::Extension>(FencePolicy::Precise, capabilities(), change,
                                [&](const Fence& fence) { last_fence = to_text(fence); });
  }

  int runs_in_use = 0;
  Text<64> last_fence;
};

using Space = AddressSpace<Ept, HeapHal>;

constexpr Gpa kRam(0x8000'0000);
constexpr Gpa kDevice(0x1000'0000);
constexpr Hpa kDeviceRegisters(0xfe00'0000);
constexpr MappingFlags kRwxRam{kRwx};
constexpr MappingFlags kDeviceFlags{kRead | kWrite, MemoryType::Device};

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "consumer: it does not hold that %s\n", what);
  ++failures;
}

void use(Space& space, const HeapHal& hal) {
  expect(space.map_alloc(kRam, 16 * kMiB, kRwxRam, Backend::lazy()).ok(), "RAM can be promised");
  expect(space.map_linear(kDevice, kDeviceRegisters, kFrameBytes, kDeviceFlags).ok(),
         "a device can be mapped");
  expect(space.translate(kDevice + 8) == Result<Hpa>(kDeviceRegisters + 8),
         "the device is where it was mapped");

  expect(!space.translate(kRam).ok(), "RAM is not there before it is touched");
  expect(space.handle_fault(kRam + 0x123, kWrite) == FaultOutcome::Mapped, "a fault brings it in");
  expect(space.translate(kRam).ok(), "RAM is there after that");
  expect(space.handle_fault(kDevice, kExecute) == FaultOutcome::NoPermission,
         "nobody executes a device");

  GuestMemory<Space> memory(space);
  expect(memory.store(kRam + 0xffe, u32{0xcafe'f00d}).ok(), "guest memory can be written");
  expect(memory.load<u32>(kRam + 0xffe) == Result<u32>(0xcafe'f00d), "it holds what was written");

  expect(space.unmap(kRam, kFrameBytes).ok(), "a page can be taken away");
  expect(space.translate(kRam) == Result<Hpa>(Error::NotMapped), "it is gone then");
  const auto invept = Text<64>().add("invept single-context, ");
  const auto expected = Text<64>(invept).add_hex(space.config().registers.root_register);
  expect(hal.last_fence == expected.c_str(), "the processor was told");
}

}  // namespace

int main() {
  HeapHal hal;
  const Result<GpaRange> range = GpaRange::make(Gpa(0), 4 * kGiB);
  {
    Result<Space> space = Space::create(hal, *Ept::geometry(4), *range);
    expect(space.ok(), "a space can be made");
    if (space) use(*space, hal);
  }
  expect(hal.runs_in_use == 0, "all frames come back");
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
