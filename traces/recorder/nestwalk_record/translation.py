# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Page tables: their formats as data, one walk for all of them, and finding every table.

Page-table entries are 64 bits everywhere. A `Root` says where a table tree begins and how its
addresses are cut into indices; `read` functions return the entry at an address, or None.
"""

import struct
from dataclasses import dataclass

PAGE_SHIFT = 12
PAGE_BYTES = 1 << PAGE_SHIFT
ENTRY_BYTES = 8


def _field(value, low, width):
    return value >> low & (1 << width) - 1


def _decode_x86(entry, level):
    """Intel SDM volume 3, 4.5; NPT has the same form (AMD APM volume 2, 15.25)."""
    if not entry & 1:
        return None
    leaf = level == 0 or (entry & 0x80 and level <= 2)
    return leaf, entry & 0x000F_FFFF_FFFF_F000


def _decode_aarch64(entry, level):
    """Arm ARM, D8.3, 4 KiB granule without LPA2: levels here count from the leaves."""
    if not entry & 1:
        return None
    leaf = level == 0 or not entry & 2
    return leaf, entry & 0x0000_FFFF_FFFF_F000


def _decode_riscv(entry, _level):
    """Privileged manual, "Sv39": a table has neither R, W nor X."""
    if not entry & 1:
        return None
    return bool(entry & 0xE), _field(entry, 10, 44) << PAGE_SHIFT


DECODERS = {"x86_64": _decode_x86, "aarch64": _decode_aarch64, "riscv64": _decode_riscv}


@dataclass(frozen=True)
class Root:
    """Where a walk begins. `root_bits` is the width of the first index: wider than 9 bits where
    root tables are concatenated, narrower where the address ends before."""

    architecture: str
    address: int
    levels: int
    root_bits: int = 9

    def index_bits(self, level):
        return self.root_bits if level == self.levels - 1 else 9

    def address_bits(self):
        return PAGE_SHIFT + 9 * (self.levels - 1) + self.root_bits


@dataclass(frozen=True)
class Translation:
    address: int
    leaf_bits: int  # of the part of the address that the leaf left as it was


def walk(root, address, read):
    """The translation of `address`, or None."""
    decode = DECODERS[root.architecture]
    table = root.address
    for level in range(root.levels - 1, -1, -1):
        shift = PAGE_SHIFT + 9 * level
        entry = read(table + _field(address, shift, root.index_bits(level)) * ENTRY_BYTES)
        decoded = None if entry is None else decode(entry, level)
        if decoded is None:
            return None
        leaf, table = decoded
        if leaf:
            low = (1 << shift) - 1
            return Translation((table & ~low) | (address & low), shift)
    return None


def tables_below(root, read_page):
    """Addresses of all pages that hold tables of the tree."""
    decode = DECODERS[root.architecture]
    found = set()

    def visit(table, level):
        for page in range(table, table + (ENTRY_BYTES << root.index_bits(level)), PAGE_BYTES):
            data = None if (page, level) in found else read_page(page)
            if data is None:
                continue
            found.add((page, level))
            for entry in struct.unpack(f"<{PAGE_BYTES // ENTRY_BYTES}Q", data):
                decoded = decode(entry, level) if entry and level > 0 else None
                if decoded and not decoded[0]:
                    visit(decoded[1], level - 1)

    visit(root.address & ~(PAGE_BYTES - 1), root.levels - 1)
    return {page for page, _ in found}


# ---- from registers to roots ----


def x86_root(registers):
    if not registers["CR0"] >> 31:
        return None  # paging is off
    levels = 5 if registers["CR4"] >> 12 & 1 else 4
    return Root("x86_64", registers["CR3"] & 0x000F_FFFF_FFFF_F000, levels)


def _aarch64_levels(bits):
    return -(-(bits - PAGE_SHIFT) // 9)


def _aarch64_stage1(table, size_field):
    bits = 64 - size_field
    levels = _aarch64_levels(bits)
    address = table & 0x0000_FFFF_FFFF_F000
    return Root("aarch64", address, levels, bits - PAGE_SHIFT - 9 * (levels - 1))


def aarch64_roots(registers):
    """(lower, upper) half of the addresses. Only the 4 KiB granule."""
    control = registers["TCR_EL1"]
    lower = _field(control, 7, 1) == 0 and _field(control, 14, 2) == 0
    upper = _field(control, 23, 1) == 0 and _field(control, 30, 2) == 2
    return (_aarch64_stage1(registers["TTBR0_EL1"], _field(control, 0, 6)) if lower else None,
            _aarch64_stage1(registers["TTBR1_EL1"], _field(control, 16, 6)) if upper else None)


def aarch64_stage2(registers):
    control = registers["VTCR_EL2"]
    bits = 64 - _field(control, 0, 6)
    levels = {0: 2, 1: 3, 2: 4}[_field(control, 6, 2)]
    root_bits = bits - PAGE_SHIFT - 9 * (levels - 1)
    return Root("aarch64", registers["VTTBR_EL2"] & 0x0000_FFFF_FFFF_F000, levels, root_bits)


_RISCV_LEVELS = {8: 3, 9: 4, 10: 5}


def riscv_root(atp, stage2=False):
    """Of satp, vsatp or hgatp; None when it does not translate."""
    levels = _RISCV_LEVELS.get(atp >> 60)
    if levels is None:
        return None
    return Root("riscv64", _field(atp, 0, 44) << PAGE_SHIFT, levels, 11 if stage2 else 9)


def tracked_roots(architecture, registers):
    """The roots in a machine's own registers, by register; none while it does not translate."""
    if architecture == "x86_64":
        roots = {"CR3": x86_root(registers)}
    elif architecture == "aarch64":
        lower, upper = aarch64_roots(registers) if registers["SCTLR"] & 1 else (None, None)
        roots = {"TTBR0_EL1": lower, "TTBR1_EL1": upper}
    else:
        roots = {"satp": riscv_root(registers["satp"])}
    return {name: root for name, root in roots.items() if root}


def stage2_root(architecture, registers):
    """(register, root) of the second stage."""
    if architecture == "x86_64":
        # KVM gives a guest as many levels as it has itself; EPYC has four.
        return "NCR3", Root("x86_64", registers["NCR3"] & 0x000F_FFFF_FFFF_F000, 4)
    if architecture == "aarch64":
        return "VTTBR_EL2", aarch64_stage2(registers)
    return "hgatp", riscv_root(registers["hgatp"], stage2=True)


def root_of(roots, address):
    """The root that translates an address: AArch64 has one for each half of them."""
    if "TTBR0_EL1" in roots or "TTBR1_EL1" in roots:
        return roots.get("TTBR1_EL1" if address >> 55 & 1 else "TTBR0_EL1")
    return next(iter(roots.values()), None)
