#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# build.sh <machine> <work>, a machine is an architecture, or on x86-64 x86_64-vmx or x86_64-svm.
# Compiles the engine and the payload as a kernel would: <work>/payload.elf, and payload.rom for x86.
set -euo pipefail

machine=$1 work=$2
architecture=${machine%-*}
here=$(dirname "${BASH_SOURCE[0]}")
addrspace=$here/..
compiler=$architecture-linux-gnu-g++

if ! command -v "$compiler" >/dev/null; then
  echo "SKIPPED: there is no $compiler on this machine (scripts/install-dependencies installs it)"
  exit 77
fi

case $architecture in
  riscv64) flags=(-mcmodel=medany) ;;
  # Without outline atomics: those are calls into libgcc. Before the MMU is on, memory is a device.
  aarch64) flags=(-mgeneral-regs-only -mno-outline-atomics -mstrict-align) ;;
  x86_64) flags=(-mno-red-zone -mgeneral-regs-only -mcmodel=small -fcf-protection=none) ;;
esac
flags+=(-std=c++20 -Os -ffreestanding -fno-exceptions -fno-rtti -nostdlib -static -fno-pic -no-pie
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
  -fno-threadsafe-statics -fno-stack-protector -fno-asynchronous-unwind-tables
  -I"$addrspace/include" -I"$here")

folders=("$here/$architecture")
[[ $machine == "$architecture" ]] || folders+=("$here/$architecture/${machine#*-}")
[[ $machine != x86_64-svm ]] || flags+=(-DNESTWALK_SVM)

mkdir -p "$work"
sources=("$here"/*.cpp "$addrspace"/src/*.cpp)
for folder in "${folders[@]}"; do
  sources+=("$folder"/*.cpp "$folder"/*.S)
done
"$compiler" "${flags[@]}" -Wl,--build-id=none,-z,norelro,-z,max-page-size=4096,--no-warn-rwx-segments,-z,noexecstack \
  -T "$here/$architecture/link.ld" \
  "${sources[@]}" -o "$work/payload.elf"

if [[ $architecture == x86_64 ]]; then
  objcopy=$("$compiler" -print-prog-name=objcopy)
  "$objcopy" -O binary -j .text -j .boot -j .reset --gap-fill 0xff --pad-to 0x100000 \
    "$work/payload.elf" "$work/payload.rom"
fi
