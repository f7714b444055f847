# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Reads the recording stream that ../STREAM.md describes."""

import struct
from dataclasses import dataclass, field

from .errors import RecordError

ARCHITECTURES = {1: "x86_64", 2: "aarch64", 3: "riscv64"}
READ, WRITE, FETCH, EVENT = range(4)
GUEST_ONLY = 4  # of the flags
EVENTS = ("switch", "fence", "guest entry", "guest exit", "phase", "table", "entry",
          "exit state", "time")
(SWITCH, FENCE, GUEST_ENTRY, GUEST_EXIT, PHASE, TABLE, ENTRY, EXIT_STATE,
 TIME) = range(9)
ABSENT, EXACT, UNKNOWN = range(3)
_END = 0xFFFFFFFF
_TOTALS = ("records", "reads", "writes", "fetches", "events", "instructions", "accesses_seen")

REGISTERS = {0: "CR0", 3: "CR3", 4: "CR4", 5: "NCR3", 16: "TTBR0_EL1", 17: "TTBR1_EL1", 18: "TTBR0_EL2",
             19: "VTTBR_EL2", 20: "TCR_EL1", 21: "SCTLR", 22: "VTCR_EL2", 32: "satp", 33: "vsatp", 34: "hgatp"}


@dataclass(slots=True)
class Record:
    vcpu: int
    kind: int          # READ, WRITE, FETCH or EVENT
    instructions: int  # of the vCPU, since its last record
    address: int = 0   # of an access
    size: int = 0
    physical: int | None = None
    device: bool = False
    event: int = 0
    payload: bytes = b""


def varint(data, at):
    """(value, place behind it)"""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 128:
            return value, at


def operand(data, at):
    """(state, value or None, place behind it)"""
    state = data[at]
    at += 1
    if state != EXACT:
        return state, None, at
    value, at = varint(data, at)
    return state, value, at


@dataclass
class _Chunk:
    vcpu: int
    last: list = field(default_factory=lambda: [0, 0])
    frames: dict = field(default_factory=dict)

    def record(self, data, at):
        tag = data[at]
        at += 1
        since = tag >> 6
        if since == 3:
            since, at = varint(data, at)
        kind = tag & 3
        if kind == EVENT:
            length, at = varint(data, at)
            payload = bytes(data[at:at + length])
            return Record(self.vcpu, kind, since, event=tag >> 2 & 15, payload=payload), at + length
        size = 1 << (tag >> 2 & 7)
        if size == 128:
            size, at = varint(data, at)
        step, at = varint(data, at)
        fetch = kind == FETCH
        address = self.last[fetch] + (step >> 1 ^ -(step & 1)) & 0xFFFF_FFFF_FFFF_FFFF
        self.last[fetch] = address
        if tag & 0x20:
            self.frames[address >> 12], at = varint(data, at)
        frame = self.frames[address >> 12]
        physical = None if frame == 0 else (frame - 1 >> 1) << 12 | address & 0xFFF
        device = frame > 0 and bool(frame - 1 & 1)
        return Record(self.vcpu, kind, since, address, size, physical, device), at


class Stream:
    """Iterates over the records; a stream that was cut off ends after its last whole chunk."""

    def __init__(self, path):
        self._file = open(path, "rb")
        head = self._file.read(64)
        if len(head) < 64 or head[:8] != b"nwrecord":
            raise RecordError(f"{path}: at byte 0: expected a recording stream (nwrecord), "
                              f"found {head[:8]!r}")
        (version, _, architecture, self.flags, self.vcpus, _, self.memory_base,
         self.memory_bytes) = struct.unpack_from("<6I2Q", head, 8)
        if version != 1 or architecture not in ARCHITECTURES:
            raise RecordError(f"{path}: at byte 8: expected version 1 of a known architecture, "
                              f"found version {version} of architecture {architecture}")
        self.architecture = ARCHITECTURES[architecture]
        self.totals = None  # known at the end, if the recording ended in order

    def __iter__(self):
        while True:
            head = self._file.read(32)
            if len(head) < 32:
                return
            magic, vcpu, length, count = struct.unpack_from("<4s3I", head)
            data = self._file.read(length)
            if magic != b"NWCK" or len(data) < length:
                return
            if vcpu == _END:
                self.totals = dict(zip(_TOTALS, struct.unpack("<7Q", data)))
                return
            chunk, at = _Chunk(vcpu), 0
            for _ in range(count):
                record, at = chunk.record(data, at)
                yield record
