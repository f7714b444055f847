// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

#include <stdio.h>
#include <string.h>

#include "isa.h"
#include "symbols.h"

enum { kRax, kRcx, kRdx, kRsi, kRdi, kRsp, kCr3 };
static const char *const names[] = {"rax", "rcx", "rdx", "rsi", "rdi", "rsp", "cr3", NULL};

// AMD APM volume 2, appendix B: offsets in the control block.
enum { kAsid = 0x58, kTlbControl = 0x5c, kExitCode = 0x70, kExitInfo1 = 0x78, kExitInfo2 = 0x80,
       kNestedPaging = 0x90, kNestedCr3 = 0xb0, kNestedPageFault = 0x400 };
static const uint64_t kAddress = UINT64_C(0xffffffffff000);

static struct {
  uint64_t control_block, host_cr3, exit;
} processors[kMostProcessors];

static bool table(uint64_t entry, int level, uint64_t *address) {
  *address = entry & kAddress;
  return level > 0 && (entry & 1) && !(entry & 0x80);
}
static bool leaf(uint64_t entry, int level, uint64_t *address) {
  *address = entry & kAddress;
  return (entry & 1) && (level == 0 || (entry & 0x80));
}

static uint64_t field(uint64_t block, unsigned at) {
  const uint64_t *const value = tables_memory(block + at);
  return value ? *value : 0;
}

static bool is_hypervisor(unsigned processor, uint64_t block) {
  if (!(block >> 63)) return false;
  // A guest is left behind VMRUN, with the host's CR3; nothing else of the host's runs before.
  return !is_in_guest(processor) || (block == processors[processor].exit &&
                                     read_register(processor, kCr3) == processors[processor].host_cr3);
}

static bool uses_task_stack(unsigned processor) {
  (void)processor;
  return true;
}
static bool may_store(const struct instruction *i) {
  (void)i;
  return true;
}
// RET, or a jump to the kernel's thunk for it.
static bool is_return(const struct instruction *i) {
  if (i->bytes[0] == 0xc3) return true;
  static uint64_t thunk;
  uint64_t end;
  if (!thunk) thunk = symbols_find("__x86_return_thunk", &end);
  if (i->bytes[0] != 0xe9 || i->size != 5 || !thunk) return false;
  int32_t distance;
  memcpy(&distance, i->bytes + 1, sizeof distance);
  return i->address + 5 + (uint64_t)(int64_t)distance == thunk;
}

static bool is_vmrun(const struct instruction *i) {
  return i->size == 3 && i->bytes[0] == 0x0f && i->bytes[1] == 0x01 && i->bytes[2] == 0xd8;
}
static bool is_invlpga(const struct instruction *i) {
  return i->size == 3 && i->bytes[0] == 0x0f && i->bytes[1] == 0x01 && i->bytes[2] == 0xdf;
}
static bool is_watched(const struct instruction *i) { return is_vmrun(i) || is_invlpga(i); }

static void executed(unsigned processor, const struct site *site) {
  const uint64_t block = read_register(processor, kRax);
  if (site->word >> 16 == 0xdf) {
    return fenced(processor, 0, site->address, "invlpga 0x%x, 0x%lx",
                  (unsigned)read_register(processor, kRcx), (unsigned long)block);
  }
  if (!tables_memory(block) || !(field(block, kNestedPaging) & 1)) return;
  const uint64_t word = field(block, kAsid);
  const unsigned asid = (unsigned)word, control = word >> 32 & 7;
  const struct guest guest = {.root = field(block, kNestedCr3) & kAddress,
                              .levels = 4,
                              .pages = 1,
                              .tag = asid,
                              .owner = block,
                              .format = "npt levels=4 no-flush-by-asid"};
  char flush[64] = "";
  if (control == 1) snprintf(flush, sizeof flush, "vmrun tlb_control=1");
  if (control > 1) snprintf(flush, sizeof flush, "vmrun tlb_control=%u, %u", control, asid);
  processors[processor].control_block = block;
  processors[processor].exit = site->address + 3;
  processors[processor].host_cr3 = read_register(processor, kCr3);
  root_loaded(processor, &guest, site->address);
  guest_entered(processor, &guest, control ? flush : NULL, site->address);
}

static struct fault why_left(unsigned processor, uint64_t block) {
  (void)block;
  const uint64_t at = processors[processor].control_block;
  struct fault fault = {false, 0, ""};
  if (field(at, kExitCode) != kNestedPageFault) return fault;
  const uint64_t info = field(at, kExitInfo1);
  // Bit 32: of the final address; clear, the walk of the guest's tables.
  const char *access = info & 2 ? "write" : info & 16 ? "execute" : "read";
  return (struct fault){true, field(at, kExitInfo2), info >> 32 & 1 ? access : ""};
}

const struct isa x86_64 = {.target = "x86_64",
                           .registers = names,
                           .stack = kRsp,
                           .arguments = {kRdi, kRsi, kRdx},
                           .format = {table, leaf},
                           .is_hypervisor = is_hypervisor,
                           .uses_task_stack = uses_task_stack,
                           .may_store = may_store,
                           .is_return = is_return,
                           .is_watched = is_watched,
                           .executed = executed,
                           .why_left = why_left};
