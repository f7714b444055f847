#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""The table of bench/FIGURES.md: runs addrspace-bench, and one of another revision in turns with it,
and prints ratios of times that were measured in the same turn. Times themselves say more about a
machine and its load than about the engine.

    bench/figures.py NEW [BASE]      # build/release/bench/addrspace-bench of two trees"""

import argparse
import datetime
import json
import re
import statistics
import subprocess

UNIT = "floor_of_populate<X86>"
EXTENSIONS = {"X86": "VMX", "Svm": "AMD-V", "Arm": "AArch64", "RiscV": "RISC-V"}


def turn_of(program, least_seconds):
    """Seconds for each item, by name."""
    done = subprocess.run([program, "--benchmark_format=json", "--benchmark_filter=.*",
                           f"--benchmark_min_time={least_seconds}"],
                          check=True, capture_output=True, text=True)
    return {row["name"].split("/")[0]: row["per_item"]
            for row in json.loads(done.stdout)["benchmarks"]}


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as text:
        names = re.findall(r"^model name\s*: (.*)", text.read(), re.MULTILINE)
    return f"{len(names)} x {names[0]}" if names else "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("base", metavar="BASE", nargs="?")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.02, help="of each benchmark, at least")
    options = parser.parse_args()
    turns = []
    for number in range(options.turns):
        programs = [options.new] + ([options.base] if options.base else [])
        if number % 2 == 1:
            programs.reverse()
        done = {program: turn_of(program, options.seconds) for program in programs}
        turns.append((done[options.new], done.get(options.base, {})))

    def median(ratio):
        values = [ratio(*turn) for turn in turns]
        return f"{statistics.median(values):.2f}"

    print(f"{machine()}, {datetime.date.today()}, medians of {options.turns} turns")
    print()
    columns = len(EXTENSIONS)
    print(f"| | in units {'| ' * columns}| base : new {'| ' * columns}".rstrip())
    print(f"|---{'|---:' * 2 * columns}|")
    print(f"| | {' | '.join(2 * list(EXTENSIONS.values()))} |")
    for operation in dict.fromkeys(name.split("<")[0] for name in turns[0][0]):
        names = [f"{operation}<{each}>" for each in EXTENSIONS]
        cells = [median(lambda new, _, name=name: new[name] / new[UNIT]) for name in names]
        cells += [median(lambda new, base, name=name: base[name] / new[name])
                  if name in turns[0][1] else "" for name in names]
        print(f"| {operation.replace('_', ' ')} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
