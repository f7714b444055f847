// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences for real. Each experiment is made with instructions left out, where the emulator must show
// the stale value (else it could tell nothing), and with all that the precise policy issues, where
// it must not. README.md says which emulator can tell what.

#include "scenario.hpp"
#include "world.hpp"

namespace nestwalk::baremetal {
namespace {

constexpr u64 kOld = 0x0111, kNew = 0x0222;
constexpr MappingFlags kRw{kRead | kWrite};

alignas(kFrameBytes) volatile u64 old_page[kFrameBytes / sizeof(u64)];
alignas(kFrameBytes) volatile u64 new_page[kFrameBytes / sizeof(u64)];
Hpa physical(const volatile u64* page) { return Hpa(reinterpret_cast<u64>(page)); }

using Issues = bool (*)(FenceOp);
struct Experiment {
  const char* what;
  Issues issues;
  u64 sees;
};

[[maybe_unused]] bool nothing(FenceOp) { return false; }
[[maybe_unused]] bool everything(FenceOp) { return true; }
[[maybe_unused]] bool no_combined(FenceOp op) { return op != stage2::kVmalle1.is; }
[[maybe_unused]] bool no_ipa(FenceOp op) {
  return op != stage2::kIpas2e1.is && op != stage2::kIpas2le1.is;
}

#if defined(__aarch64__)
constexpr Experiment kData[] = {
    {"without its fences the guest sees the old page", nothing, kOld},
    {"nor is tlbi ipas2le1is enough", no_combined, kOld},
    {"with all of them it sees the new one", nullptr, kNew},
};
constexpr Experiment kTables[] = {
    {"without its fences the guest walks the old table", nothing, kOld},
    {"nor is tlbi ipas2le1is enough", no_combined, kOld},
    {"nor tlbi vmalle1is", no_ipa, kOld},
    {"with all of them it walks the new one", nullptr, kNew},
};
constexpr Experiment kWatched[] = {
    {"without a fence it goes on to see the old page", nothing, kOld},
    {"nor is tlbi ipas2le1is enough", no_combined, kOld},
    {"with all of them it sees the new one", nullptr, kNew},
};
#elif defined(__riscv)
constexpr Experiment kData[] = {
    {"without its fence the guest sees the old page", nothing, kOld},
    {"with hfence.gvma it sees the new one", nullptr, kNew},
};
constexpr Experiment kTables[] = {
    {"without its fence the guest walks the old table", nothing, kOld},
    {"with hfence.gvma it walks the new one", nullptr, kNew},
};
#elif defined(NESTWALK_SVM)
// QEMU's VMRUN drops the whole TLB: what is left out cannot be seen here.
constexpr Experiment kData[] = {{"with TLB_CONTROL the guest sees the new page", nullptr, kNew}};
constexpr Experiment kTables[] = {{"with TLB_CONTROL it walks the new table", nullptr, kNew}};
constexpr Experiment kWatched[] = {
    {"without a fence it goes on to see the old page", nothing, kOld},
    {"nor is TLB_CONTROL enough while it is not kicked", everything, kOld},
    {"kicked, it sees the new one", nullptr, kNew},
};
#else
// In Bochs every exit drops the whole TLB: what is left out cannot be seen here.
constexpr Experiment kData[] = {{"with invept the guest sees the new page", nullptr, kNew}};
constexpr Experiment kTables[] = {{"with invept it walks the new table", nullptr, kNew}};
#endif

/// The host takes a page away and puts another in its place.
void exchange(World& world, Gpa page, Hpa to, Issues issues) {
  world.hal.issues = issues;
  check(world.space.unmap(page, kFrameBytes).ok(), "a page goes");
  check(world.space.map_linear(page, to, kFrameBytes, kRw).ok(), "another comes");
  world.hal.issues = nullptr;
}

// The guest itself writes the host's entry, within one run: no fence, no world switch.
void rewrite_in_one_run(World& world) {
  // Apart by an odd number of pages: TLBs that are direct-mapped keep both.
  const Gpa page(0x9000'0000), alias(0x9100'1000);
  check(world.space.map_linear(page, physical(old_page), kFrameBytes, kRw).ok(), "a page");
  const auto entry = *world.space.page_table().entry(page);
  const Hpa table = entry.slot.aligned_down(kFrameBytes);
  check(world.space.map_linear(alias, table, kFrameBytes, kRw).ok(), "the table, for the guest");
  const u64 moved = entry.entry - NestedTables::address_bits(physical(old_page)) +
                    NestedTables::address_bits(physical(new_page));

  GuestRegisters registers{world.guest.gva(page).value(), moved,
                           world.guest.gva(alias + (entry.slot - table)).value()};
  check(world.guest.call(guest_rewrite, registers), "the guest rewrites the entry");
  check_equal(registers.value, kOld, "and sees the old page: there is a TLB");
  const Invalidation<Gpa> change(Cause::Remap, world.space.tag(), page, page, kFrameShift,
                                 change::kMoved, false);
  world.hal.invalidate(change);
  check_equal(world.guest.load(page), kNew, "after the fence it sees the new one");
  check(world.space.unmap(alias, kFrameBytes).ok(), "the guest has the table no more");
  check(world.space.unmap(page, kFrameBytes).ok(), "nor the page");
}

u64 look(World& world, Gva at) {
#if defined(__riscv)
  (void)world;  // a world switch would flush QEMU's TLB
  return load_as_guest(at.value());
#else
  return world.guest.load(at);
#endif
}

// What QEMU does not judge: that VMRUN is told, once. Its processors cannot flush by ASID, so 1:
// all.
void check_vmrun_was_told(World& world, Gva page) {
#if defined(NESTWALK_SVM)
  check_equal(last_tlb_control(), 1, "VMRUN is told to flush");
  (void)look(world, page);
  check_equal(last_tlb_control(), 0, "and only once");
#else
  (void)world, (void)page;
#endif
}

void exchange_data(World& world, const Experiment& experiment) {
  const Gpa page(0x9000'0000);
  check(world.space.map_linear(page, physical(old_page), kFrameBytes, kRw).ok(), "a page");
  check_equal(look(world, world.guest.gva(page)), kOld, "the guest sees it");
  exchange(world, page, physical(new_page), experiment.issues);
  check_equal(look(world, world.guest.gva(page)), experiment.sees, experiment.what);
  check_vmrun_was_told(world, world.guest.gva(page));
  check(world.space.unmap(page, kFrameBytes).ok(), "the page goes, with all fences");
}

// A page that the guest has a table in. What its TLB holds is found by the virtual address only.
void exchange_table(World& world, const Experiment& experiment) {
  const Gpa old_data(0x9000'0000), new_data(0x9000'1000);
  const Gva first(8 * kGiB), second(8 * kGiB + kFrameBytes);
  auto& tables = world.guest.tables();
  check(world.space.map_linear(old_data, physical(old_page), kFrameBytes, kRw).ok() &&
            world.space.map_linear(new_data, physical(new_page), kFrameBytes, kRw).ok(),
        "two pages");
  check(tables.map(first, old_data, kFrameBytes, kRw).ok() &&
            tables.map(second, new_data, kFrameBytes, kRw).ok(),
        "which the guest maps");
  // Its table, and one that differs in the first entry, in memory that outlives the exchange.
  alignas(kFrameBytes) static u64 old_table[kFrameBytes / sizeof(u64)];
  alignas(kFrameBytes) static u64 new_table[kFrameBytes / sizeof(u64)];
  const auto entry = *tables.entry(first);
  const Gpa table = entry.slot.aligned_down(kFrameBytes);
  const Hpa made = *world.space.translate(table);
  __builtin_memcpy(old_table, reinterpret_cast<const void*>(made.value()), kFrameBytes);
  __builtin_memcpy(new_table, old_table, kFrameBytes);
  new_table[entry.slot.offset_in(kFrameBytes) / sizeof(u64)] = tables.entry(second)->entry;

  exchange(world, table, physical(old_table), nullptr);
  check_equal(look(world, first), kOld, "the guest sees the first");
  exchange(world, table, physical(new_table), experiment.issues);
  check_equal(look(world, first), experiment.sees, experiment.what);
}

#if defined(__aarch64__) || defined(NESTWALK_SVM)

// The page that the second processor looks at is exchanged while it does.
void exchange_under_second_processor() {
  // Both processors go on with it to the end.
  alignas(World) static u8 storage[sizeof(World)];
  World& world = *::new (static_cast<void*>(storage)) World;
  const Gpa page(0x9000'0000), notes(0x9100'0000);
  alignas(kFrameBytes) static volatile u64 noted[kFrameBytes / sizeof(u64)];
  check(world.space.map_linear(page, physical(old_page), kFrameBytes, kRw).ok() &&
            world.space.map_linear(notes, physical(noted), kFrameBytes, kRw).ok(),
        "pages for the second processor");
  const GuestRegisters registers{world.guest.gva(page).value(), 0, world.guest.gva(notes).value()};
  start_second_processor(world.space.tag(), world.guest.root_register(),
                         world.guest.pc_of(guest_watch), registers);
  // What it has noted after it looked three more times: once may have begun before.
  const auto seen = [&] {
    const u64 before = noted[1];
    for (u64 patience = 0; noted[1] < before + 3; ++patience) {
      if (patience == 1'000'000'000) return u64{0};
    }
    return u64{noted[0]};
  };
  check_equal(seen(), kOld, "the second processor runs");
  for (const Experiment& experiment : kWatched) {
    exchange(world, page, physical(new_page), experiment.issues);
    check_equal(seen(), experiment.sees, experiment.what);
  }
}

#endif

}  // namespace

void run_fences() {
  print_line("fences");
  old_page[0] = kOld;
  new_page[0] = kNew;
  {
    World world;
    rewrite_in_one_run(world);
  }
  for (const Experiment& experiment : kData) {
    World world;
    exchange_data(world, experiment);
  }
  for (const Experiment& experiment : kTables) {
    World world;
    exchange_table(world, experiment);
  }
#if defined(__aarch64__) || defined(NESTWALK_SVM)
  exchange_under_second_processor();
#endif
}

}  // namespace nestwalk::baremetal
