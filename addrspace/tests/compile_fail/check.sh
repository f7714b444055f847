#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check.sh <file> <compiler> <arguments...>
# The file must compile, and must not compile with -DMUST_FAIL; then a message of the compiler must
# match the extended regular expression in the file's one line of the form "// expect: <regex>".
# Every compiler that builds the project comes by here, so the regex must fit the words of each.
# One rule a file: of two snippets, the second could compile unnoticed.
set -euo pipefail
export LC_ALL=C

file=$1
shift
compile=("$@" -fsyntax-only "$file")

fail() {
  echo "$file: $1" >&2
  exit 1
}

expected=$(sed -n 's|^// expect: ||p' "$file")
[[ -n $expected ]] || fail "has no line '// expect: <regex>'"
[[ $(wc -l <<<"$expected") -eq 1 ]] || fail "has more than one '// expect:' line"

"${compile[@]}" || fail "does not compile without MUST_FAIL"
if output=$("${compile[@]}" -DMUST_FAIL 2>&1); then
  fail "compiles with MUST_FAIL"
fi
# Only the messages: the source lines that a compiler quotes would match by themselves.
if ! sed -nE 's/^.*: (error|note): //p' <<<"$output" | grep -E -e "$expected" >/dev/null; then
  echo "$output" >&2
  fail "none of these errors matches: $expected"
fi
