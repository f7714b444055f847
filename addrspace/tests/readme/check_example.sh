#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check_example.sh <readme> <example.cpp>
# The C++ code that a README shows is the part of the example between its [example] marks, which
# another test compiles.
set -euo pipefail

shown=$(sed -n '/^```cpp$/,/^```$/p' "$1" | sed '1d;$d')
compiled=$(sed -n '/^\/\/ \[example\]$/,/^\/\/ \[example\]$/p' "$2" | sed '1d;$d')
[[ -n $compiled ]] || { echo "$2: there is nothing between [example] marks" >&2; exit 1; }
diff <(echo "$shown") <(echo "$compiled") ||
  { echo "$1 shows other code than $2 has" >&2; exit 1; }
