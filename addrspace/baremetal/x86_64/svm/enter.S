# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# VMRUN and #VMEXIT.

#include "x86_64/switch.inc"

  .text
# void enter_guest(GuestRegisters*, u64 vmcb), after CLGI. VMRUN keeps of our registers RAX and RSP, and of the
# guest's in the VMCB; FS, GS, TR and LDTR stay ours, which the guest does not use.
  .globl enter_guest
enter_guest:
  keep_ours
  movq %rsi, %rax
  load_guest
  vmrun %rax
  stgi
  popq %rax
  store_guest
  return_with_ours

# The NMI that kicked the guest, when STGI lets it in.
  .globl ignore_nmi
ignore_nmi:
  iretq
