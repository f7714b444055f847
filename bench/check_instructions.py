#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Counts the instructions of the engine's operations, the Hal's and the fences' included, under
valgrind. Exit code 1 where one takes more than its budget.

    check_instructions.py build/release/bench/addrspace-cost"""

import re
import shutil
import subprocess
import sys

PAGES = 8192  # as in addrspace_cost.cpp
RUNS = 2
SKIPPED = 77
SLACK = 1.15
# What each takes (gcc 12 -O3), and of what: of one page, or of the whole operation.
COSTS = {
    "eager_populate": (23, PAGES),
    "linear_4k": (15, PAGES),
    "linear_32_gib": (1150, 1),
    "lazy_map": (330, 1),
    "lazy_faults": (96, PAGES),
    "lazy_faults_svm": (96, PAGES),
    "lazy_faults_aarch64": (107, PAGES),
    "lazy_faults_riscv64": (143, PAGES),
    "translate": (28, PAGES),
    "protect": (203, PAGES),
    "unmap_eager": (29, PAGES),
    "unmap_linear_4k": (21, PAGES),
}


def counted(program, name):
    """Both runs of one operation, with all that it calls."""
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           f"--toggle-collect=cost_of_{name}", program],
                          check=True, capture_output=True, text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1)) / RUNS


def main():
    if shutil.which("valgrind") is None:
        print("SKIPPED: there is no valgrind (scripts/install-dependencies installs it)")
        return SKIPPED
    exceeded = False
    for name, (usual, items) in COSTS.items():
        each = counted(sys.argv[1], name) / items
        over = each > usual * SLACK
        exceeded = exceeded or over
        print(f"{name:22}{each:8.1f}, usually {usual}{', more than the slack allows' if over else ''}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
