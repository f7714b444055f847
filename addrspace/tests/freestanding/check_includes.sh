#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check_includes.sh <addrspace>
# The engine may include its own headers and freestanding ones of C++20, nothing else.
set -euo pipefail
cd "$1"

allowed='cstddef|cfloat|climits|limits|version|cstdint|new|type_traits|concepts|compare|bit|atomic'
allowed+='|initializer_list|source_location'

if ! lines=$(grep -rnE '^[[:space:]]*#[[:space:]]*include' include src); then
  echo "no #include below $1: nothing was checked" >&2
  exit 1
fi

status=0
while IFS= read -r line; do
  # What stands between the brackets or quotes; nothing where a macro is included.
  name=$(sed -nE 's/^.*#[[:space:]]*include[[:space:]]*[<"]([^>"]+)[>"].*$/\1/p' <<<"$line")
  folder=$(dirname "${line%%:*}")
  if [[ -n $name ]]; then
    [[ ! $name =~ ^($allowed)$ ]] || continue
    [[ ! -f include/$name && ! -f $folder/$name ]] || continue
  fi
  echo "not freestanding: $1/$line" >&2
  status=1
done <<<"$lines"
exit "$status"
