/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: Apache-2.0 */

/* A guest for the tiny hypervisor: builds its own page tables, then walks through memory in ways
   that tell memory systems apart. Its phases, as markers:
     2 first touch of 32 MiB   3 uniform random   4 dependent loads, a full cycle of all pages
     5 random in 2 MiB pages   6 two address spaces, switched and fenced in turn */
#include <stdint.h>

#include "marker.h"

enum { kPages = 8192, kEntries = 512, kTables = 64, kRounds = 64, kSettle = 1000, kSpins = 20000000 };
#define PAGE 4096ull
#define SMALL_PAGES 0x100000000ull /* mapped with 4 KiB leaves, frames out of order */
#define LARGE_PAGES 0x140000000ull /* the same memory, 2 MiB leaves */

#define MARK(code) __asm__ volatile(MARKER_INSTRUCTION(#code) ::: "memory")

#if defined(__x86_64__)
enum { kLevels = 4, kOuterLeaf = 2 };
#define MEMORY 0x0ull
#define DEVICE 0x0ull
static uint64_t leaf(uint64_t address, int level, int device) {
  return address | 0x63 | (level ? 0x80 : 0) | (device ? 0x10 : 0);
}
static uint64_t table(uint64_t address) { return address | 3; }
static void use_root(uint64_t *root, uint64_t space) {
  (void)space;
  __asm__ volatile("mov %0, %%cr3" ::"r"(root) : "memory");
}
static void forget(uint64_t address) {
  __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}
static void start_translation(uint64_t *root) { use_root(root, 0); }
static void call_host(void) { __asm__ volatile("out %%al, $0x10" ::"a"(0)); }
__asm__(".section .text.start\n.globl _start\n_start: lea stack_top(%rip), %rsp\n call work\n");
#elif defined(__aarch64__)
enum { kLevels = 3, kOuterLeaf = 2 };
#define MEMORY 0x40000000ull
#define DEVICE 0x09000000ull
static uint64_t leaf(uint64_t address, int level, int device) {
  /* AF, inner shareable; attribute 0 is memory, 1 a device. */
  return address | 0x701 | (level ? 0 : 2) | (device ? 4 : 0);
}
static uint64_t table(uint64_t address) { return address | 3; }
static void use_root(uint64_t *root, uint64_t space) {
  uint64_t value = (uint64_t)root | space << 48;
  __asm__ volatile("msr ttbr0_el1, %0\n isb" ::"r"(value) : "memory");
}
static void forget(uint64_t address) {
  __asm__ volatile("dsb ishst\n tlbi vaae1is, %0\n dsb ish\n isb" ::"r"(address >> 12) : "memory");
}
static void start_translation(uint64_t *root) {
  /* TCR: T0SZ 25, write-back, inner shareable, 4 KiB, no upper half, 40 bits, A1 0. */
  uint64_t control = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2ull << 32, system;
  __asm__ volatile("msr mair_el1, %0\n msr tcr_el1, %1" ::"r"(0xffull), "r"(control));
  use_root(root, 1);
  __asm__ volatile("mrs %0, sctlr_el1" : "=r"(system));
  __asm__ volatile("msr sctlr_el1, %0\n isb" ::"r"(system | 0x1005) : "memory");
}
static void call_host(void) { *(volatile uint64_t *)DEVICE = 0; }
__asm__(".section .text.start\n.globl _start\n_start: adrp x0, stack_top\n"
        " add sp, x0, :lo12:stack_top\n bl work\n");
#else
enum { kLevels = 3, kOuterLeaf = 2 };
#define MEMORY 0x80000000ull
#define DEVICE 0x10000000ull
static uint64_t leaf(uint64_t address, int level, int device) {
  (void)level, (void)device;
  return address >> 2 | 0xcf;
}
static uint64_t table(uint64_t address) { return address >> 2 | 1; }
static void use_root(uint64_t *root, uint64_t space) {
  uint64_t value = 8ull << 60 | space << 44 | (uint64_t)root >> 12;
  __asm__ volatile("csrw satp, %0" ::"r"(value) : "memory");
}
static void forget(uint64_t address) {
  __asm__ volatile("sfence.vma %0, zero" ::"r"(address) : "memory");
}
static void start_translation(uint64_t *root) {
  use_root(root, 1);
  __asm__ volatile("sfence.vma" ::: "memory");
}
static void call_host(void) { *(volatile uint64_t *)DEVICE = 0; }
__asm__(".section .text.start\n.globl _start\n_start: la sp, stack_top\n call work\n");
#endif

#define DATA_FRAMES (MEMORY + 0x1000000)

static uint64_t tables[kTables][kEntries] __attribute__((aligned(4096)));
static unsigned tables_used;
uint8_t stack[8192] __attribute__((aligned(16)));
__asm__(".globl stack_top\n.set stack_top, stack + 8192\n");

static uint64_t *new_table(void) { return tables[tables_used++]; }

static uint64_t *below(uint64_t *from, unsigned index) {
  if (!from[index]) from[index] = table((uint64_t)new_table());
#if defined(__riscv)
  return (uint64_t *)(from[index] >> 10 << 12);
#else
  return (uint64_t *)(from[index] & 0xfffffffff000);
#endif
}

/* Leaf level 0 is 4 KiB, 1 is 2 MiB, 2 is 1 GiB. */
static void map(uint64_t *root, uint64_t address, uint64_t frame, int leaf_level, int device) {
  uint64_t *at = root;
  for (int level = kLevels - 1; level > leaf_level; --level) {
    at = below(at, address >> (12 + 9 * level) & (kEntries - 1));
  }
  at[address >> (12 + 9 * leaf_level) & (kEntries - 1)] = leaf(frame, leaf_level, device);
}

/* Pages and frames in an order that is a bijection and no stride. */
static uint64_t scrambled(uint64_t page, uint64_t step) { return (page * step + 77) % kPages; }

static uint64_t *new_space(uint64_t step) {
  uint64_t *root = new_table();
  map(root, MEMORY, MEMORY, kOuterLeaf, 0);
  if (DEVICE != MEMORY) map(root, DEVICE & ~(PAGE - 1), DEVICE & ~(PAGE - 1), 0, 1);
  for (uint64_t page = 0; page < kPages; ++page) {
    map(root, SMALL_PAGES + page * PAGE, DATA_FRAMES + scrambled(page, step) * PAGE, 0, 0);
  }
  for (uint64_t at = 0; at < kPages * PAGE; at += 512 * PAGE) {
    map(root, LARGE_PAGES + at, DATA_FRAMES + at, 1, 0);
  }
  return root;
}

static volatile uint64_t *word(uint64_t base, uint64_t index) {
  return (volatile uint64_t *)(base + index * 8);
}

static uint64_t next_random(uint64_t state) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^ state << 17;
}

/* Each page holds the place of another one; following them visits all (a full-period LCG). */
static uint64_t link_of(uint64_t page) {
  uint64_t next = (page * 1021 + 331) % kPages;
  return SMALL_PAGES + next * PAGE + next % 64 * 64;
}

static void touch_all(void) {
  for (uint64_t page = 0; page < kPages; ++page) {
    *(volatile uint64_t *)(SMALL_PAGES + page * PAGE + page % 64 * 64) = link_of(page);
  }
}

/* Three loads to a store. It leaves the links alone: they are the first words of lines. */
static uint64_t go_random(uint64_t base, uint64_t count, uint64_t state) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; ++i) {
    state = next_random(state);
    volatile uint64_t *at = word(base, state % (kPages * PAGE / 8) | 1);
    if (i % 4 == 3) *at = sum;
    if (i % 4 != 3) sum += *at;
  }
  return sum;
}

static uint64_t chase(uint64_t count) {
  uint64_t at = SMALL_PAGES;
  while (count--) at = *(volatile uint64_t *)at;
  return at;
}

static void switch_between(uint64_t *first, uint64_t *second) {
  for (uint64_t round = 0; round < kRounds; ++round) {
    use_root(round % 2 ? first : second, 1 + round % 2);
    for (uint64_t page = 0; page < 512; ++page) *word(SMALL_PAGES + page * PAGE, 1 + round % 7);
    forget(SMALL_PAGES + round * PAGE);
  }
}

static void spin(uint64_t rounds) {
  while (rounds--) __asm__ volatile("");
}

void work(void) {
  uint64_t *first = new_space(4097), *second = new_space(2049);
  start_translation(first);
  MARK(1);
  spin(kSettle); /* the recording begins a few blocks of code later */
  MARK(2);
  touch_all();
  MARK(3);
  go_random(SMALL_PAGES, 250000, 88172645463325252);
  MARK(4);
  chase(200000);
  MARK(5);
  go_random(LARGE_PAGES, 100000, 362436069);
  MARK(6);
  switch_between(first, second);
  MARK(0);
  spin(kSpins); /* the recorder wants to find the guest running */
  for (;;) call_host();
}
