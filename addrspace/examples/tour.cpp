// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A tour of the engine: the life of a small guest, the same on all three architectures, with what
// each step cost and the fences that each architecture demands for it.

#include <cstdio>
#include <cstring>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"

namespace nestwalk::addrspace {
namespace {

constexpr MappingFlags kRw{kRead | kWrite};
constexpr Gpa kFirmware(0x0);
constexpr Gpa kMemory(0x4000'0000);
constexpr Gpa kEagerMemory(0x8000'0000);

template <NestedFormat F>
class Tour {
 public:
  using Space = AddressSpace<F, ArenaHal<>>;

  Tour(const char* name, const Geometry& shape)
      : hal_(1 << 16, machine()),
        name_(name),
        space_(*Space::create(hal_, shape, *GpaRange::make(Gpa(0), 4 * kGiB), kVmid)) {
    hal_.invalidations.clear();
  }

  void run() {
    introduce();
    map();
    touch();
    change();
    track_writes();
    take_away();
  }

 private:
  static constexpr u16 kVmid = 7;

  static Capabilities machine() {
    Capabilities found = full_machine();
    found.hardware_dirty = true;
    return found;
  }

  void introduce() const {
    const SpaceConfig config = space_.config();
    std::printf("\n%s: %u levels, %u-bit guest-physical addresses, root of %llu KiB at %#llx\n",
                name_, config.levels, config.gpa_bits, number(config.root_bytes / kKiB),
                number(config.root.value()));
    std::printf("  the hardware gets %#llx", number(config.registers.root_register));
    if (config.registers.control_register != 0) {
      std::printf(" and %#llx", number(config.registers.control_register));
    }
    std::printf("\n  %-52s %6s %9s  %s\n", "", "tables", "owned KiB", "fences (precise policy)");
  }

  void map() {
    step("1 GiB of firmware and devices, linear", space_.map_linear(kFirmware, Hpa(0), kGiB, kRw));
    step("512 MiB of memory, lazy", space_.map_alloc(kMemory, 512 * kMiB, {kRwx}, Backend::lazy()));
    step("1 MiB of memory, eager", space_.map_alloc(kEagerMemory, kMiB, kRw, Backend::eager()));
  }

  void touch() {
    const Gpa at = kMemory + 0x12345;
    fault("the guest writes to lazy memory", at, kWrite);
    fault("another processor faults there, too", at, kWrite);
    fault("the guest writes where nothing is", Gpa(0xf000'0000), kWrite);
    GuestMemory memory(space_);
    step("the host stores a word for the guest", memory.store(kMemory + 0x20000, u32{42}));
  }

  void change() {
    step("a page of a large leaf becomes read-only",
         space_.protect(kFirmware + 2 * kMiB, Space::kPageBytes, {kRead}));
    step("and writable again", space_.protect(kFirmware + 2 * kMiB, Space::kPageBytes, kRw));
    step("a page of eager memory is taken away (balloon)",
         space_.unmap(kEagerMemory + 4 * Space::kPageBytes, Space::kPageBytes));
  }

  void track_writes() {
    step("dirty log starts", space_.start_dirty_log(DirtyTracking::WriteProtection));
    fault("the guest writes to eager memory", kEagerMemory, kWrite);
    u64 dirty = 0;
    step("dirty log harvested",
         space_.harvest_dirty_log(space_.range(), [&](GpaRange run) { dirty += run.size(); }));
    std::printf("  %-52s %llu KiB written since the start\n", "", number(dirty / kKiB));
    step("dirty log stops", space_.stop_dirty_log());
  }

  void take_away() {
    space_.clear();
    step("everything is taken away", {});
  }

  void fault(const char* what, Gpa at, Access access) {
    const FaultOutcome outcome = space_.handle_fault(at, access);
    char line[96];
    std::snprintf(line, sizeof(line), "%s: %s", what, to_string(outcome));
    step(line, {});
  }

  void step(const char* what, Result<void> done) {
    const SpaceUsage usage = space_.usage();
    std::printf("  %-52s %6llu %9llu  ", what, number(usage.tables.tables),
                number(usage.tables.owned_bytes / kKiB));
    if (!done) std::printf("error: %s", to_string(done.error()));
    print_fences();
    std::printf("\n");
  }

  // The first few, and how many more.
  void print_fences() {
    constexpr unsigned kShown = 3;
    unsigned count = 0;
    for (const Invalidation<Gpa>& change : hal_.invalidations) {
      emit_fences<typename F::Extension>(
          FencePolicy::Precise, hal_.capabilities(), change, [&](const Fence& fence) {
            if (count++ >= kShown) return;
            std::printf("%s%s", count == 1 ? "" : "; ", to_text(fence).c_str());
          });
    }
    if (count > kShown) std::printf("; and %u more", count - kShown);
    if (count == 0) std::printf("-");
    hal_.invalidations.clear();
  }

  static unsigned long long number(u64 value) { return value; }

  ArenaHal<> hal_;
  const char* name_;
  Space space_;
};

void run() {
  Tour<Ept>("x86-64, EPT", *Ept::geometry(4)).run();
  Tour<Npt>("x86-64, AMD's nested tables", *Npt::geometry(4)).run();
  Tour<Stage2<Granule::k4K>>("AArch64, stage 2, 4K granule", *Stage2<Granule::k4K>::geometry(40))
      .run();
  Tour<Stage2<Granule::k64K>>("AArch64, stage 2, 64K granule", *Stage2<Granule::k64K>::geometry(42))
      .run();
  Tour<GStage>("RISC-V, Sv39x4", *GStage::geometry(3)).run();
}

}  // namespace
}  // namespace nestwalk::addrspace

int main() {
  nestwalk::addrspace::run();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  std::fputs("addrspace-tour: standard output cannot be written\n", stderr);
  return 1;
}
