// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What check.py must find: a byte stored, and eight of them loaded.
void narrow_store() {
  asm volatile(
      "movb $0, -8(%%rsp)\n"
      "mov -8(%%rsp), %%rax"
      :
      :
      : "rax", "memory");
}
