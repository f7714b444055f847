/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "recorder.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "guest_memory.h"
#include "region.h"
#include "tables.h"
#include "world.h"

enum { kMaxVcpus = 1024, kTableEntries = 512 };

/* Operand states of STREAM.md. */
enum { STATE_ABSENT, STATE_EXACT, STATE_UNKNOWN };

enum { MARKER_END = 0, MARKER_BEGIN = 1 };

struct vcpu {
  struct chunk *chunk;
  struct allowance allowance;
  struct world world;
  bool muted; /* it runs the hypervisor, and only guests are wanted */
  uint64_t retired;            /* instructions before the current block */
  uint32_t block_instructions; /* in the current block */
  uint32_t position;           /* in the current block, of the last access */
  bool entering;               /* the instruction that enters a guest is still at work */
  uint64_t control_block;      /* of the guest that was entered last; x86-64 */
  uint64_t nested_root;        /* of that guest */
  uint64_t exit_state;         /* a set: registers that were read since the guest was left */
  uint64_t state_page[2];      /* where that instruction keeps the guest's state and the host's */
  bool left;                   /* its guest was left behind the pending operation */
  const struct operation *pending;
  uint64_t pending_now;
  struct totals totals;
};

static struct settings settings;
static struct vcpu *vcpus[kMaxVcpus];
static pthread_mutex_t creating = PTHREAD_MUTEX_INITIALIZER;

static struct vcpu *new_vcpu(unsigned index) {
  if (index >= kMaxVcpus) {
    fprintf(stderr, "nestwalk-record: more than %d vCPUs or threads\n", kMaxVcpus);
    abort();
  }
  pthread_mutex_lock(&creating);
  if (!vcpus[index]) {
    struct vcpu *vcpu = calloc(1, sizeof *vcpu);
    if (!vcpu) abort();
    vcpu->chunk = stream_chunk(index);
    vcpu->muted = settings.guest_only;
    vcpus[index] = vcpu;
  }
  pthread_mutex_unlock(&creating);
  return vcpus[index];
}

static inline struct vcpu *vcpu_at(unsigned index) {
  if (index < kMaxVcpus && vcpus[index]) return vcpus[index];
  return new_vcpu(index);
}

static void flush_all(void) {
  for (unsigned i = 0; i < kMaxVcpus; ++i) {
    if (vcpus[i]) stream_flush(vcpus[i]->chunk);
  }
}

/* ---- page tables ---- */

static void record_event(struct vcpu *, uint64_t now, enum event_kind, const uint8_t *payload,
                         const uint8_t *end);

static uint64_t now_of(const struct vcpu *vcpu) { return vcpu->retired + vcpu->position; }

static uint8_t *put_u64(uint8_t *at, uint64_t value) {
  memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

static void on_table(void *context, enum table_stage stage, uint64_t address, unsigned level,
                     const uint64_t *entries) {
  /* Index steps take two bytes at most. */
  uint8_t payload[16 + kTableEntries * (2 + sizeof *entries)], *at = payload;
  *at++ = stage == STAGE_SECOND;
  at = put_varint(at, address);
  *at++ = (uint8_t)level;
  unsigned last = 0;
  for (unsigned i = 0; i < kTableEntries; ++i) {
    if (entries[i] == 0) continue;
    at = put_u64(put_varint(at, i - last), entries[i]);
    last = i;
  }
  struct vcpu *vcpu = context;
  record_event(vcpu, now_of(vcpu), EVENT_TABLE, payload, at);
}

static void on_entry(void *context, enum table_stage stage, uint64_t address, uint64_t value) {
  uint8_t payload[20], *at = payload;
  *at++ = stage == STAGE_SECOND;
  at = put_u64(put_varint(at, address), value);
  struct vcpu *vcpu = context;
  record_event(vcpu, now_of(vcpu), EVENT_ENTRY, payload, at);
}

/* The other side has seen these tables: they are not recorded. */
static void track(const struct tracked_register *tracked) {
  tables_describe_root(tracked->code, tracked->stage, tracked->levels, tracked->root_bits);
  tables_on_root(tracked->code, tracked->value, NULL);
}

/* ---- begin and end ---- */

bool recorder_start(const struct settings *wanted) {
  static const struct tables_listener listener = {on_table, on_entry};
  settings = *wanted;
  struct stream_header header = {
      .architecture = settings.architecture,
      .flags = (settings.system ? STREAM_SYSTEM : 0u) | (settings.fetches ? STREAM_FETCHES : 0u) |
               (settings.guest_only ? STREAM_GUEST_ONLY : 0u) |
               (settings.tables ? STREAM_TABLES : 0u) |
               (settings.ordered ? STREAM_ORDERED : 0u),
      .vcpus = settings.vcpus,
      .memory_base = settings.memory_base,
      .memory_bytes = settings.memory_bytes,
  };
  struct region_settings region = {
      .markers = settings.markers,
      .skip = settings.skip,
      .max = settings.max,
      .vcpus = settings.vcpus,
      .control = settings.control,
      .track = track,
  };
  if (settings.tables) {
    tables_start(settings.architecture, settings.guest_only ? STAGE_GUEST : STAGE_ONLY, &listener);
  }
  return stream_open(settings.out, &header) && region_start(&region);
}

static void add(struct totals *sum, const struct vcpu *vcpu) {
  const struct totals *totals = &vcpu->totals;
  sum->reads += totals->reads;
  sum->writes += totals->writes;
  sum->fetches += totals->fetches;
  sum->events += totals->events;
  sum->accesses_seen += totals->accesses_seen;
  sum->instructions += vcpu->retired + vcpu->block_instructions;
  sum->records += totals->reads + totals->writes + totals->fetches + totals->events;
}

void recorder_finish(void) {
  struct totals sum = {0};
  flush_all();
  for (unsigned i = 0; i < kMaxVcpus; ++i) {
    if (vcpus[i]) add(&sum, vcpus[i]);
  }
  stream_close(&sum);
}

/* ---- translation ---- */

struct block *recorder_new_block(void) { return arena_take(sizeof(struct block)); }

/* Continues the last piece, or begins the second one when the code goes on in another page. */
void recorder_add_instruction(struct block *block, const struct instruction *instruction) {
  struct piece *last = block->pieces ? &block->piece[block->pieces - 1] : NULL;
  bool same_page =
      last && last->address >> kPageShift == instruction->address >> kPageShift;
  if (same_page || block->pieces == 2) {
    last->bytes = (uint32_t)(instruction->address + instruction->size - last->address);
  } else {
    block->piece[block->pieces++] = (struct piece){
        .address = instruction->address,
        .physical = instruction->physical,
        .frame_kind = instruction->frame_kind,
        .bytes = instruction->size,
        .position = block->instructions,
    };
  }
  ++block->instructions;
}

const struct operation *recorder_operation_of(const struct block *block,
                                              const struct instruction *instruction) {
  struct operation decoded = decode(settings.architecture, instruction->bytes, instruction->size,
                                    instruction->address);
  if (decoded.kind == OPERATION_NONE) return NULL;
  struct operation *kept = arena_take(sizeof *kept);
  *kept = decoded;
  kept->address = instruction->address;
  kept->physical = instruction->physical;
  kept->next = instruction->address + instruction->size;
  kept->position = block->instructions;
  return kept;
}

void recorder_forget_blocks(void) {
  for (unsigned i = 0; i < kMaxVcpus; ++i) {
    if (vcpus[i]) vcpus[i]->pending = NULL;
  }
  arena_forget();
}

/* ---- events ---- */

static bool recording(void) { return region_state == REGION_RECORDING; }

/* The machine stands still some blocks behind the last access: what happens to its tables on the way
   belongs to the recording, for they are saved then. */
static bool following(void) { return recording() || region_state == REGION_ENDING; }

static void record_event(struct vcpu *vcpu, uint64_t now, enum event_kind kind,
                         const uint8_t *payload, const uint8_t *end) {
  ++vcpu->totals.events;
  stream_event(vcpu->chunk, now, kind, payload, (size_t)(end - payload));
}

/* #VMEXIT gives rAX and rSP back to the hypervisor; the guest's are in the state save area of its
   control block then (AMD APM volume 2, appendix B). */
static bool guest_saved(const struct vcpu *vcpu, unsigned number, uint64_t *value) {
  enum { kRax = 0, kRsp = 4, kSavedRax = 0x5f8, kSavedRsp = 0x5d8 };
  if (!vcpu->left || settings.architecture != ARCH_X86_64) return false;
  if (number != kRax && number != kRsp) return false;
  const uint64_t *saved =
      guest_memory_at(vcpu->control_block + (number == kRax ? kSavedRax : kSavedRsp));
  if (saved) *value = *saved;
  return saved != NULL;
}

static bool register_value(unsigned index, unsigned number, uint64_t *value) {
  *value = 0;
  if (guest_saved(vcpu_at(index), number, value)) return true;
  return number == kNoRegister || emulator_read_register(index, number, value);
}

/* Its state, and its value when that is exact. */
static uint8_t *put_operand(uint8_t *at, unsigned index, const struct operand *operand) {
  uint64_t base = 0, scaled = 0;
  bool exact = operand->form != OPERAND_UNKNOWN;
  if (operand->form == OPERAND_REGISTER || operand->form == OPERAND_MEMORY) {
    exact = register_value(index, operand->base, &base);
  }
  if (operand->form == OPERAND_MEMORY) {
    exact = exact && register_value(index, operand->index, &scaled);
  }
  if (operand->form == OPERAND_ABSENT) {
    *at++ = STATE_ABSENT;
  } else if (!exact) {
    *at++ = STATE_UNKNOWN;
  } else {
    *at++ = STATE_EXACT;
    at = put_varint(at, operand->value + base + (scaled << operand->scale));
  }
  return at;
}

static void record_operation(unsigned index, struct vcpu *vcpu) {
  const struct operation *operation = vcpu->pending;
  uint8_t payload[kLongestRecord / 2 + 1], *at = put_varint(payload, operation->code);
  bool is_switch = operation->kind == OPERATION_SWITCH;
  at = put_operand(at, index, &operation->operand[0]);
  if (!is_switch) at = put_operand(at, index, &operation->operand[1]);
  record_event(vcpu, vcpu->pending_now, is_switch ? EVENT_SWITCH : EVENT_FENCE, payload, at);
}

/* A register that tables hang on has a new value: they may be new, too. */
static void follow_switch(unsigned index, struct vcpu *vcpu) {
  /* The hypervisor has registers of the same name. */
  if (vcpu->muted && tables_of_guest(vcpu->pending->code)) return;
  const struct operand *operand = &vcpu->pending->operand[0];
  uint64_t value = operand->value;
  bool exact = operand->form == OPERAND_KNOWN ||
               (operand->form == OPERAND_REGISTER && register_value(index, operand->base, &value));
  if (exact && !vcpu->muted) tables_on_control(vcpu->pending->code, value);
  if (exact) tables_on_root(vcpu->pending->code, value, vcpu);
}

static void on_marker(struct vcpu *vcpu, uint64_t now, unsigned code) {
  if (vcpu->muted) return;
  if (settings.markers && code == MARKER_BEGIN) region_begin();
  if (recording()) {
    uint8_t payload[2];
    record_event(vcpu, now, EVENT_PHASE, payload, put_varint(payload, code));
  }
  if (settings.markers && code == MARKER_END) region_end();
}

/* AMD APM volume 2, appendix B: N_CR3. Hypervisors give each guest its own. */
static void follow_nested_root(struct vcpu *vcpu, uint64_t now) {
  enum { kNestedRoot = 0xb0, kCode = 5 };
  const uint64_t *root = guest_memory_at(vcpu->control_block + kNestedRoot);
  if (!vcpu->control_block || !root || *root == vcpu->nested_root) return;
  vcpu->nested_root = *root;
  uint8_t payload[kLongestRecord / 2], *at = put_varint(payload, kCode);
  *at++ = STATE_EXACT;
  record_event(vcpu, now, EVENT_SWITCH, payload, put_varint(at, *root));
  if (settings.tables) tables_on_root(kCode, *root, vcpu);
}

static void on_guest_entry(unsigned index, struct vcpu *vcpu, uint64_t now,
                           const struct operand *control_block) {
  vcpu->entering = true;
  if (control_block->form == OPERAND_REGISTER) {
    register_value(index, control_block->base, &vcpu->control_block);
  }
  if (!following()) return;
  if (settings.architecture == ARCH_X86_64) follow_nested_root(vcpu, now);
  uint8_t payload[kLongestRecord / 2];
  record_event(vcpu, now, EVENT_GUEST_ENTRY, payload, put_operand(payload, index, control_block));
}

static void record_exit_state(struct vcpu *vcpu, uint64_t now, unsigned code, uint64_t value) {
  uint8_t payload[kLongestRecord / 2], *at = put_varint(payload, code);
  record_event(vcpu, now, EVENT_EXIT_STATE, payload, put_varint(at, value));
}

/* AMD APM volume 2, appendix B: EXITCODE, EXITINFO1 and EXITINFO2. */
static void record_control_block(struct vcpu *vcpu, uint64_t now) {
  enum { kExitCode = 0x70, kFields = 3, kFirstCode = 48 };
  const uint64_t *field = guest_memory_at(vcpu->control_block + kExitCode);
  if (!vcpu->control_block || !field) return;
  for (unsigned i = 0; i < kFields; ++i) record_exit_state(vcpu, now, kFirstCode + i, field[i]);
}

static void on_guest_exit(struct vcpu *vcpu, uint64_t now) {
  vcpu->muted = settings.guest_only;
  vcpu->entering = false;
  vcpu->exit_state = 0;
  if (!following()) return;
  record_event(vcpu, now, EVENT_GUEST_EXIT, NULL, NULL);
  if (settings.architecture == ARCH_X86_64) record_control_block(vcpu, now);
}

/* The hypervisor looks why the guest was left: its first look is about that. */
static void on_exit_state(unsigned index, struct vcpu *vcpu) {
  const struct operation *operation = vcpu->pending;
  uint64_t bit = (uint64_t)1 << operation->code, value;
  bool first = vcpu->muted && (vcpu->exit_state & bit) == 0;
  if (!first || operation->operand[0].form != OPERAND_REGISTER) return;
  if (!register_value(index, operation->operand[0].base, &value)) return;
  vcpu->exit_state |= bit;
  record_exit_state(vcpu, vcpu->pending_now, operation->code, value);
}

void recorder_on_operation(unsigned index, const struct operation *operation) {
  struct vcpu *vcpu = vcpu_at(index);
  uint64_t now = vcpu->retired + operation->position;
  switch (operation->kind) {
    case OPERATION_MARKER:
      on_marker(vcpu, now, operation->code);
      break;
    case OPERATION_GUEST_ENTRY:
    case OPERATION_RETURN:
      if (settings.track_guests &&
          world_on_operation(&vcpu->world, settings.architecture, operation) == WORLD_ENTERED) {
        on_guest_entry(index, vcpu, now, &operation->operand[0]);
      }
      break;
    default:
      /* Operands are read behind it: only there does QEMU have every register in memory. */
      if (following()) {
        vcpu->pending = operation;
        vcpu->pending_now = now;
      }
  }
}

void recorder_after_operation(unsigned index) {
  struct vcpu *vcpu = vcpu_at(index);
  if (!vcpu->pending) return;
  if (vcpu->pending->kind == OPERATION_EXIT_STATE) {
    on_exit_state(index, vcpu);
    vcpu->pending = NULL;
    return;
  }
  record_operation(index, vcpu);
  if (settings.tables && vcpu->pending->kind == OPERATION_SWITCH) follow_switch(index, vcpu);
  vcpu->pending = NULL;
}

/* ---- blocks and accesses ---- */

/* Where one vCPU runs at a time, what it does comes after what the one before it did. */
static void keep_order(struct vcpu *vcpu) {
  static struct chunk *last;
  struct chunk *chunk = vcpu->chunk;
  if (last && last != chunk) {
    uint64_t clock = last->clock + 1;
    uint8_t payload[kLongestRecord / 2];
    record_event(vcpu, vcpu->retired, EVENT_TIME, payload, put_varint(payload, clock));
    if (chunk->clock < clock) chunk->clock = clock;
  }
  last = chunk;
}

static void on_world_change(unsigned index, struct vcpu *vcpu, enum world_change change) {
  static const struct operand none;
  if (change == WORLD_ENTERED_AND_LEFT) on_guest_entry(index, vcpu, vcpu->retired, &none);
  if (change != WORLD_SAME) on_guest_exit(vcpu, vcpu->retired);
}

static void record_fetches(struct vcpu *vcpu, const struct block *block) {
  for (uint32_t i = 0; i < block->pieces; ++i) {
    const struct piece *piece = &block->piece[i];
    struct access access = {.class = ACCESS_FETCH,
                            .frame_kind = piece->frame_kind,
                            .bytes = piece->bytes,
                            .address = piece->address,
                            .physical = piece->physical};
    stream_access(vcpu->chunk, vcpu->retired + piece->position, &access);
    ++vcpu->totals.fetches;
  }
}

void recorder_on_block(unsigned index, const struct block *block) {
  struct vcpu *vcpu = vcpu_at(index);
  vcpu->retired += vcpu->block_instructions;
  vcpu->position = 0;
  if (settings.ordered && following()) keep_order(vcpu);
  enum world_change change = WORLD_SAME;
  if (settings.track_guests) {
    struct place place = {block->piece[0].address, block->piece[0].physical};
    change = world_on_block(&vcpu->world, settings.architecture, place);
  }
  vcpu->left = change == WORLD_LEFT;
  if (vcpu->pending) recorder_after_operation(index);
  vcpu->left = false;
  if (vcpu->entering) vcpu->entering = vcpu->muted = false;
  on_world_change(index, vcpu, change);
  /* The clock of a guest stands still while its hypervisor runs. */
  vcpu->block_instructions = vcpu->muted ? 0 : block->instructions;
  bool asks = region_state == REGION_STARTING || region_state == REGION_ENDING;
  if (asks && !vcpu->muted) region_ask(vcpu->control_block);
  if (settings.fetches && recording() && !vcpu->muted) record_fetches(vcpu, block);
}

bool recorder_wants_accesses(unsigned index) {
  if (region_state == REGION_ENDING) return settings.tables;
  bool open = region_state == REGION_SKIPPING || region_state == REGION_RECORDING;
  return open && (settings.tables || !vcpu_at(index)->muted);
}

/* vmrun and #VMEXIT move the guest's and the host's state by physical addresses, which QEMU shows
   like accesses of the guest. The pages are learnt from vmrun. */
static bool moves_state(struct vcpu *vcpu, const struct access *access) {
  if (access->address != access->physical) return false;
  uint64_t page = access->physical >> kPageShift, *known = vcpu->state_page;
  if (vcpu->entering && page != known[0] && page != known[1]) {
    known[1] = known[0];
    known[0] = page;
  }
  return page == known[0] || page == known[1];
}

/* The access itself; false when it is not recorded. */
static bool record_access(struct vcpu *vcpu, const struct access *access) {
  ++vcpu->totals.accesses_seen;
  struct allowance *allowance = &vcpu->allowance;
  bool spent = allowance->accesses == 0 || allowance->state != region_state;
  if (spent && !region_allow(allowance)) return false;
  --allowance->accesses;
  if (allowance->state != REGION_RECORDING) return false;
  stream_access(vcpu->chunk, now_of(vcpu), access);
  ++*(access->class == ACCESS_WRITE ? &vcpu->totals.writes : &vcpu->totals.reads);
  return true;
}

void recorder_on_access(unsigned index, uint32_t position, const struct access *access) {
  struct vcpu *vcpu = vcpu_at(index);
  vcpu->position = position;
  if (settings.track_guests && moves_state(vcpu, access)) return;
  /* The tables of guests are written by the hypervisor. */
  bool recorded = !vcpu->muted && record_access(vcpu, access);
  bool followed = recorded || (vcpu->muted ? following() : region_state == REGION_ENDING);
  if (followed && settings.tables && access->class == ACCESS_WRITE) {
    tables_on_store(access->physical, access->bytes, vcpu);
  }
}
