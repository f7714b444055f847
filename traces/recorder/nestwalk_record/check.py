# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Proves a recording: walks the recorded tables for every record, and compares addresses."""

import collections
import json
import os

from . import stream
from .snapshot import Tables
from .translation import PAGE_BYTES, address_space

ROOT_REGISTERS = {"CR0", "CR3", "CR4", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "satp"}
CR3_KEEP_TLB = 1 << 63


def load_registers(folder, moment):
    with open(os.path.join(folder, f"registers.{moment}.json"), encoding="utf-8") as file:
        return {name: int(value, 16) for name, value in json.load(file).items()}


class FlatChecker:
    """A guest without a hypervisor: one stage, whose roots the recording follows."""

    def __init__(self, folder):
        self.stream = stream.Stream(os.path.join(folder, "stream"))
        self.registers = load_registers(folder, "begin")
        self.tables = [Tables(os.path.join(folder, f"tables.{m}")) for m in ("begin", "end")]
        self.space = address_space(self.stream.architecture, self.registers)
        self.counts = collections.Counter()
        self.known = {}

    def _translations(self, page):
        if page not in self.known:
            found = [self.space.walk(page, tables.entry) for tables in self.tables]
            self.known[page] = [t.address for t in found if t]
        return self.known[page]

    def _verdict(self, record):
        if record.physical is None:
            return "no physical address"
        if record.device:
            return "device"
        page = record.address & ~(PAGE_BYTES - 1)
        frame = record.physical & ~(PAGE_BYTES - 1)
        if not self.space:
            return "untranslated" if page == frame else "MISMATCH"
        candidates = self._translations(page)
        if frame in candidates:
            return "match"
        return "MISMATCH" if candidates else "NOT IN THE TABLES"

    def _switch(self, payload):
        code, at = stream.varint(payload, 0)
        name = stream.REGISTERS.get(code)
        state, value, _ = stream.operand(payload, at)
        self.counts["switches of " + (name or "unknown")] += 1
        if name not in ROOT_REGISTERS or state != stream.EXACT:
            return
        self.registers[name] = value & ~CR3_KEEP_TLB if name == "CR3" else value
        self.space = address_space(self.stream.architecture, self.registers)
        self.known = {}

    def run(self):
        kinds = {stream.READ: "read", stream.WRITE: "write", stream.FETCH: "fetch"}
        for record in self.stream:
            if record.kind != stream.EVENT:
                self.counts[kinds[record.kind], self._verdict(record)] += 1
            elif record.event == stream.SWITCH:
                self._switch(record.payload)
        return self.counts


def main(folders):
    good = True
    for folder in folders:
        counts = FlatChecker(folder).run()
        for name, count in sorted(counts.items(), key=str):
            print(f"{folder}: {count:>10} {name if isinstance(name, str) else ' '.join(name)}")
        good &= not any(verdict[1].isupper() for verdict in counts if isinstance(verdict, tuple))
    return 0 if good else 3
