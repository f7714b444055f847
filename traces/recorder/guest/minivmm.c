/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: Apache-2.0 */

/* minivmm GUEST.elf: runs a guest on one virtual processor of KVM, until it talks to a device.
   64 MiB of memory in 4 KiB pages, from where the guest's architecture has its memory. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kMemoryBytes = 64 << 20 };

#if defined(__x86_64__)
#define MEMORY 0x0ull
#elif defined(__aarch64__)
#define MEMORY 0x40000000ull
#else
#define MEMORY 0x80000000ull
#endif

static void fail(const char *what) {
  fprintf(stderr, "minivmm: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int checked(int result, const char *what) {
  if (result < 0) fail(what);
  return result;
}

/* Small pages, so that the second stage is a table of 4 KiB leaves. */
static uint8_t *new_memory(int machine) {
  uint8_t *memory = mmap(NULL, kMemoryBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("memory");
  madvise(memory, kMemoryBytes, MADV_NOHUGEPAGE);
  struct kvm_userspace_memory_region region = {
      .guest_phys_addr = MEMORY,
      .memory_size = kMemoryBytes,
      .userspace_addr = (uint64_t)memory,
  };
  checked(ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  return memory;
}

static void read_all(int file, void *to, size_t bytes, off_t from) {
  if (pread(file, to, bytes, from) != (ssize_t)bytes) fail("the guest's file");
}

/* Loads the segments; returns where the guest starts. */
static uint64_t load(const char *path, uint8_t *memory) {
  int file = checked(open(path, O_RDONLY), path);
  Elf64_Ehdr header;
  read_all(file, &header, sizeof header, 0);
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    read_all(file, &segment, sizeof segment, (off_t)(header.e_phoff + i * sizeof segment));
    if (segment.p_type != PT_LOAD) continue;
    uint64_t offset = segment.p_paddr - MEMORY;
    if (offset + segment.p_memsz > kMemoryBytes) {
      errno = EFBIG;
      fail(path);
    }
    read_all(file, memory + offset, segment.p_filesz, (off_t)segment.p_offset);
  }
  close(file);
  return header.e_entry;
}

#if defined(__x86_64__)
/* Long mode with the first GiB mapped onto itself: as a 64-bit boot protocol would leave it. */
static void set_up(int kvm, int machine, int vcpu, uint8_t *memory, uint64_t entry) {
  enum { kRoot = 0x1000, kNext = 0x2000 };
  (void)machine;
  *(uint64_t *)(memory + kRoot) = kNext | 3;
  *(uint64_t *)(memory + kNext) = 0x83;
  enum { kMaxCpuid = 100 };
  struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + kMaxCpuid * sizeof cpuid->entries[0]);
  cpuid->nent = kMaxCpuid;
  checked(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
  checked(ioctl(vcpu, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
  struct kvm_sregs special;
  checked(ioctl(vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
  struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
                             .s = 1, .l = 1, .g = 1};
  struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1,
                             .s = 1, .db = 1, .g = 1};
  special.cs = code;
  special.ds = special.es = special.fs = special.gs = special.ss = data;
  special.cr3 = kRoot;
  special.cr4 = 0x20;       /* PAE */
  special.cr0 = 0x80050033; /* PG, AM, WP, NE, ET, MP, PE */
  special.efer = 0x500;     /* LMA, LME */
  checked(ioctl(vcpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
  struct kvm_regs registers = {.rip = entry, .rflags = 2};
  checked(ioctl(vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
}
#else
static void set_up(int kvm, int machine, int vcpu, uint8_t *memory, uint64_t entry) {
  (void)kvm, (void)machine, (void)memory;
#if defined(__aarch64__)
  struct kvm_vcpu_init target;
  checked(ioctl(machine, KVM_ARM_PREFERRED_TARGET, &target), "KVM_ARM_PREFERRED_TARGET");
  checked(ioctl(vcpu, KVM_ARM_VCPU_INIT, &target), "KVM_ARM_VCPU_INIT");
  uint64_t id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc);
#else
  uint64_t id = KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CORE |
                KVM_REG_RISCV_CORE_REG(regs.pc);
#endif
  struct kvm_one_reg pc = {.id = id, .addr = (uint64_t)&entry};
  checked(ioctl(vcpu, KVM_SET_ONE_REG, &pc), "KVM_SET_ONE_REG of the program counter");
}
#endif

/* Until the guest does what only a device would answer. */
static void run(int kvm, int vcpu) {
  int bytes = checked(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  struct kvm_run *state = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (state == MAP_FAILED) fail("the processor's state");
  do {
    if (ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR) fail("KVM_RUN");
  } while (state->exit_reason == KVM_EXIT_INTR);
  bool device = state->exit_reason == KVM_EXIT_MMIO || state->exit_reason == KVM_EXIT_IO;
  printf("minivmm: the guest %s (exit %u)\n", device ? "has finished" : "FAILED",
         state->exit_reason);
}

int main(int count, char **arguments) {
  if (count != 2) {
    fprintf(stderr, "usage: minivmm GUEST.elf\n");
    return 2;
  }
  int kvm = checked(open("/dev/kvm", O_RDWR), "/dev/kvm");
  int machine = checked(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  uint8_t *memory = new_memory(machine);
  uint64_t entry = load(arguments[1], memory);
  int vcpu = checked(ioctl(machine, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  set_up(kvm, machine, vcpu, memory, entry);
  run(kvm, vcpu);
  return 0;
}
