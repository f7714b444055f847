#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# run.sh <machine> <work>: runs the payload that build.sh made. It passes when the exit status
# says so and the last line does.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/emulate.sh"

machine=$1 work=$2
need_emulator "$machine"
[[ -f $work/payload.elf ]] || skip "the payload was not built: there is no cross compiler"

status=0
output=$(emulate "$machine" "$work" | tr -d '\r'; exit "${PIPESTATUS[0]}") || status=$?
echo "$output"
last=$(tail -n 1 <<<"$output")
if [[ $status -ne 0 ]]; then
  echo "the emulator ended with status $status" >&2
  exit 1
fi
if [[ ! $last =~ ^$machine:\ [1-9][0-9]*\ checks,\ 0\ failed$ ]]; then
  echo "the last line is: $last" >&2
  exit 1
fi
