// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// What differs by architecture: registers, instructions, how a guest is entered and left.
#pragma once

#include "qemu_api4.h"
#include "tables.h"

enum { kMostProcessors = 64, kMostRegisters = 64 };

/// An instruction of the hypervisor's that is called back for.
struct site {
  uint64_t address;
  uint32_t word;
};

struct instruction {
  uint64_t address;
  const uint8_t *bytes;
  size_t size;
  uint32_t word;
};

/// Why a guest was left.
struct fault {
  bool is_fault;
  uint64_t address;
  const char *access;  // "read", "write", "execute"; "" if it is not known
};

struct isa {
  const char *target;            // QEMU's name of the machine
  const char *const *registers;  // names by number; NULL ends them
  int stack;                     // which of them; arguments of a call
  int arguments[3];
  struct entry_format format;
  /// Is the block, about to be translated, the hypervisor's?
  bool (*is_hypervisor)(unsigned processor, uint64_t block);
  /// Does the operation at hand belong to the task whose stack the processor uses?
  bool (*uses_task_stack)(unsigned processor);
  bool (*may_store)(const struct instruction *);
  bool (*is_return)(const struct instruction *);
  /// Before these, executed() is called.
  bool (*is_watched)(const struct instruction *);
  void (*executed)(unsigned processor, const struct site *);
  struct fault (*why_left)(unsigned processor, uint64_t block);
};
extern const struct isa aarch64, riscv64, x86_64;

// What they call: watch.c.

uint64_t read_register(unsigned processor, int number);
bool is_in_guest(unsigned processor);
/// A guest's tables, as its root register has them. `format` is the log's, with all properties but
/// root and vmid.
struct guest {
  uint64_t root;
  int levels;
  unsigned pages;
  uint64_t tag;
  uint64_t owner;  // of the tag; 0: the root. SVM: the control block
  const char *format;
};
/// A root register was written: its tables are followed.
void root_loaded(unsigned processor, const struct guest *guest, uint64_t address);
/// The processor enters it now. `flush`: a fence that the entry is, or NULL.
void guest_entered(unsigned processor, const struct guest *guest, const char *flush,
                   uint64_t address);
/// Of the guest that has this tag now; 0 if there is none.
uint64_t owner_of_tag(uint64_t tag);
/// Of the guest that a root register has; "-" if it never ran. By `owner`.
void fenced(unsigned processor, uint64_t owner, uint64_t address, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/// AArch64: by whom a store or fence is not seen yet: by its own processor neither, or by others.
enum wait { kWaitNothing, kWaitElsewhere, kWaitHere };
/// A barrier: does a store or fence of this processor wait for it?
bool wait_for(unsigned processor, enum wait reach, bool stores_alone);
/// A fence for this processor alone, or for all.
void fence_waits(unsigned processor, enum wait reach);
