// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Probes that came with tables from the host: the guest makes each access, and what the machine
// made of it goes back.

#include "nested.hpp"
#include "print.hpp"
#include "scenario.hpp"
#include "volume/image.hpp"

namespace nestwalk::baremetal {
namespace {

u64* at_physical(u64 address) { return reinterpret_cast<u64*>(address); }

#if defined(__x86_64__)

constexpr MemoryMap kMap = kX86Map;

void fetch_image() {
  const u64* const rom = at_physical(4 * kGiB - kRomBytes);
  if (rom[0] == ImageHeader::kMagic) {
    __builtin_memcpy(at_physical(kMap.image), rom, kMap.image_bytes);
  }
}
// Text is the only way out.
void answer(u64 word) { print_line("=", Text<32>().add_hex(word).c_str() + 2); }
// mov $number, %esi; vmcall (AMD: vmmcall)
#if defined(NESTWALK_SVM)
constexpr u64 kHypercall = 0xd9'01'0f;
#else
constexpr u64 kHypercall = 0xc1'01'0f;
#endif
void write_code(u64* at, u32 number) { at[0] = u64{0xbe} | u64{number} << 8 | kHypercall << 40; }
// There is no guest without paging: the second page and those after it map 1 TiB to itself.
u64 identity_tables() {
  u64* const tables = at_physical(kMap.firmware);
  for (u64 n = 0; n < 2; ++n) tables[512 + n] = (2 + n) * kFrameBytes | 3;
  for (u64 n = 0; n < 1024; ++n) tables[1024 + n] = n << 30 | 0x83;
  return kFrameBytes;
}

#else

#if defined(__riscv)
constexpr MemoryMap kMap = kRiscVMap;
#else
constexpr MemoryMap kMap = kArmMap;
#endif

void fetch_image() {}
void answer(u64 word) {
  static u64 count;
  at_physical(kMap.answers)[count++] = word;
}
u64 identity_tables() { return 0; }

#if defined(__riscv)
// lui a1, number[31:12]; addiw a1, a1, number[11:0]; ecall. addiw extends the sign: where it takes
// 4096 away, lui has 4096 more.
void write_code(u64* at, u32 number) {
  const u32 upper = (number + 0x800) & 0xffff'f000;
  at[0] = u64{upper | 11 << 7 | 0x37} | u64{(number & 0xfff) << 20 | 11 << 15 | 11 << 7 | 0x1b}
                                            << 32;
  at[1] = 0x73;
}
#else
// movz w1, number[15:0]; movk w1, number[31:16], lsl 16; hvc 0
void write_code(u64* at, u32 number) {
  at[0] = u64{0x5280'0001 | (number & 0xffff) << 5} | u64{0x72a0'0001 | (number >> 16) << 5} << 32;
  at[1] = 0xd400'0002;
}
#endif

#endif

void fill_memory() {
  __builtin_memcpy(at_physical(kMap.firmware), guest_begin,
                   static_cast<u64>(guest_end - guest_begin));
  for (u64 n = 0; n < kDataFrames; ++n) {
    const u64 frame = kMap.data + n * kFrameBytes;
    for (u64 at = frame; at < frame + kCodeAt; at += sizeof(u64)) *at_physical(at) = at;
    write_code(at_physical(frame + kCodeAt), static_cast<u32>(frame >> kFrameShift));
    __builtin_memset(at_physical(frame + kStoresAt), 0, kFrameBytes - kStoresAt);
  }
  sync_code();
}

void probe(Probe probe, u64 number) {
  const u8* const routines[] = {guest_load, guest_store, guest_jump};
  GuestRegisters registers{address_of(probe), number + 1, 0};
  u64 pc = static_cast<u64>(routines[kind_of(probe)] - guest_begin);
  const Exit exit = run_guest_from(pc, registers);
  const bool done = exit.why == Exit::Why::Hypercall;
  answer(done ? 0 : exit.syndrome);
  answer(done ? registers.value : exit.fault.gpa.value());
}

void report_stores() {
  for (u64 n = 0; n < kDataFrames; ++n) {
    const u64 frame = kMap.data + n * kFrameBytes;
    for (u64 at = frame + kStoresAt; at < frame + kFrameBytes; at += sizeof(u64)) {
      if (*at_physical(at) == 0) continue;
      answer(at);
      answer(*at_physical(at));
    }
  }
  answer(0);
  answer(ImageHeader::kMagic);
}

bool made_for_this_machine(const ImageHeader& image) {
  return capabilities_here() == image.machine;
}

}  // namespace

void answer_probes() {
  fetch_image();
  const auto& image = *reinterpret_cast<const ImageHeader*>(kMap.image);
  if (image.magic != ImageHeader::kMagic) return;
  if (!check(made_for_this_machine(image), "the tables are made for this machine")) finish();
  fill_memory();
  select_vm(image.tag, identity_tables());
  retire(image.machine, image.tag);
  const auto* const probes = reinterpret_cast<const Probe*>(&image + 1);
  for (u64 n = 0; n < image.probes; ++n) probe(probes[n], n);
  report_stores();
  check(true, "all probes are answered");
  finish();
}

}  // namespace nestwalk::baremetal
