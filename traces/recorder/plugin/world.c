/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "world.h"

/* How guests are entered and left, by architecture:
   x86-64   vmrun enters; #VMEXIT continues behind it.
   RISC-V   KVM enters with an sret, and has pointed stvec behind it before (at the next multiple of
            four). It is learnt the first time that the code behind an sret runs at once after it:
            the guest's first fetch faults, for nothing of a new guest is mapped yet.
   AArch64  KVM without VHE runs at EL2 in the lower half of the addresses, and enters with an eret.
            That, too, is learnt from the first fetch, which faults into the EL2 vectors. */

enum { kVectorTable = 0x800, kFromLowerLevel = 0x400 };

static bool same(struct place a, struct place b) {
  return a.address == b.address && a.physical == b.physical;
}

static bool lower_half(uint64_t address) { return address >> 63 == 0; }

static uint64_t vector_table(uint64_t address) { return address & ~(uint64_t)(kVectorTable - 1); }

/* One of the four vectors, 128 bytes apart, for exceptions from a lower level in AArch64 state. */
static bool is_vector(uint64_t address) {
  uint64_t offset = address & (kVectorTable - 1);
  return offset >= kFromLowerLevel && offset < kFromLowerLevel + 0x200 && offset % 0x80 == 0;
}

static bool leaves(const struct world *world, enum architecture architecture, struct place block) {
  if (architecture != ARCH_AARCH64) return same(block, world->exit);
  return is_vector(block.address) && vector_table(block.address) == world->exit.address;
}

static bool teaches(const struct world *world, enum architecture architecture, struct place block) {
  if (!world->returned) return false;
  if (architecture == ARCH_RISCV64) return block.address == ((world->behind_return + 3) & ~3ull);
  return architecture == ARCH_AARCH64 && lower_half(world->last_return.address) &&
         lower_half(block.address) && is_vector(block.address);
}

static void learn(struct world *world, enum architecture architecture, struct place block) {
  world->entry = world->last_return;
  world->exit = block;
  if (architecture == ARCH_AARCH64) world->exit.address = vector_table(block.address);
}

enum world_change world_on_operation(struct world *world, enum architecture architecture,
                                     const struct operation *operation) {
  struct place here = {operation->address, operation->physical};
  if (operation->kind == OPERATION_GUEST_ENTRY && architecture == ARCH_X86_64) {
    uint64_t length = operation->next - operation->address;
    world->exit = (struct place){operation->next, operation->physical + length};
  } else if (operation->kind != OPERATION_RETURN || !same(here, world->entry)) {
    world->returned = operation->kind == OPERATION_RETURN;
    world->last_return = here;
    world->behind_return = operation->next;
    return WORLD_SAME;
  }
  world->in_guest = true;
  return WORLD_ENTERED;
}

enum world_change world_on_block(struct world *world, enum architecture architecture,
                                 struct place block) {
  if (world->in_guest) {
    if (!leaves(world, architecture, block)) return WORLD_SAME;
    world->in_guest = false;
    return WORLD_LEFT;
  }
  bool news = teaches(world, architecture, block);
  world->returned = false;
  if (!news) return WORLD_SAME;
  learn(world, architecture, block);
  return WORLD_ENTERED_AND_LEFT;
}
