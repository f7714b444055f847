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

    def table(self, address):
        page = self.page(address)
        return None if page is None else struct.unpack("<512Q", page)

    def page(self, address):
        offset = address - self._base
        if not 0 <= offset <= len(self._bytes) - PAGE_BYTES:
            return None
        return self._bytes[offset:offset + PAGE_BYTES]

    def close(self):
        self._bytes.close()


def write_tables(path, memory, addresses):
    """Pages that hold page tables: magic, u32 version, u32 count, then address and bytes of each,
    in ascending order."""
    with open(path, "wb") as file:
        file.write(TABLES_MAGIC + struct.pack("<2I", 1, len(addresses)))
        for address in sorted(addresses):
            file.write(struct.pack("<Q", address) + memory.page(address))


class Tables:
    """Reads what write_tables wrote; stands in for Memory in walks."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        count = struct.unpack_from("<I", data, 12)[0]
        record = struct.Struct(f"<Q{PAGE_BYTES}s")
        self.pages = dict(record.unpack_from(data, 16 + n * record.size) for n in range(count))

    def entry(self, address):
        page = self.pages.get(address & ~(PAGE_BYTES - 1))
        return struct.unpack_from("<Q", page, address % PAGE_BYTES)[0] if page else None


def table_pages(roots, memory, second=None):
    """Addresses of all pages with tables below these roots; those of a guest lie where the second
    stage has them."""
    if not second:
        return set().union(*(tables_below(root, memory.table) for root in roots))

    def locate(guest_physical):
        found = walk(second, guest_physical, memory.entry)
        return found.address if found else None

    return tables_below(second, memory.table).union(
        *(tables_below(root, memory.table, locate) for root in roots))
