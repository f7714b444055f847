#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check_symbols.sh <addrspace> <work> <compiler> <flags...>
# Compiles the library, engine.cpp and the hypervisor of the README as a kernel would and links
# them into one relocatable object, which may leave nothing undefined but the four functions that GCC
# demands of every environment. And again without optimisation, which leaves the most calls.
set -euo pipefail

addrspace=$1 work=$2 compiler=$3
shift 3

if ! command -v "$compiler" >/dev/null; then
  echo "SKIPPED: there is no $compiler on this machine (scripts/install-dependencies installs it)"
  exit 77
fi

flags=(-std=c++20 -ffreestanding -fno-exceptions -fno-rtti -nostdlib
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
  -fno-threadsafe-statics -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie
  -I"$addrspace/include" "$@")

rm -rf "$work"
mkdir -p "$work"
nm=$("$compiler" -print-prog-name=nm)
for level in -O2 -O0; do
  objects=()
  for source in "$addrspace"/src/*.cpp "$addrspace"/tests/freestanding/engine.cpp \
    "$addrspace"/examples/hypervisor.cpp; do
    object=$work/$(basename "$source" .cpp)$level.o
    "$compiler" "${flags[@]}" "$level" -c "$source" -o "$object"
    objects+=("$object")
  done
  "$compiler" -nostdlib -no-pie -r "${objects[@]}" -o "$work/linked$level.o"

  undefined=$("$nm" --undefined-only --demangle --format=just-symbols "$work/linked$level.o")
  if offending=$(grep -vxE 'memcpy|memmove|memset|memcmp' <<<"$undefined" | grep .); then
    printf 'undefined on bare metal with %s %s:\n%s\n' "$compiler" "$level" "$offending" >&2
    exit 1
  fi
done
