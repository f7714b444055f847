#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# volume.sh <baremetal-volume> <machine> <work> <format> <seed> [<trial>]
# Random tables and probes: made here, answered by the emulator, judged here. A trial (plants=N,
# one-bit-wrong) passes when the judge finds it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/emulate.sh"

volume=$1 machine=$2 work=$3 format=$4 seed=$5 trial=${6:-}
need_emulator "$machine"
[[ -f $work/payload.elf ]] || skip "the payload was not built: there is no cross compiler"

scratch=$(mktemp -d "$work/volume.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
image=$scratch/image output=$scratch/output
cp "$work"/payload.* "$scratch"
"$volume" make "$format" "$seed" "$image" ${trial:+"$trial"}
if [[ $machine == x86_64-* ]]; then
  cat "$work/payload.rom" >>"$image"
else
  truncate -s 256M "$image"
fi

status=0
emulate "$machine" "$scratch" "$image" | tr -d '\r' >"$output" || status=$?
last=$(tail -n 1 "$output")
if [[ $status -ne 0 || $last != "$machine: 2 checks, 0 failed" ]]; then
  grep -v '^=' "$output" >&2 || true
  echo "the emulator ended with status $status" >&2
  exit 1
fi

version=$(emulator_version "$machine" "$scratch")
answers=$image
[[ $machine != x86_64-* ]] || answers=$output
status=0
"$volume" judge "$format" "$seed" "$answers" "$here/deviations.json" "${emulators[$machine]}" \
  "$version" ${trial:+"$trial"} >"$scratch/verdict" || status=$?
cat "$scratch/verdict"
[[ -n $trial ]] || exit "$status"

# A trial must be found, by the judge and for its reason.
[[ $status -eq 3 ]] || { echo "not noticed: $trial" >&2; exit 1; }
case $trial in
  plants=*) grep -q "; planted ${trial#plants=}, found ${trial#plants=}$" "$scratch/verdict" ;;
  *) grep -Eq 'wrong for the engine [1-9][0-9]*, for the models 0, ' "$scratch/verdict" ;;
esac || { echo "noticed, but not as expected: $trial" >&2; exit 1; }
