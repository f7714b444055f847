/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: Apache-2.0 */

/* The instructions by which a guest marks its phases for the recorder: without effect, and no
   compiler emits them. Code 0 ends the recording, 1 begins it, 2 to 255 are phases. */
#ifndef NESTWALK_MARKER_H
#define NESTWALK_MARKER_H

#if defined(__x86_64__)
/* nopl 0x4e5700cc(%rax) */
#define MARKER_INSTRUCTION(code) ".byte 0x0f, 0x1f, 0x80; .long 0x4e570000 + " code
#elif defined(__aarch64__)
/* movz xzr, #0x57cc */
#define MARKER_INSTRUCTION(code) ".inst 0xd280001f + ((0x5700 + " code ") << 5)"
#elif defined(__riscv)
/* lui x0, 0x4e5cc */
#define MARKER_INSTRUCTION(code) ".word 0x4e500037 + ((" code ") << 12)"
#endif

#endif
