// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// Writes down what a hypervisor does to its second-stage tables, as a fence log
// (models/checker/LOG.md).
//
// Only blocks of the hypervisor are instrumented: guests and programs run at full speed. One lock
// makes an order of what several processors do.

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "isa.h"
#include "symbols.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 4;
QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv);

enum { kMostGuests = 4096, kMostHooks = 64, kMostCalls = 256, kSiteBytes = 160 };

/// Fair: a processor that faults again and again would keep others from what ends that.
static atomic_uint ticket, served;
static int take_lock(void) {
  const unsigned mine = atomic_fetch_add(&ticket, 1);
  while (atomic_load(&served) != mine) sched_yield();
  return 0;
}
static void unlock(const int *held) {
  (void)held;
  atomic_fetch_add(&served, 1);
}
#define HOLD_LOCK const int held __attribute__((cleanup(unlock), unused)) = take_lock()

static const struct isa *isa;
static struct log out;
static uint64_t vmemmap;
static struct qemu_plugin_register *handles[kMostProcessors][kMostRegisters];
static GByteArray *value;
static qemu_plugin_u64 guest_flag;

static struct {
  uint32_t vm;  // that it is in; 0: none
  enum wait stores, fences;  // that no barrier waited for yet
  uint64_t task;        // that the log knows
} processors[kMostProcessors];
/// A block is translated by the thread that runs it, and each processor has a thread.
static __thread unsigned this_processor;

uint64_t read_register(unsigned processor, int number) {
  struct qemu_plugin_register *const handle = handles[processor][number];
  if (!handle) return 0;
  uint64_t read = 0;
  g_byte_array_set_size(value, 0);
  const int bytes = qemu_plugin_read_register(handle, value);
  if (bytes > 0) memcpy(&read, value->data, bytes < 8 ? (size_t)bytes : 8);
  return read;
}

bool is_in_guest(unsigned processor) { return processors[processor].vm != 0; }

bool wait_for(unsigned processor, enum wait reach, bool stores_alone) {
  enum wait *const stores = &processors[processor].stores;
  enum wait *const fences = &processors[processor].fences;
  // What is for this processor alone is done; what others have to see, they do not yet.
  const bool own = reach == kWaitHere;
  const bool any_stores = own ? *stores == kWaitHere : *stores != kWaitNothing;
  const bool any_fences =
      !stores_alone && (own ? *fences == kWaitHere : *fences != kWaitNothing);
  if (any_stores) *stores = own ? kWaitElsewhere : kWaitNothing;
  if (any_fences) *fences = kWaitNothing;
  return any_stores || any_fences;
}
void fence_waits(unsigned processor, enum wait reach) { processors[processor].fences = reach; }

static void describe(uint64_t address, char text[kSiteBytes]) {
  symbols_describe(address, text, kSiteBytes);
}

// Operations ------------------------------------------------------------------------------------

/// What the call of a function means.
enum meaning { kOperation, kEndOfGuests, kPagesFreed };
static const char *const meanings[] = {"operation", "end-of-guests", "pages-freed"};
static struct hook {
  char name[64];
  enum meaning meaning;
  uint64_t start, end;
} hooks[kMostHooks];
static unsigned hook_count;

/// Operations that did not return yet, on any stack.
static struct call {
  const struct hook *hook;
  uint64_t stack;
  bool told;  // most of them change nothing, and are not told
} calls[kMostCalls], *calls_end = calls;  // those before it are looked at

/// The task: kernel stacks are of 16 KiB, aligned, on all three architectures.
static uint64_t task_of(uint64_t stack) { return stack >> 14; }

static void tell_task(unsigned processor, uint64_t task) {
  if (task == processors[processor].task) return;
  processors[processor].task = task;
  log_line(&out, processor, "task 0x%" PRIx64, task);
}

/// Tells of the operations that it is in, the outermost first. Stacks grow downwards.
static void tell_operations(unsigned processor) {
  if (!isa->uses_task_stack(processor)) return;
  const uint64_t task = task_of(read_register(processor, isa->stack));
  tell_task(processor, task);
  for (;;) {
    struct call *next = NULL;
    for (struct call *each = calls; each != calls_end; ++each) {
      if (!each->hook || each->told || task_of(each->stack) != task) continue;
      if (!next || each->stack > next->stack) next = each;
    }
    if (!next) return;
    next->told = true;
    log_line(&out, processor, "begin %s", next->hook->name);
  }
}

static void close_call(unsigned processor, struct call *call) {
  call->hook = NULL;
  if (!call->told) return;
  tell_task(processor, task_of(call->stack));
  log_line(&out, processor, "end");
}

static void operation_called(unsigned processor, const struct hook *hook) {
  const uint64_t stack = read_register(processor, isa->stack);
  struct call *room = NULL;
  for (struct call *each = calls; each != calls_end; ++each) {
    // Functions that called this one lie above it on its stack; others have returned unseen.
    const bool returned = each->hook && each->stack <= stack && task_of(each->stack) == task_of(stack);
    if (returned) close_call(processor, each);
    if (!each->hook && !room) room = each;
  }
  if (!room && calls_end != calls + kMostCalls) room = calls_end++;
  if (room) *room = (struct call){hook, stack, false};
}

// Guests ----------------------------------------------------------------------------------------

/// A VM of the log: a guest, or one of its tags.
static struct known {
  uint64_t root, owner, tag;
  uint32_t vm;         // 0: it was not told of, or ended
  unsigned processor;  // that the tag is of, where tags are a processor's
} guests[kMostGuests];
static unsigned guest_count;
static uint32_t vm_count;

static uint64_t owner_of(const struct guest *guest) {
  return guest->owner ? guest->owner : guest->root;
}

static struct known *find(uint64_t owner) {
  for (unsigned n = guest_count; n-- != 0;) {
    if (guests[n].owner == owner) return &guests[n];
  }
  return NULL;
}

uint64_t owner_of_tag(uint64_t tag) {
  for (unsigned n = guest_count; n-- != 0;) {
    if (guests[n].vm && guests[n].tag == tag) return guests[n].owner;
  }
  return 0;
}

void root_loaded(unsigned processor, const struct guest *guest, uint64_t address) {
  if (tables_is_followed(guest->root)) return;
  char site[kSiteBytes];
  describe(address, site);
  tables_follow(processor, guest->root, guest->levels, guest->pages, site);
}

static void end(unsigned processor, struct known *known) {
  if (known->vm) log_line(&out, processor, "destroy %u", known->vm);
  known->vm = 0;
}

void guest_entered(unsigned processor, const struct guest *guest, const char *flush,
                   uint64_t address) {
  root_loaded(processor, guest, address);
  struct known *known = find(owner_of(guest));
  if (!known) {
    if (guest_count == kMostGuests) return;
    known = &guests[guest_count++];
    *known = (struct known){.owner = owner_of(guest)};
  }
  const bool own_tags = guest->owner != 0;
  if (known->vm && (known->tag != guest->tag || known->root != guest->root ||
                    (own_tags && known->processor != processor)))
    end(processor, known);
  if (!known->vm) {
    known->vm = ++vm_count;
    known->root = guest->root;
    known->tag = guest->tag;
    known->processor = processor;
    log_line(&out, processor, "vm %u %s root=0x%" PRIx64 " vmid=%u", known->vm, guest->format,
             guest->root, (unsigned)guest->tag);
  }
  char site[kSiteBytes];
  describe(address, site);
  // The task is the vCPU.
  tell_operations(processor);
  if (flush) log_line(&out, processor, "fence - %s @%s", flush, site);
  log_line(&out, processor, "enter %u", known->vm);
  processors[processor].vm = known->vm;
  qemu_plugin_u64_set(guest_flag, processor, 1);
}

static void on_left(unsigned processor, void *block) {
  HOLD_LOCK;
  const uint32_t vm = processors[processor].vm;
  if (!vm) return;
  const struct fault fault = isa->why_left(processor, (uint64_t)block);
  if (fault.is_fault)
    log_line(&out, processor, "fault %u 0x%" PRIx64 "%s%s", vm, fault.address,
             fault.access[0] ? " " : "", fault.access);
  log_line(&out, processor, "exit %u", vm);
  processors[processor].vm = 0;
  qemu_plugin_u64_set(guest_flag, processor, 0);
}

void fenced(unsigned processor, uint64_t owner, uint64_t address, const char *format, ...) {
  char text[128], site[kSiteBytes];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  describe(address, site);
  tell_operations(processor);
  const struct known *const known = owner ? find(owner) : NULL;
  if (known && known->vm)
    log_line(&out, processor, "fence %u %s @%s", known->vm, text, site);
  else
    log_line(&out, processor, "fence - %s @%s", text, site);
}

static void on_store(unsigned processor, qemu_plugin_meminfo_t info, uint64_t address, void *at) {
  struct qemu_plugin_hwaddr *const where = qemu_plugin_get_hwaddr(info, address);
  if (!where || qemu_plugin_hwaddr_is_io(where)) return;
  const uint64_t physical = qemu_plugin_hwaddr_phys_addr(where);
  if (!tables_is_table(physical)) return;
  HOLD_LOCK;
  char site[kSiteBytes];
  describe((uint64_t)at, site);
  tell_operations(processor);
  const uint64_t bytes = UINT64_C(1) << qemu_plugin_mem_size_shift(info);
  if (tables_stored(processor, physical, bytes, site)) processors[processor].stores = kWaitHere;
}

// Functions -------------------------------------------------------------------------------------

static void pages_freed(unsigned processor) {
  const uint64_t page = read_register(processor, isa->arguments[1]);
  const unsigned order = (unsigned)read_register(processor, isa->arguments[2]);
  // struct page has 64 bytes.
  const uint64_t first = (page - vmemmap) / 64 << 12, bytes = UINT64_C(4096) << order;
  if (!tables_are_used(first, bytes)) return;
  tell_operations(processor);
  tables_freed(processor, first, bytes);
}

static void end_of_guests(unsigned processor) {
  for (unsigned n = 0; n < guest_count; ++n) end(processor, &guests[n]);
}

static void on_call(unsigned processor, void *called) {
  HOLD_LOCK;
  const struct hook *const hook = called;
  switch (hook->meaning) {
    case kOperation:
      return operation_called(processor, hook);
    case kEndOfGuests:
      return end_of_guests(processor);
    case kPagesFreed:
      return pages_freed(processor);
  }
}

static void on_return(unsigned processor, void *hook) {
  HOLD_LOCK;
  const uint64_t stack = read_register(processor, isa->stack);
  for (struct call *each = calls; each != calls_end; ++each) {
    if (each->hook == hook && each->stack == stack) return close_call(processor, each);
  }
}

/// The log ends, and so does what runs.
static void close_calls(void) {
  for (struct call *each = calls; each != calls_end; ++each) {
    if (each->hook) close_call(0, each);
  }
}

// Blocks ----------------------------------------------------------------------------------------

static void on_watched(unsigned processor, void *site) {
  HOLD_LOCK;
  isa->executed(processor, site);
}

static struct site *site_of(const struct instruction *i) {
  struct site *const site = malloc(sizeof *site);
  if (!site) abort();
  *site = (struct site){i->address, i->word};
  return site;
}

static void instrument(struct qemu_plugin_insn *at, const struct instruction *i) {
  for (unsigned n = 0; n < hook_count; ++n) {
    struct hook *const hook = &hooks[n];
    if (hook->start == i->address)
      qemu_plugin_register_vcpu_insn_exec_cb(at, on_call, QEMU_PLUGIN_CB_R_REGS, hook);
    const bool inside = i->address - hook->start < hook->end - hook->start;
    if (hook->meaning == kOperation && inside && isa->is_return(i))
      qemu_plugin_register_vcpu_insn_exec_cb(at, on_return, QEMU_PLUGIN_CB_R_REGS, hook);
  }
  if (isa->is_watched(i))
    qemu_plugin_register_vcpu_insn_exec_cb(at, on_watched, QEMU_PLUGIN_CB_R_REGS, site_of(i));
  if (isa->may_store(i))
    qemu_plugin_register_vcpu_mem_cb(at, on_store, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_MEM_W,
                                     (void *)i->address);
}

static void on_block(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  (void)id;
  HOLD_LOCK;
  const uint64_t start = qemu_plugin_tb_vaddr(block);
  if (!isa->is_hypervisor(this_processor, start)) return;
  qemu_plugin_register_vcpu_tb_exec_cond_cb(block, on_left, QEMU_PLUGIN_CB_R_REGS,
                                            QEMU_PLUGIN_COND_NE, guest_flag, 0, (void *)start);
  const size_t count = qemu_plugin_tb_n_insns(block);
  for (size_t n = 0; n < count; ++n) {
    struct qemu_plugin_insn *const at = qemu_plugin_tb_get_insn(block, n);
    uint8_t bytes[16] = {0};
    struct instruction i = {.address = qemu_plugin_insn_vaddr(at), .bytes = bytes};
    i.size = qemu_plugin_insn_data(at, bytes, sizeof bytes);
    memcpy(&i.word, bytes, sizeof i.word);
    instrument(at, &i);
  }
}

static void on_processor(qemu_plugin_id_t id, unsigned processor) {
  (void)id;
  HOLD_LOCK;
  this_processor = processor;
  if (processor >= kMostProcessors) return;
  GArray *const all = qemu_plugin_get_registers();
  const qemu_plugin_reg_descriptor *const registers = (const void *)all->data;
  for (unsigned number = 0; isa->registers[number]; ++number) {
    for (unsigned n = 0; n < all->len; ++n) {
      if (!strcmp(registers[n].name, isa->registers[number]))
        handles[processor][number] = registers[n].handle;
    }
    if (!handles[processor][number] && processor == 0)
      fprintf(stderr, "the emulator has no register %s\n", isa->registers[number]);
  }
}

static void on_end(qemu_plugin_id_t id, void *unused) {
  (void)id;
  (void)unused;
  HOLD_LOCK;
  close_calls();
  // Other processors may go on until the emulator is gone.
  if (!freopen("/dev/null", "w", out.file)) abort();
}

// Begin -----------------------------------------------------------------------------------------

static bool read_hooks(const char *path) {
  FILE *const file = fopen(path, "r");
  char meaning[32];
  while (file && hook_count < kMostHooks) {
    struct hook *const hook = &hooks[hook_count];
    if (fscanf(file, "%31s %63s", meaning, hook->name) != 2) break;
    unsigned n = 0;
    while (n < 3 && strcmp(meaning, meanings[n]) != 0) ++n;
    if (n == 3) return false;
    hook->meaning = (enum meaning)n;
    hook->start = symbols_find(hook->name, &hook->end);
    if (hook->start) ++hook_count;
  }
  return file && fclose(file) == 0;
}

static uint64_t *map(const char *path, uint64_t bytes) {
  const int file = open(path, O_RDONLY);
  if (file < 0) return NULL;
  void *const at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  return at == MAP_FAILED ? NULL : at;
}

static const char *text_of(int argc, char **argv, const char *name) {
  const size_t length = strlen(name);
  for (int n = 0; n < argc; ++n) {
    if (!strncmp(argv[n], name, length) && argv[n][length] == '=') return argv[n] + length + 1;
  }
  return "";
}
static uint64_t number_of(int argc, char **argv, const char *name) {
  return strtoull(text_of(argc, argv, name), NULL, 0);
}

static bool fail(const char *what) {
  perror(what);
  return false;
}

static bool begin(const qemu_info_t *info, int argc, char **argv) {
  static const struct isa *const all[] = {&aarch64, &riscv64, &x86_64};
  for (unsigned n = 0; n < 3; ++n) {
    if (!strcmp(all[n]->target, info->target_name)) isa = all[n];
  }
  if (!isa) return false;
  vmemmap = number_of(argc, argv, "vmemmap");
  const uint64_t bytes = number_of(argc, argv, "memory_bytes");
  uint64_t *const memory = map(text_of(argc, argv, "memory"), bytes);
  if (!memory) return fail("memory");
  const char *const symbols = text_of(argc, argv, "symbols");
  if (symbols[0]) symbols_read(symbols);
  const char *const functions = text_of(argc, argv, "hooks");
  if (functions[0] && !read_hooks(functions)) return fail("hooks");
  out.file = fopen(text_of(argc, argv, "out"), "w");
  if (!out.file) return fail("out");
  setvbuf(out.file, NULL, _IOFBF, 1 << 20);
  fputs("nestwalk-fence-log 1\n", out.file);
  tables_init(&out, &isa->format, memory, number_of(argc, argv, "memory_base"), bytes);
  return true;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  if (!begin(info, argc, argv)) return 1;
  value = g_byte_array_new();
  guest_flag = (qemu_plugin_u64){qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0};
  qemu_plugin_register_vcpu_init_cb(id, on_processor);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
  qemu_plugin_register_atexit_cb(id, on_end, NULL);
  return 0;
}
