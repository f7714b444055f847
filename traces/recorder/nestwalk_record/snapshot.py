# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""What the machine looked like at one moment: registers, memory map, page tables."""

import mmap
import struct

from .translation import PAGE_BYTES, tables_below, walk

TABLES_MAGIC = b"nwtables"


class Memory:
    """The guest's memory, which QEMU keeps in a shared file."""

    def __init__(self, path, base):
        self._base = base
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def entry(self, address):
        offset = address - self._base
        if not 0 <= offset <= len(self._bytes) - 8:
            return None
        return struct.unpack_from("<Q", self._bytes, offset)[0]

    def page(self, address):
        offset = address - self._base
        if not 0 <= offset <= len(self._bytes) - PAGE_BYTES:
            return None
        return self._bytes[offset:offset + PAGE_BYTES]

    def close(self):
        self._bytes.close()


def write_tables(path, pages):
    """Pages that hold page tables: magic, u32 version, u32 count, then address and bytes of each,
    in ascending order."""
    with open(path, "wb") as file:
        file.write(TABLES_MAGIC + struct.pack("<2I", 1, len(pages)))
        for address in sorted(pages):
            file.write(struct.pack("<Q", address) + pages[address])


def read_tables(path):
    """What write_tables wrote: bytes by address."""
    with open(path, "rb") as file:
        data = file.read()
    count = struct.unpack_from("<I", data, 12)[0]
    record = struct.Struct(f"<Q{PAGE_BYTES}s")
    return dict(record.unpack_from(data, 16 + n * record.size) for n in range(count))


def table_pages(roots, memory, second=None):
    """The pages with tables below these roots, by address. Those of a guest have the guest's
    addresses, and lie where the second stage has them."""
    def locate(guest_physical):
        found = walk(second, guest_physical, memory.entry) if second else None
        return found.address if found else None if second else guest_physical

    def page(address):
        where = locate(address)
        return None if where is None else memory.page(where)

    return {address: page(address) for root in roots for address in tables_below(root, page)}


def write_text(path, values):
    """A line for each: name, a space, value."""
    with open(path, "w", encoding="utf-8") as file:
        for name, value in values.items():
            file.write(f"{name} {value}\n")


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" ", 1) for line in file)
