#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check_symbols.sh <addrspace> <work> <compiler> <flags...>
# Compiles the library, engine.cpp and the hypervisor of the README as a kernel would and links
# them into one relocatable object,
# which may leave nothing undefined but the four functions that GCC demands of every environment.
set -euo pipefail

addrspace=$1 work=$2 compiler=$3
shift 3

if ! command -v "$compiler" >/dev/null; then
  echo "SKIPPED: there is no $compiler on this machine (scripts/install-dependencies installs it)"
  exit 77
fi

flags=(-std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -nostdlib
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
  -fno-threadsafe-statics -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie
  -I"$addrspace/include" "$@")

rm -rf "$work"
mkdir -p "$work"
objects=()
for source in "$addrspace"/src/*.cpp "$addrspace"/tests/freestanding/engine.cpp \
  "$addrspace"/examples/hypervisor.cpp; do
  object=$work/$(basename "$source" .cpp).o
  "$compiler" "${flags[@]}" -c "$source" -o "$object"
  objects+=("$object")
done
"$compiler" -nostdlib -no-pie -r "${objects[@]}" -o "$work/linked.o"

nm=$("$compiler" -print-prog-name=nm)
undefined=$("$nm" --undefined-only --demangle --format=just-symbols "$work/linked.o")
if offending=$(grep -vxE 'memcpy|memmove|memset|memcmp' <<<"$undefined" | grep .); then
  printf 'undefined on bare metal with %s:\n%s\n' "$compiler" "$offending" >&2
  exit 1
fi
