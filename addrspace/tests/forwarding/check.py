#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Reads x86-64 code for loads that no store buffer can serve: of bytes of which a store shortly
before wrote only some. Such a load waits until the store is in the cache, some 15 cycles, and no
count of instructions shows it. Prints each, and exits with 1 if there are any.

    check.py OBJECT [REGEX...]   # but in functions whose name matches one of the expressions"""

import re
import subprocess
import sys

WINDOW = 40  # instructions: what lies further apart has reached the cache
WIDTHS = {"b": 1, "w": 2, "l": 4, "q": 8}
VECTOR_MOVES = {"movups": 16, "movaps": 16, "movupd": 16, "movapd": 16, "movdqu": 16, "movdqa": 16,
                "movlps": 8, "movhps": 8, "movlpd": 8, "movhpd": 8, "movsd": 8, "movss": 4}
MEMORY = re.compile(r"(-?0x[0-9a-f]+|-?\d+)?\(([^)]*)\)")
READS = ("mov", "cmp", "test", "add", "sub", "and", "or", "xor", "imul", "punpck", "cmov")


def width_of_register(name):
    name = name.lstrip("%")
    if name.startswith("xmm"):
        return 16
    if re.fullmatch(r"[abcd][lh]|[sd]il|[sb]pl|r\d+b", name):
        return 1
    if re.fullmatch(r"[abcd]x|[sd]i|[sb]p|r\d+w", name):
        return 2
    if re.fullmatch(r"e\w\w|r\d+d", name):
        return 4
    return 8


def width_of(operation, operands):
    if operation in VECTOR_MOVES:
        return VECTOR_MOVES[operation]
    if operation in ("movd", "movq"):
        return 4 if operation == "movd" else 8
    if operation.startswith(("movzb", "movsb", "set")):
        return 1
    if operation.startswith(("movzw", "movsw")):
        return 2
    registers = [each for each in operands if each.startswith("%")]
    if registers:
        return width_of_register(registers[0])
    return WIDTHS.get(operation[-1], 8)


def split(operands):
    return [each.strip() for each in re.split(r",(?![^(]*\))", operands)]


def stalls_in(instructions):
    """(store, load) of one function. Control flow is taken as it lies there."""
    stores = []  # (registers of the address, offset, bytes, number, text)
    for number, text in enumerate(instructions):
        operation, _, rest = text.partition(" ")
        if operation in ("call", "ret"):
            stores = []
            continue
        operands = split(rest.strip())
        memory = MEMORY.search(rest)
        into_memory = bool(memory) and operands[-1].endswith(")")
        if memory and "%rip" not in memory.group(2):
            base, offset = memory.group(2), int(memory.group(1) or "0", 0)
            width = width_of(operation, operands)
            end = offset + width
            if into_memory and operation.startswith(("mov", "set")):
                stores = [each for each in stores
                          if each[0] != base or each[1] < offset or each[1] + each[2] > end]
                stores.append((base, offset, width, number, text))
            elif operation.startswith(READS):
                for where, start, size, when, stored in stores:
                    overlaps = where == base and start < end and offset < start + size
                    served = start <= offset and end <= start + size
                    if overlaps and not served and number - when <= WINDOW:
                        yield stored, text
        if operands and operands[-1].startswith("%") and not operation.startswith(("cmp", "test")):
            changed = operands[-1]
            stores = [each for each in stores if changed not in each[0].split(",")]


def functions_of(file):
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "-C", file], check=True,
                             capture_output=True, text=True).stdout
    name, instructions = None, []
    for line in listing.splitlines():
        start = re.match(r"^[0-9a-f]+ <(.*)>:$", line)
        if start:
            if name:
                yield name, instructions
            name, instructions = start.group(1), []
        elif "\t" in line:
            instructions.append(" ".join(line.split("\t")[1].split("#")[0].split()))
    if name:
        yield name, instructions


def main():
    file, left_out = sys.argv[1], sys.argv[2:]
    found = False
    for name, instructions in functions_of(file):
        if any(re.search(each, name) for each in left_out):
            continue
        for store, load in stalls_in(instructions):
            found = True
            print(f"{name}: {load} waits for {store}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
