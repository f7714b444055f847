// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Every operation of an address space, seen by a guest that runs on it. Data are checked by value,
// on the guest's side and on the host's.

#include "scenario.hpp"
#include "world.hpp"

namespace nestwalk::baremetal {
namespace {

constexpr u64 kLarge = 2 * kMiB;
constexpr MappingFlags kRw{kRead | kWrite}, kRo{kRead}, kAll{kRwx};

u64 host_word(World& world, Gpa at) {
  const Result<Hpa> host = world.space.translate(at);
  return host ? *reinterpret_cast<volatile u64*>(host->value())
              : Vm<World::Space, World::Handler>::kStuck;
}

void touch_lazily(World& world) {
  auto& guest = world.guest;
  const Gpa at(0x4000'0000);
  const u64 before = world.hal.in_use;
  check(world.space.map_alloc(at, 64 * kMiB, kAll, Backend::lazy()).ok(), "lazy memory");
  // The node of the area may take a frame; 16,384 pages and their tables take none.
  check(world.hal.in_use <= before + 1, "costs nothing yet");

  check_equal(guest.load(at + 8), 0, "a first read finds zero");
  check_equal(guest.faults, 1, "after one fault");
  check(world.outcome == FaultOutcome::Mapped, "which mapped a page");
  check_equal(guest.load(at + 16), 0, "a second read");
  check_equal(guest.faults, 0, "has no fault");

  check(guest.store(at + kFrameBytes, 0x1234), "a first write");
  check_equal(guest.faults, 1, "has one fault");
  check_equal(host_word(world, at + kFrameBytes), 0x1234, "and the host finds what was written");

  check(guest.jump(at + 2 * kFrameBytes), "a first fetch");
  check_equal(guest.faults, 1, "has one fault");
  check(guest.jump(at + 2 * kFrameBytes) && guest.faults == 0, "a second one none");
}

void touch_around(World& world) {
  auto& guest = world.guest;
  const Gpa at(0x5000'0000);
  check(world.space.map_alloc(at, kMiB, kRw, Backend::lazy(4)).ok(), "lazy memory, 16 at a time");
  u64 faults = 0;
  for (u64 page = 16; page < 48; ++page) {
    check(guest.store(at + page * kFrameBytes, page), "a write to one of 32 pages");
    faults += guest.faults;
  }
  check_equal(faults, 2, "two faults for two groups of 16");
  for (u64 page = 16; page < 48; ++page) {
    check_equal(guest.load(at + page * kFrameBytes), page, "each page has its own value");
  }
}

void use_eager(World& world) {
  auto& guest = world.guest;
  const Gpa at(0x6000'0000);
  check(world.space.map_alloc(at, kLarge, kRw, Backend::eager(1)).ok(), "eager memory");
  check_equal(world.space.query(at)->size, kLarge, "in one large leaf");
  check(guest.store(at + kLarge - 8, 7) && guest.faults == 0, "is there at once");
  check_equal(host_word(world, at + kLarge - 8), 7, "and the host sees it");
}

alignas(kLarge) u8 linear_memory[2 * kLarge];

void use_linear(World& world) {
  auto& guest = world.guest;
  const Gpa at(0x8000'0000);
  const Hpa to(reinterpret_cast<u64>(linear_memory));
  const auto host = [&](u64 n) { return reinterpret_cast<volatile u64*>(linear_memory + n); };
  check(world.space.map_linear(at, to, 2 * kLarge, kRw).ok(), "linear memory");
  check_equal(world.space.query(at + kLarge)->size, kLarge, "in large leaves");
  *host(kLarge + 0x3008) = 0xabcd;
  check_equal(guest.load(at + kLarge + 0x3008), 0xabcd, "the guest reads what the host wrote");
  check(guest.store(at + 0x5000, 0xef01) && guest.faults == 0, "and writes");
  check_equal(*host(0x5000), 0xef01, "to the right place");

  check(world.space.protect(at, 2 * kLarge, kRo).ok(), "all of it becomes read-only");
  check_equal(guest.load(at + 0x5000), 0xef01, "the guest still reads");
  check(!guest.store(at + 0x5000, 1), "and cannot write");
  check(world.outcome == FaultOutcome::NoPermission, "for lack of permission");
  check_equal(*host(0x5000), 0xef01, "nor has it");
  check(world.space.protect(at, 2 * kLarge, kRw).ok(), "it becomes writable again");
  check(guest.store(at + 0x5000, 0xef02) && guest.faults == 0, "the guest writes again");

  check(world.space.protect(at + 0x5000, kFrameBytes, kRo).ok(), "a page of it is read-only");
  check_equal(world.space.query(at)->size, kFrameBytes, "the large leaf is split");
  check_equal(world.space.query(at + kLarge)->size, kLarge, "the other one is not");
  check(!guest.store(at + 0x5000, 1), "no write to that page");
  check(guest.store(at + 0x4ff8, 2) && guest.store(at + 0x6000, 3), "but to its neighbours");
  check(*host(0x4ff8) == 2 && *host(0x6000) == 3, "which lie where they lay");
  check_equal(guest.load(at + 0x5000), 0xef02, "and that page is readable");

  check(world.space.unmap(at + kLarge + 0x3000, kFrameBytes).ok(), "a page is taken away");
  check_equal(guest.load(at + kLarge + 0x3008), guest.kStuck, "it is gone");
  check(world.outcome == FaultOutcome::NoArea, "nothing is promised there any more");
  *host(kLarge + 0x4000) = 0x77;
  check_equal(guest.load(at + kLarge + 0x4000), 0x77, "the page after it is not");
}

void take_back(World& world) {
  auto& guest = world.guest;
  const Gpa at(0x4000'0000);
  check_equal(guest.load(at + kFrameBytes), 0x1234, "the guest has data");
  const u64 before = world.hal.in_use;
  check(world.space.unmap(at + kFrameBytes, kFrameBytes).ok(), "the page is taken away");
  // The frame comes back; the area, cut in two, may need one for its node.
  check(world.hal.in_use <= before, "with its frame");
  check_equal(guest.load(at + kFrameBytes), guest.kStuck, "the guest cannot reach it");
  check(world.outcome == FaultOutcome::NoArea, "there is no area");
  check(world.space.map_alloc(at + kFrameBytes, kFrameBytes, kAll, Backend::lazy()).ok(),
        "the page is promised again");
  check_equal(guest.load(at + kFrameBytes), 0, "it is zero, not what it was");
  check_equal(guest.faults, 1, "after one fault");
}

// On AMD, and with EPT's accessed and dirty flags, a processor that reads a guest's table counts as
// one that writes to it (APM vol. 2, 15.25.6; Intel SDM vol. 3C, "Accessed and Dirty Flags for
// EPT"): here PML4 and PDPT, which has the leaf of 1 GiB.
u64 tables_written_by_walks(World& world) {
  const bool flags = world.hal.capabilities().hardware_dirty;
  return NestedTables::kArchitecture == Architecture::X86_64 && flags ? 2 : 0;
}

void log_writes(World& world) {
  auto& guest = world.guest;
  const Gpa page(0x5001'0000);  // backed, see touch_around
  const u64 pages = 1 + tables_written_by_walks(world);
  u64 written = 0;
  const auto count = [&](GpaRange run) { written += run.size(); };
  const auto harvest = [&] {
    written = 0;
    check(world.space.harvest_dirty_log(world.space.range(), count).ok(), "the log is read");
    return written;
  };
  check(world.space.start_dirty_log(DirtyTracking::WriteProtection).ok(), "a dirty log starts");
  check(guest.store(page, 1), "the guest writes");
  check_equal(guest.faults, pages, "which is noticed");
  check(world.outcome == FaultOutcome::MadeWritable, "and then permitted");
  check(guest.store(page + 8, 2) && guest.faults == 0, "once");
  check_equal(harvest(), pages * kFrameBytes, "so much was written");
  check_equal(harvest(), 0, "and nothing since");
  check(guest.store(page, 3) && guest.faults == pages, "the next write is noticed again");
  check(world.space.stop_dirty_log().ok(), "the log stops");
  check(guest.store(page + kFrameBytes, 4) && guest.faults == 0, "writes are not noticed any more");
}

void run_out(World& world) {
  auto& guest = world.guest;
  const Gpa at(0x4200'0000);              // lazy, untouched, in a 2 MiB of its own
  world.hal.most = world.hal.in_use + 3;  // a table and two pages
  u64 pages = 0;
  while (pages < 8 && guest.store(at + pages * kFrameBytes, pages + 1)) ++pages;
  check_equal(pages, 2, "two pages are left");
  check(world.outcome == FaultOutcome::OutOfMemory, "then it says that memory is out");
  check_equal(guest.load(at + kFrameBytes), 2, "what the guest has stays");
  world.hal.most = FirstFit::kFrames;
  check(guest.store(at + 2 * kFrameBytes, 3), "with more memory it goes on");
}

}  // namespace

void run_operations() {
  print_line("every operation");
  World world;
  const u64 before = world.space.usage().tables.tables;
  touch_lazily(world);
  touch_around(world);
  use_eager(world);
  use_linear(world);
  take_back(world);
  log_writes(world);
  run_out(world);

  check(world.space.usage().tables.tables > before, "tables were made");
  world.space.clear();
  check(!world.guest.store(Gpa(0x6000'0000), 1), "after clear the guest has nothing");
  check(world.outcome == FaultOutcome::NoArea, "nothing at all");
  // The root and the frame of shortcuts.
  check_equal(world.hal.in_use, (kNestedShape.root_bytes() + kFrameBytes - 1) / kFrameBytes + 1,
              "every frame came back");
}

}  // namespace nestwalk::baremetal
