#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check_encodings.sh <addrspace> <work> <tools prefix> <assembler flags> <lines...>
# The instructions that fence_execute.hpp and vmrun.hpp say by their encodings are those that the
# assembler makes of the lines: each line's word, on x86-64 its bytes, is in the compiled engine.
set -euo pipefail

addrspace=$1 work=$2 prefix=$3 flags=$4
shift 4

if ! command -v "$prefix-g++" >/dev/null; then
  echo "SKIPPED: there is no $prefix-g++ on this machine (scripts/install-dependencies installs it)"
  exit 77
fi

mkdir -p "$work"
words() { "$prefix-objdump" -d "$1" | sed -nE 's/^ +[0-9a-f]+:\s+([0-9a-f]{8}|([0-9a-f]{2} )+)\s.*/\1/p'; }

# Every operand in the registers that the lines name: x0 or a0, and a1 for the VMID.
cat >"$work/ops.cpp" <<'CPP'
#include "nestwalk/addrspace/fence_execute.hpp"
#include "nestwalk/addrspace/vmrun.hpp"
using namespace nestwalk::addrspace;
#if defined(__x86_64__)
#define OP(row) \
  extern "C" void use_##row(u64 operand, u16 asid) { svm::execute(Fence{svm::row, asid, operand}); }
OP(kInvlpgbNested) OP(kInvlpgb) OP(kTlbsync) OP(kInvlpga)
#elif defined(__aarch64__)
using namespace stage2;
#define OP(form, domain)                              \
  extern "C" void use_##form##_##domain(u64 operand) { \
    execute(Fence{form.domain, 0, operand});           \
  }
OP(kRipas2e1, is) OP(kRipas2le1, is) OP(kIpas2e1, local) OP(kIpas2le1, local) OP(kVmalle1, local)
OP(kVmalls12e1, local) OP(kAlle1, is)
#else
using namespace hext;
#define OP(form, when)                                          \
  extern "C" void use_##form##_##when(u64 operand, u16 vmid) {   \
    execute(Fence{form.when, vmid, operand});                    \
  }
OP(kGvmaAddressVmid, at_once) OP(kGvmaVmid, at_once) OP(kGvmaAll, at_once) OP(kVvmaAll, at_once)
OP(kGvmaAddressVmid, posted) OP(kGvmaAll, posted) OP(kVvmaAll, posted)
extern "C" void use_sfence_w_inval() { execute(Fence{kSfenceWInval}); }
extern "C" void use_sfence_inval_ir() { execute(Fence{kSfenceInvalIr}); }
// In a0, so that a1 is free.
extern "C" void use_hinval_vmid(u16 vmid) { execute(Fence{kGvmaVmid.posted, vmid}); }
#endif
CPP
"$prefix-g++" -std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -I"$addrspace/include" \
  -c "$work/ops.cpp" -o "$work/ops.o"
words "$work/ops.o" | sort -u >"$work/ours"

printf '%s\n' "$@" >"$work/lines.s"
# shellcheck disable=SC2086 # several flags
"$prefix-as" $flags "$work/lines.s" -o "$work/lines.o"
words "$work/lines.o" | sort -u >"$work/theirs"
[[ $(wc -l <"$work/theirs") -eq $# ]]

if missing=$(comm -13 "$work/ours" "$work/theirs" | grep .); then
  echo "not among the instructions of fence_execute.hpp and vmrun.hpp: $missing" >&2
  exit 1
fi
