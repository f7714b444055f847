# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Proves a recording: walks the recorded tables for every record, and compares addresses."""

import collections
import os
import struct

from . import stream
from .snapshot import read_tables, read_text
from .translation import PAGE_BYTES, root_of, stage2_root, tracked_roots, walk

ROOT_REGISTERS = {"CR0", "CR3", "CR4", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "SCTLR", "satp"}
# Accessed and dirty bits.
SET_BY_PROCESSOR = {"x86_64": 0x60, "aarch64": 0x400, "riscv64": 0xC0}
CR3_KEEP_TLB = 1 << 63


class LiveTables:
    """The tables of a stage as they were at each moment: those of the begin, and what the
    recording adds."""

    def __init__(self, path):
        self.pages = {address: list(struct.unpack("<512Q", page))
                      for address, page in read_tables(path).items()}

    def entry(self, address):
        page = self.pages.get(address & ~(PAGE_BYTES - 1))
        return page[address % PAGE_BYTES // 8] if page else None

    def new_table(self, payload, at):
        address, at = stream.varint(payload, at)
        at += 1  # the level
        entries, index = [0] * 512, 0
        while at < len(payload):
            step, at = stream.varint(payload, at)
            index += step
            entries[index] = struct.unpack_from("<Q", payload, at)[0]
            at += 8
        self.pages[address] = entries

    def new_entry(self, payload, at):
        address, at = stream.varint(payload, at)
        page = self.pages.setdefault(address & ~(PAGE_BYTES - 1), [0] * 512)
        page[address % PAGE_BYTES // 8] = struct.unpack_from("<Q", payload, at)[0]


class Checker:
    """Follows roots and tables through a recording, and walks for each access."""

    def __init__(self, folder):
        self.folder = folder
        self.stream = stream.Stream(os.path.join(folder, "stream"))
        texts = read_text(os.path.join(folder, "registers.begin"))
        self.registers = {name: int(value, 16) for name, value in texts.items()}
        self.stages = [LiveTables(os.path.join(folder, "tables.begin.guest"))]
        self.followed = True  # the registers that switches are about
        self.counts = collections.Counter()
        self.known = {}
        self._find_roots()

    def _find_roots(self):
        self.roots = tracked_roots(self.stream.architecture, self.registers)

    def _walk(self, page):
        root = root_of(self.roots, page)
        found = walk(root, page, self.stages[0].entry) if root else None
        return found.address if found else None

    def _verdict(self, record):
        if record.physical is None:
            return "no physical address"
        if record.device:
            return "device"
        page = record.address & ~(PAGE_BYTES - 1)
        frame = record.physical & ~(PAGE_BYTES - 1)
        if not self.roots:
            return "untranslated" if page == frame else "MISMATCH"
        if page not in self.known:
            self.known[page] = self._walk(page)
        if frame == self.known[page]:
            return "match"
        return "NOT IN THE TABLES" if self.known[page] is None else "MISMATCH"

    def _switch(self, payload):
        code, at = stream.varint(payload, 0)
        name = stream.REGISTERS.get(code)
        state, value, _ = stream.operand(payload, at)
        self.counts["event", f"{'' if self.followed else 'host '}switch of {name or code}"] += 1
        if not self.followed or name not in ROOT_REGISTERS or state != stream.EXACT:
            return
        self.registers[name] = value & ~CR3_KEEP_TLB if name == "CR3" else value
        self._find_roots()

    def _event(self, record):
        if record.event == stream.SWITCH:
            self._switch(record.payload)
        elif record.event == stream.TABLE:
            self.stages[record.payload[0]].new_table(record.payload, 1)
        elif record.event == stream.ENTRY:
            self.stages[record.payload[0]].new_entry(record.payload, 1)
        else:
            return
        self.known = {}

    def run(self):
        kinds = {stream.READ: "read", stream.WRITE: "write", stream.FETCH: "fetch"}
        for record in self.stream:
            if record.kind == stream.EVENT:
                self.counts["event", stream.EVENTS[record.event]] += 1
                self._event(record)
            else:
                self.counts[kinds[record.kind], self._verdict(record)] += 1
        for stage, tables in zip(("guest", "host"), self.stages):
            self._compare_with_end(stage, tables)
        return self.counts

    def _compare_with_end(self, stage, tables):
        """What was followed to the end must be what was found there."""
        ignored = SET_BY_PROCESSOR[self.stream.architecture]
        pages = read_tables(os.path.join(self.folder, f"tables.end.{stage}"))
        for address, page in pages.items():
            followed = tables.pages.get(address, [0] * 512)
            for mine, found in zip(followed, struct.unpack("<512Q", page)):
                if mine or found:
                    same = (mine ^ found) & ~ignored == 0
                    self.counts[f"{stage} entries at the end", "match" if same else "DIFFER"] += 1


class NestedChecker(Checker):
    """A guest of a hypervisor, whose tables lie behind the second stage."""

    def __init__(self, folder):
        super().__init__(folder)
        self.stages.append(LiveTables(os.path.join(folder, "tables.begin.host")))
        self.second = stage2_root(self.stream.architecture, self.registers)[1]

    def _walk(self, page):
        guest_physical = super()._walk(page)
        found = walk(self.second, guest_physical, self.stages[1].entry) if guest_physical else None
        return found.address if found else None

    def _event(self, record):
        if record.event in (stream.GUEST_ENTRY, stream.GUEST_EXIT):
            self.followed = record.event == stream.GUEST_ENTRY
        super()._event(record)


def checker_for(folder):
    guest_only = stream.Stream(os.path.join(folder, "stream")).flags & stream.GUEST_ONLY
    return (NestedChecker if guest_only else Checker)(folder)


def main(folders):
    good = True
    for folder in folders:
        counts = checker_for(folder).run()
        for name, count in sorted(counts.items()):
            print(f"{folder}: {count:>10} {name[0]}: {name[1]}")
        good &= not any(verdict.isupper() for _, verdict in counts)
    return 0 if good else 3
