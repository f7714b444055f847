// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// What the plugin's decoder makes of instructions. Their bytes are from the manuals' encodings.

extern "C" {
#include "decode.h"
}

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kAddress = 0x1000;

operation of(architecture architecture, const Bytes& bytes) {
  return decode(architecture, bytes.data(), bytes.size(), kAddress);
}
operation x86(const Bytes& bytes) { return of(ARCH_X86_64, bytes); }

Bytes word(std::uint32_t value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
operation aarch64(std::uint32_t value) { return of(ARCH_AARCH64, word(value)); }
operation riscv(std::uint32_t value) { return of(ARCH_RISCV64, word(value)); }

void expect(const operation& found, operation_kind kind, unsigned code) {
  EXPECT_EQ(found.kind, kind);
  EXPECT_EQ(found.code, code);
}

void expect_register(const operand& found, unsigned number) {
  EXPECT_EQ(found.form, OPERAND_REGISTER);
  EXPECT_EQ(found.base, number);
}

// ---- x86-64: Intel SDM volume 2 ----

TEST(DecodeX86, MovToControlRegisters) {
  // 0f 22 /r: ModRM has the control register in reg, the source in rm.
  const operation cr3 = x86({0x0f, 0x22, 0xd8});  // mov %rax, %cr3
  expect(cr3, OPERATION_SWITCH, 3);
  expect_register(cr3.operand[0], 0);
  const operation cr4 = x86({0x41, 0x0f, 0x22, 0xe1});  // mov %r9, %cr4: REX.B
  expect(cr4, OPERATION_SWITCH, 4);
  expect_register(cr4.operand[0], 9);
  expect(x86({0x0f, 0x22, 0xc7}), OPERATION_SWITCH, 0);      // mov %rdi, %cr0
  expect(x86({0x44, 0x0f, 0x22, 0xc0}), OPERATION_NONE, 0);  // %cr8: REX.R
  expect(x86({0x0f, 0x20, 0xd8}), OPERATION_NONE, 0);        // mov %cr3, %rax
}

TEST(DecodeX86, Invlpg) {
  const operation plain = x86({0x0f, 0x01, 0x3f});  // invlpg (%rdi)
  expect(plain, OPERATION_FENCE, 1);
  EXPECT_EQ(plain.operand[0].form, OPERAND_MEMORY);
  EXPECT_EQ(plain.operand[0].base, 7);
  EXPECT_EQ(plain.operand[0].index, kNoRegister);
  // invlpg -8(%rax,%r12,4): REX.X, SIB 10 100 000, disp8.
  const operation scaled = x86({0x42, 0x0f, 0x01, 0x7c, 0xa0, 0xf8});
  EXPECT_EQ(scaled.operand[0].base, 0);
  EXPECT_EQ(scaled.operand[0].index, 12);
  EXPECT_EQ(scaled.operand[0].scale, 2);
  EXPECT_EQ(scaled.operand[0].value, ~std::uint64_t{7});
  // invlpg 0x10(%rip): from the next instruction, which is 7 bytes further.
  const operation relative = x86({0x0f, 0x01, 0x3d, 0x10, 0, 0, 0});
  EXPECT_EQ(relative.operand[0].base, kNoRegister);
  EXPECT_EQ(relative.operand[0].value, kAddress + 7 + 0x10);
  const operation segment = x86({0x65, 0x0f, 0x01, 0x3f});  // invlpg %gs:(%rdi)
  EXPECT_EQ(segment.operand[0].form, OPERAND_UNKNOWN);
  expect(x86({0x0f, 0x01, 0xf8}), OPERATION_NONE, 0);  // swapgs: the same reg, mod 3
}

TEST(DecodeX86, InvalidationsWithDescriptors) {
  const operation invpcid = x86({0x66, 0x0f, 0x38, 0x82, 0x0f});  // invpcid (%rdi), %rcx
  expect(invpcid, OPERATION_FENCE, 2);
  EXPECT_EQ(invpcid.operand[0].form, OPERAND_UNKNOWN);
  expect_register(invpcid.operand[1], 1);
  expect(x86({0x66, 0x0f, 0x38, 0x80, 0x07}), OPERATION_FENCE, 3);        // invept
  expect(x86({0x66, 0x44, 0x0f, 0x38, 0x81, 0x07}), OPERATION_FENCE, 4);  // invvpid, %r8
  expect(x86({0x66, 0x0f, 0x38, 0x00, 0xc1}), OPERATION_NONE, 0);         // pshufb
}

// AMD APM volume 3: 0f 01 d8 and 0f 01 df.
TEST(DecodeX86, SvmInstructions) {
  const operation vmrun = x86({0x0f, 0x01, 0xd8});
  expect(vmrun, OPERATION_GUEST_ENTRY, 0);
  expect_register(vmrun.operand[0], 0);
  expect(x86({0x0f, 0x01, 0xdf}), OPERATION_FENCE, 5);
}

TEST(DecodeX86, Markers) {
  expect(x86({0x0f, 0x1f, 0x80, 7, 0, 0x57, 0x4e}), OPERATION_MARKER, 7);  // nopl 0x4e570007(%rax)
  expect(x86({0x0f, 0x1f, 0x80, 7, 0, 0x58, 0x4e}), OPERATION_NONE, 0);
}

TEST(DecodeX86, CutInstructionsAreNothing) {
  const Bytes whole = {0x42, 0x0f, 0x01, 0x7c, 0xa0, 0xf8};
  for (std::size_t size = 0; size < 4; ++size) {
    EXPECT_EQ(x86({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}).kind,
              OPERATION_NONE);
  }
  EXPECT_EQ(x86(Bytes(15, 0x66)).kind, OPERATION_NONE);
}

// ---- AArch64: Arm ARM C5 ----

TEST(DecodeAarch64, MsrToTranslationRegisters) {
  // MSR: 1101 0101 0001 op0.. : S3_0_C2_C0_0 is TTBR0_EL1, and so on; Rt is in bits 4:0.
  const operation ttbr0 = aarch64(0xd5182003);  // msr ttbr0_el1, x3
  expect(ttbr0, OPERATION_SWITCH, 16);
  expect_register(ttbr0.operand[0], 3);
  expect(aarch64(0xd5182020), OPERATION_SWITCH, 17);  // ttbr1_el1
  expect(aarch64(0xd5182040), OPERATION_SWITCH, 20);  // tcr_el1
  expect(aarch64(0xd51c2100), OPERATION_SWITCH, 19);  // vttbr_el2
  expect(aarch64(0xd5181000), OPERATION_SWITCH, 21);  // sctlr_el1: S3_0_C1_C0_0
  expect(aarch64(0xd51c2140), OPERATION_SWITCH, 22);  // vtcr_el2: S3_4_C2_C1_2
  const operation zero = aarch64(0xd518201f);         // msr ttbr0_el1, xzr
  EXPECT_EQ(zero.operand[0].form, OPERAND_KNOWN);
  EXPECT_EQ(zero.operand[0].value, 0u);
  expect(aarch64(0xd5382003), OPERATION_NONE, 0);  // mrs x3, ttbr0_el1
}

TEST(DecodeAarch64, TlbiIsItsOwnCode) {
  // SYS: op1 in 18:16, CRn 8, CRm in 11:8, op2 in 7:5. The code is op1:CRn:CRm:op2.
  const operation vae1is = aarch64(0xd5088321);  // tlbi vae1is, x1
  expect(vae1is, OPERATION_FENCE, 8u << 7 | 3u << 3 | 1u);
  expect_register(vae1is.operand[0], 1);
  const operation all = aarch64(0xd508831f);  // tlbi vmalle1is
  expect(all, OPERATION_FENCE, 8u << 7 | 3u << 3);
  EXPECT_EQ(all.operand[0].form, OPERAND_ABSENT);
  expect(aarch64(0xd50c8021), OPERATION_FENCE, 4u << 11 | 8u << 7 | 1u);  // tlbi ipas2e1is, x1
  expect(aarch64(0xd50b7421), OPERATION_NONE, 0);                         // dc zva, x1: CRn 7
}

TEST(DecodeAarch64, BarriersReturnsAndMarkers) {
  expect(aarch64(0xd5033b9f), OPERATION_FENCE, 0x8000 + 11);       // dsb ish
  expect(aarch64(0xd5033a9f), OPERATION_FENCE, 0x8000 + 10);       // dsb ishst
  expect(aarch64(0xd5033fdf), OPERATION_NONE, 0);                  // isb
  expect(aarch64(0xd69f03e0), OPERATION_RETURN, 0);                // eret
  expect(aarch64(0xd65f03c0), OPERATION_NONE, 0);                  // ret
  expect(aarch64(0xd280001f | 0x5709 << 5), OPERATION_MARKER, 9);  // movz xzr, #0x5709
  expect(aarch64(0xd2800000 | 0x5709 << 5), OPERATION_NONE, 0);    // movz x0
}

// ---- RISC-V: privileged manual ----

TEST(DecodeRiscv, FencesHaveTheirOperands) {
  const operation all = riscv(0x12000073);  // sfence.vma
  expect(all, OPERATION_FENCE, 16);
  EXPECT_EQ(all.operand[0].form, OPERAND_ABSENT);
  EXPECT_EQ(all.operand[1].form, OPERAND_ABSENT);
  const operation both = riscv(0x12000073 | 10 << 15 | 11 << 20);  // sfence.vma a0, a1
  expect_register(both.operand[0], 10);
  expect_register(both.operand[1], 11);
  expect(riscv(0x22000073), OPERATION_FENCE, 17);  // hfence.vvma
  expect(riscv(0x62000073), OPERATION_FENCE, 18);  // hfence.gvma
  expect(riscv(0x16000073), OPERATION_FENCE, 19);  // sinval.vma
  expect(riscv(0x26000073), OPERATION_FENCE, 20);  // hinval.vvma
  expect(riscv(0x66000073), OPERATION_FENCE, 21);  // hinval.gvma
  expect(riscv(0x18000073), OPERATION_FENCE, 22);  // sfence.w.inval
  expect(riscv(0x18100073), OPERATION_FENCE, 23);  // sfence.inval.ir
  expect(riscv(0x10500073), OPERATION_NONE, 0);    // wfi
}

constexpr std::uint32_t csr(unsigned number, unsigned rs1, unsigned function, unsigned rd) {
  return number << 20 | rs1 << 15 | function << 12 | rd << 7 | 0x73;
}

TEST(DecodeRiscv, WritesOfAtps) {
  const operation satp = riscv(csr(0x180, 15, 1, 0));  // csrw satp, a5
  expect(satp, OPERATION_SWITCH, 32);
  expect_register(satp.operand[0], 15);
  expect(riscv(csr(0x280, 15, 1, 0)), OPERATION_SWITCH, 33);  // vsatp
  expect(riscv(csr(0x680, 15, 1, 0)), OPERATION_SWITCH, 34);  // hgatp
  const operation zero = riscv(csr(0x180, 0, 5, 0));          // csrwi satp, 0
  EXPECT_EQ(zero.operand[0].form, OPERAND_KNOWN);
  // csrrw a5, satp, a5 overwrites its operand; csrs only adds bits.
  EXPECT_EQ(riscv(csr(0x180, 15, 1, 15)).operand[0].form, OPERAND_UNKNOWN);
  EXPECT_EQ(riscv(csr(0x180, 15, 2, 0)).operand[0].form, OPERAND_UNKNOWN);
  expect(riscv(csr(0x180, 0, 2, 10)), OPERATION_NONE, 0);  // csrr a0, satp
}

TEST(DecodeRiscv, ReadsOfWhyAGuestWasLeft) {
  const operation cause = riscv(csr(0x142, 0, 2, 10));  // csrr a0, scause
  expect(cause, OPERATION_EXIT_STATE, 51);
  expect_register(cause.operand[0], 10);
  expect(riscv(csr(0x643, 0, 2, 11)), OPERATION_EXIT_STATE, 52);  // htval
  expect(riscv(csr(0x64a, 0, 2, 12)), OPERATION_EXIT_STATE, 53);  // htinst
  expect(riscv(csr(0x142, 0, 2, 0)), OPERATION_NONE, 0);
  expect(riscv(csr(0x142, 10, 1, 0)), OPERATION_NONE, 0);  // csrw scause, a0
}

TEST(DecodeRiscv, ReturnsAndMarkers) {
  expect(riscv(0x10200073), OPERATION_RETURN, 0);                  // sret
  expect(riscv(0x30200073), OPERATION_NONE, 0);                    // mret
  expect(riscv(0x4e503037), OPERATION_MARKER, 3);                  // lui x0, 0x4e503
  EXPECT_EQ(of(ARCH_RISCV64, {0x01, 0x00}).kind, OPERATION_NONE);  // c.nop
}

}  // namespace
