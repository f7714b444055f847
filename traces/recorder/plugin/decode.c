/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "decode.h"

#include <string.h>

/* Codes of STREAM.md. The registers of all architectures share one numbering. */
enum register_code {
  REGISTER_CR0 = 0,
  REGISTER_CR3 = 3,
  REGISTER_CR4 = 4,
  REGISTER_TTBR0_EL1 = 16,
  REGISTER_TTBR1_EL1 = 17,
  REGISTER_TTBR0_EL2 = 18,
  REGISTER_VTTBR_EL2 = 19,
  REGISTER_TCR_EL1 = 20,
  REGISTER_SCTLR_EL1 = 21,
  REGISTER_VTCR_EL2 = 22,
  REGISTER_SATP = 32,
  REGISTER_VSATP = 33,
  REGISTER_HGATP = 34,
  /* Why a guest was left: 48 to 50 are fields of SVM's control block. */
  REGISTER_SCAUSE = 51,
  REGISTER_HTVAL = 52,
  REGISTER_HTINST = 53
};

/* AArch64's fences are their own encoding (op1:CRn:CRm:op2); these stand above that range. */
enum fence_code {
  FENCE_INVLPG = 1,
  FENCE_INVPCID = 2,
  FENCE_INVEPT = 3,
  FENCE_INVVPID = 4,
  FENCE_INVLPGA = 5,
  FENCE_SFENCE_VMA = 16,
  FENCE_HFENCE_VVMA = 17,
  FENCE_HFENCE_GVMA = 18,
  FENCE_SINVAL_VMA = 19,
  FENCE_HINVAL_VVMA = 20,
  FENCE_HINVAL_GVMA = 21,
  FENCE_SFENCE_W_INVAL = 22,
  FENCE_SFENCE_INVAL_IR = 23,
  FENCE_DSB = 0x8000
};

/* Marker encodings carry this number and an eight-bit code. */
enum { kMarker = 0x4e57 };

static struct operand in_register(unsigned number) {
  return (struct operand){.form = OPERAND_REGISTER, .base = (uint8_t)number};
}

static struct operand known(uint64_t value) {
  return (struct operand){.form = OPERAND_KNOWN, .value = value};
}

static struct operation plain(enum operation_kind kind, unsigned code) {
  return (struct operation){.kind = (uint8_t)kind, .code = (uint16_t)code};
}

static struct operation with(struct operation operation, struct operand first) {
  operation.operand[0] = first;
  return operation;
}

static uint32_t word_at(const uint8_t *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

/* ---- x86-64: Intel SDM volume 2, "Instruction Format" ---- */

struct x86_prefix {
  bool segment_with_base; /* FS or GS: the effective address needs its base */
  uint8_t rex;
  size_t length;
};

static struct x86_prefix x86_prefix(const uint8_t *bytes, size_t size) {
  struct x86_prefix prefix = {0};
  for (; prefix.length < size; ++prefix.length) {
    uint8_t byte = bytes[prefix.length];
    bool legacy = byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 ||
                  byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e;
    bool base = byte == 0x64 || byte == 0x65;
    prefix.segment_with_base |= base;
    if ((byte & 0xf0) == 0x40) {
      prefix.rex = byte;
    } else if (!legacy && !base) {
      break;
    }
  }
  return prefix;
}

/* The memory operand of the ModRM byte at `at`; `end` is where the instruction ends. */
static struct operand x86_memory(const uint8_t *at, const uint8_t *end, struct x86_prefix prefix,
                                 uint64_t next) {
  struct operand operand = {.form = OPERAND_MEMORY, .base = kNoRegister, .index = kNoRegister};
  unsigned mod = at[0] >> 6, rm = at[0] & 7;
  const uint8_t *displacement = at + 1;
  size_t width = mod == 1 ? 1 : mod == 2 ? 4 : 0;
  bool based = true;
  if (rm == 4) {
    if (end - at < 2) return (struct operand){.form = OPERAND_UNKNOWN};
    uint8_t sib = at[1];
    unsigned index = ((sib >> 3) & 7) | ((prefix.rex & 2) ? 8u : 0u);
    displacement = at + 2;
    operand.scale = sib >> 6;
    if (index != 4) operand.index = (uint8_t)index;
    rm = sib & 7;
    based = !(mod == 0 && rm == 5);
  } else if (mod == 0 && rm == 5) {
    based = false;
    operand.value = next;
  }
  if (based) operand.base = (uint8_t)(rm | ((prefix.rex & 1) ? 8 : 0));
  if (!based) width = 4;
  if (prefix.segment_with_base || (size_t)(end - displacement) < width) {
    return (struct operand){.form = OPERAND_UNKNOWN};
  }
  if (width == 1) operand.value += (uint64_t)(int64_t)(int8_t)displacement[0];
  if (width == 4) operand.value += (uint64_t)(int64_t)(int32_t)word_at(displacement);
  return operand;
}

static struct operation x86_group_01(const uint8_t *at, const uint8_t *end,
                                     struct x86_prefix prefix, uint64_t next) {
  switch (at[0]) {
    case 0xd8:
      return with(plain(OPERATION_GUEST_ENTRY, 0), in_register(0));
    case 0xdf:
      return with(plain(OPERATION_FENCE, FENCE_INVLPGA), in_register(0));
    default:
      break;
  }
  bool invlpg = at[0] >> 6 != 3 && ((at[0] >> 3) & 7) == 7;
  if (!invlpg) return plain(OPERATION_NONE, 0);
  return with(plain(OPERATION_FENCE, FENCE_INVLPG), x86_memory(at, end, prefix, next));
}

static struct operation x86_group_38(const uint8_t *at, struct x86_prefix prefix) {
  static const uint8_t code[] = {FENCE_INVEPT, FENCE_INVVPID, FENCE_INVPCID};
  if (at[0] < 0x80 || at[0] > 0x82) return plain(OPERATION_NONE, 0);
  struct operation operation = plain(OPERATION_FENCE, code[at[0] - 0x80]);
  /* What to invalidate is in a descriptor in memory, which is not seen; its type is. */
  operation.operand[0].form = OPERAND_UNKNOWN;
  operation.operand[1] = in_register(((at[1] >> 3) & 7) | ((prefix.rex & 4) ? 8u : 0u));
  return operation;
}

static struct operation decode_x86(const uint8_t *bytes, size_t size, uint64_t address) {
  struct x86_prefix prefix = x86_prefix(bytes, size);
  const uint8_t *at = bytes + prefix.length, *end = bytes + size;
  if (end - at < 3 || at[0] != 0x0f) return plain(OPERATION_NONE, 0);
  unsigned reg = (at[2] >> 3) & 7;
  bool control = reg == REGISTER_CR0 || reg == REGISTER_CR3 || reg == REGISTER_CR4;
  if (at[1] == 0x22 && control && !(prefix.rex & 4)) {
    unsigned source = (at[2] & 7) | ((prefix.rex & 1) ? 8u : 0u);
    return with(plain(OPERATION_SWITCH, reg), in_register(source));
  }
  if (at[1] == 0x01) return x86_group_01(at + 2, end, prefix, address + size);
  if (at[1] == 0x38 && end - at >= 4) return x86_group_38(at + 2, prefix);
  /* nopl disp32(%rax) */
  bool marker = size == 7 && at[1] == 0x1f && at[2] == 0x80 && word_at(at + 3) >> 16 == kMarker;
  return marker ? plain(OPERATION_MARKER, at[3]) : plain(OPERATION_NONE, 0);
}

/* ---- AArch64: Arm ARM, C5 "The A64 System Instruction Class" ---- */

struct encoding {
  uint32_t mask, value;
  uint8_t kind;
  uint16_t code;
};

static const struct encoding kAarch64[] = {
    {0xffffffe0, 0xd5182000, OPERATION_SWITCH, REGISTER_TTBR0_EL1},
    {0xffffffe0, 0xd5182020, OPERATION_SWITCH, REGISTER_TTBR1_EL1},
    {0xffffffe0, 0xd5182040, OPERATION_SWITCH, REGISTER_TCR_EL1},
    {0xffffffe0, 0xd5181000, OPERATION_SWITCH, REGISTER_SCTLR_EL1},
    {0xffffffe0, 0xd51c2140, OPERATION_SWITCH, REGISTER_VTCR_EL2},
    {0xffffffe0, 0xd51c2000, OPERATION_SWITCH, REGISTER_TTBR0_EL2},
    {0xffffffe0, 0xd51c2100, OPERATION_SWITCH, REGISTER_VTTBR_EL2},
    {0xfffff0ff, 0xd503309f, OPERATION_FENCE, FENCE_DSB},
    {0xffffffff, 0xd69f03e0, OPERATION_RETURN, 0},
};

static struct operation decode_aarch64(const uint8_t *bytes, size_t size) {
  if (size != 4) return plain(OPERATION_NONE, 0);
  uint32_t word = word_at(bytes);
  unsigned source = word & 31;
  if ((word & 0xffe0001f) == 0xd280001f) { /* movz xzr, #imm16: eight bits of the number fit */
    unsigned immediate = (word >> 5) & 0xffff;
    bool marker = immediate >> 8 == (kMarker & 0xff);
    return marker ? plain(OPERATION_MARKER, immediate & 0xff) : plain(OPERATION_NONE, 0);
  }
  if ((word & 0xfff8f000) == 0xd5088000) { /* SYS with CRn 8: TLBI */
    struct operation tlbi = plain(OPERATION_FENCE, (word >> 5) & 0x3fff);
    return source == 31 ? tlbi : with(tlbi, in_register(source));
  }
  for (size_t i = 0; i < sizeof kAarch64 / sizeof kAarch64[0]; ++i) {
    const struct encoding *row = &kAarch64[i];
    if ((word & row->mask) != row->value) continue;
    struct operation operation = plain(row->kind, row->code);
    if (row->code == FENCE_DSB) operation.code |= (word >> 8) & 15;
    if (row->kind != OPERATION_SWITCH) return operation;
    return with(operation, source == 31 ? known(0) : in_register(source));
  }
  return plain(OPERATION_NONE, 0);
}

/* ---- RISC-V: privileged manual, "Instruction Set Listings" ---- */

static const struct {
  uint8_t funct7, code;
} kRiscvFences[] = {
    {0x09, FENCE_SFENCE_VMA},  {0x11, FENCE_HFENCE_VVMA}, {0x31, FENCE_HFENCE_GVMA},
    {0x0b, FENCE_SINVAL_VMA},  {0x13, FENCE_HINVAL_VVMA}, {0x33, FENCE_HINVAL_GVMA},
};

static const struct {
  uint16_t number, code;
} kRiscvRegisters[] = {{0x180, REGISTER_SATP}, {0x280, REGISTER_VSATP}, {0x680, REGISTER_HGATP}};

static const struct {
  uint16_t number, code;
} kRiscvExitState[] = {
    {0x142, REGISTER_SCAUSE}, {0x643, REGISTER_HTVAL}, {0x64a, REGISTER_HTINST}};

static struct operand riscv_source(unsigned number) {
  return number == 0 ? (struct operand){.form = OPERAND_ABSENT} : in_register(number);
}

static struct operation riscv_fence(uint32_t word) {
  unsigned funct7 = word >> 25, rs1 = (word >> 15) & 31, rs2 = (word >> 20) & 31;
  if (funct7 == 0x0c && rs2 < 2) return plain(OPERATION_FENCE, FENCE_SFENCE_W_INVAL + rs2);
  for (size_t i = 0; i < sizeof kRiscvFences / sizeof kRiscvFences[0]; ++i) {
    if (kRiscvFences[i].funct7 != funct7) continue;
    struct operation fence = plain(OPERATION_FENCE, kRiscvFences[i].code);
    fence.operand[0] = riscv_source(rs1);
    fence.operand[1] = riscv_source(rs2);
    return fence;
  }
  return plain(OPERATION_NONE, 0);
}

/* csrr rd, register; its value is in rd behind it. */
static struct operation riscv_csr_read(unsigned number, unsigned rd) {
  for (size_t i = 0; i < sizeof kRiscvExitState / sizeof kRiscvExitState[0]; ++i) {
    if (kRiscvExitState[i].number != number || rd == 0) continue;
    return with(plain(OPERATION_EXIT_STATE, kRiscvExitState[i].code), in_register(rd));
  }
  return plain(OPERATION_NONE, 0);
}

static struct operation riscv_csr(uint32_t word) {
  unsigned number = word >> 20, function = (word >> 12) & 7, rs1 = (word >> 15) & 31;
  unsigned rd = (word >> 7) & 31;
  bool set_or_clear = (function & 3) != 1;
  if (set_or_clear && rs1 == 0) return riscv_csr_read(number, rd);
  for (size_t i = 0; i < sizeof kRiscvRegisters / sizeof kRiscvRegisters[0]; ++i) {
    if (kRiscvRegisters[i].number != number) continue;
    struct operand value = function & 4 ? known(rs1) : rs1 == 0 ? known(0) : in_register(rs1);
    /* Operands are read behind the instruction, which has then overwritten this one. */
    bool lost = set_or_clear || (rs1 != 0 && rd == rs1);
    if (lost) value.form = OPERAND_UNKNOWN;
    return with(plain(OPERATION_SWITCH, kRiscvRegisters[i].code), value);
  }
  return plain(OPERATION_NONE, 0);
}

static struct operation decode_riscv(const uint8_t *bytes, size_t size) {
  if (size != 4) return plain(OPERATION_NONE, 0);
  uint32_t word = word_at(bytes);
  if ((word & 0xfff) == 0x037) { /* lui x0: a hint without effect */
    return word >> 24 == 0x4e && ((word >> 20) & 15) == 5 ? plain(OPERATION_MARKER, (word >> 12) & 0xff)
                                                         : plain(OPERATION_NONE, 0);
  }
  if ((word & 0x7f) != 0x73) return plain(OPERATION_NONE, 0);
  if (word == 0x10200073) return plain(OPERATION_RETURN, 0); /* sret */
  return (word >> 12) & 3 ? riscv_csr(word) : (word >> 12) & 7 ? plain(OPERATION_NONE, 0)
                                                               : riscv_fence(word);
}

struct operation decode(enum architecture architecture, const uint8_t *bytes, size_t size,
                        uint64_t address) {
  switch (architecture) {
    case ARCH_X86_64:
      return decode_x86(bytes, size, address);
    case ARCH_AARCH64:
      return decode_aarch64(bytes, size);
    case ARCH_RISCV64:
      return decode_riscv(bytes, size);
    default:
      return plain(OPERATION_NONE, 0);
  }
}
