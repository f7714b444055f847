/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The adapter to version 1 of QEMU's plugin interface (QEMU 6.0 to 8.2; written for 7.2). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "guest_memory.h"
#include "qemu_api1.h"
#include "recorder.h"

int qemu_plugin_version = 1;

static struct settings settings;

/* ---- what the guest does ---- */

static void on_block(unsigned vcpu, void *block) { recorder_on_block(vcpu, block); }

static void on_operation(unsigned vcpu, void *operation) {
  recorder_on_operation(vcpu, operation);
}

static void after_operation(unsigned vcpu, void *unused) {
  (void)unused;
  recorder_after_operation(vcpu);
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *position) {
  if (!recorder_wants_accesses(vcpu)) return;
  struct access access = {
      .class = qemu_plugin_mem_is_store(info) ? ACCESS_WRITE : ACCESS_READ,
      .bytes = 1u << qemu_plugin_mem_size_shift(info),
      .address = address,
  };
  /* None in user mode. */
  struct qemu_plugin_hwaddr *physical = qemu_plugin_get_hwaddr(info, address);
  if (physical) {
    access.physical = qemu_plugin_hwaddr_phys_addr(physical);
    /* Of ROM, QEMU says where it keeps it, which is no address of the guest. */
    access.frame_kind = qemu_plugin_hwaddr_is_io(physical) ? FRAME_DEVICE
                        : guest_memory_has(access.physical) ? FRAME_MEMORY
                                                            : FRAME_NONE;
  }
  recorder_on_access(vcpu, (uint32_t)(uintptr_t)position, &access);
}

/* ---- translation ---- */

static struct instruction describe(struct qemu_plugin_insn *insn) {
  struct instruction instruction = {
      .bytes = qemu_plugin_insn_data(insn),
      .size = (uint32_t)qemu_plugin_insn_size(insn),
      .address = qemu_plugin_insn_vaddr(insn),
  };
  if (guest_memory_address(qemu_plugin_insn_haddr(insn), &instruction.physical)) {
    instruction.frame_kind = FRAME_MEMORY;
  }
  return instruction;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  struct block *block = recorder_new_block();
  bool behind_operation = false;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    struct instruction instruction = describe(insn);
    const struct operation *operation = recorder_operation_of(block, &instruction);
    if (behind_operation) {
      qemu_plugin_register_vcpu_insn_exec_cb(insn, after_operation, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    if (operation) {
      qemu_plugin_register_vcpu_insn_exec_cb(insn, on_operation, QEMU_PLUGIN_CB_NO_REGS,
                                             (void *)operation);
    }
    qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                     (void *)(uintptr_t)i);
    recorder_add_instruction(block, &instruction);
    behind_operation = operation != NULL;
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void on_flush(qemu_plugin_id_t id) {
  (void)id;
  recorder_forget_blocks();
}

/* ---- registers ----
   Version 1 has no way to read them. A QEMU that is built with loadable modules, as Debian's is,
   exports the function behind the monitor's `info registers`; its text holds them all. */

static void *(*cpu_of_index)(int);
static void (*dump_cpu)(void *, FILE *, int);

static void find_register_access(void) {
  *(void **)&cpu_of_index = dlsym(RTLD_DEFAULT, "qemu_get_cpu");
  *(void **)&dump_cpu = dlsym(RTLD_DEFAULT, "cpu_dump_state");
}

/* How the dump calls a register, up to its value. */
static void register_label(unsigned number, char *label, size_t size) {
  static const char *const x86[] = {"RAX=", "RCX=", "RDX=", "RBX=", "RSP=", "RBP=",
                                    "RSI=", "RDI=", "R8 =", "R9 ="};
  if (settings.architecture == ARCH_X86_64 && number < sizeof x86 / sizeof x86[0]) {
    snprintf(label, size, "%s", x86[number]);
  } else if (settings.architecture == ARCH_RISCV64) {
    snprintf(label, size, " x%u/", number);
  } else {
    snprintf(label, size, settings.architecture == ARCH_X86_64 ? "R%u=" : "X%02u=", number);
  }
}

static bool find_value(const char *dump, const char *label, uint64_t *value) {
  const char *at = strstr(dump, label);
  if (!at) return false;
  at += strlen(label);
  if (label[strlen(label) - 1] == '/') at += strcspn(at, " "); /* x10/a0 */
  return sscanf(at, " %" SCNx64, value) == 1;
}

bool emulator_read_register(unsigned vcpu, unsigned number, uint64_t *value) {
  void *cpu = cpu_of_index && dump_cpu ? cpu_of_index((int)vcpu) : NULL;
  if (!cpu) return false;
  char *dump = NULL, label[8];
  size_t bytes = 0;
  FILE *text = open_memstream(&dump, &bytes);
  if (!text) return false;
  dump_cpu(cpu, text, 0);
  fclose(text);
  register_label(number, label, sizeof label);
  bool found = find_value(dump, label, value);
  /* 32-bit code has EAX. */
  if (!found && label[0] == 'R') {
    label[0] = 'E';
    found = find_value(dump, label, value);
  }
  free(dump);
  return found;
}

/* ---- begin and end ---- */

static enum architecture architecture_of(const char *target) {
  if (strcmp(target, "x86_64") == 0) return ARCH_X86_64;
  if (strcmp(target, "aarch64") == 0) return ARCH_AARCH64;
  return strcmp(target, "riscv64") == 0 ? ARCH_RISCV64 : ARCH_UNKNOWN;
}

static void on_exit_of_emulator(qemu_plugin_id_t id, void *unused) {
  (void)id;
  (void)unused;
  recorder_finish();
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  settings.architecture = architecture_of(info->target_name);
  settings.system = info->system_emulation;
  settings.vcpus = settings.system ? (uint32_t)info->system.max_vcpus : 1;
  if (settings.architecture == ARCH_UNKNOWN) {
    fprintf(stderr, "nestwalk-record: no recordings of %s, only of x86_64, aarch64 and riscv64\n",
            info->target_name);
    return -1;
  }
  if (!parse_arguments(argc, argv, &settings)) return -1;
  if (settings.system) find_register_access();
  guest_memory_describe(settings.memory_file, settings.memory_base, settings.memory_bytes);
  if (!recorder_start(&settings)) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_flush_cb(id, on_flush);
  qemu_plugin_register_atexit_cb(id, on_exit_of_emulator, NULL);
  return 0;
}
