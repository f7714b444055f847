#!/usr/bin/env bash
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# check.sh <build> <consumer> <work> <configuration> <cmake arguments...>
# Installs the build into a fresh prefix below <work>, then configures, builds and runs a project
# that knows nothing but that prefix.
set -euo pipefail

build=$1 consumer=$2 work=$3 configuration=$4
shift 4

rm -rf "$work"
cmake --install "$build" --config "$configuration" --prefix "$work/prefix"
cmake -S "$consumer" -B "$work/build" "$@" \
  -DCMAKE_BUILD_TYPE="$configuration" -DCMAKE_PREFIX_PATH="$work/prefix"
cmake --build "$work/build" --config "$configuration" --target run
