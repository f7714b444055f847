# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""The machines that guests run on: QEMU command lines, and where their registers are."""

import os
import re
import shutil
from dataclasses import dataclass

from .errors import RecordError


@dataclass(frozen=True)
class Machine:
    emulator: str
    package: str
    machine: str
    processor: str
    console: str
    memory_base: int
    max_memory_mib: int
    registers: tuple  # through the gdb server; x86-64 has them in the monitor


MACHINES = {
    # RAM above 2 GiB lies above the PCI hole, and QEMU 7.2 gives plugins wrong addresses for it.
    ("x86_64", False): Machine("qemu-system-x86_64", "qemu-system-x86", "q35", "max", "ttyS0", 0,
                               2048, ()),
    ("x86_64", True): Machine("qemu-system-x86_64", "qemu-system-x86", "q35", "EPYC,+svm,+npt",
                              "ttyS0", 0, 2048, ()),
    ("aarch64", False): Machine(
        "qemu-system-aarch64", "qemu-system-arm", "virt", "cortex-a72", "ttyAMA0", 0x4000_0000,
        65536, ("TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "SCTLR", "MAIR_EL1", "cpsr", "pc")),
    ("aarch64", True): Machine(
        "qemu-system-aarch64", "qemu-system-arm", "virt,virtualization=on,gic-version=3",
        "cortex-a72", "ttyAMA0", 0x4000_0000, 65536,
        ("TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "SCTLR", "MAIR_EL1", "cpsr", "pc", "VTTBR_EL2",
         "VTCR_EL2", "HCR_EL2", "TTBR0_EL2", "TCR_EL2")),
    ("riscv64", False): Machine(
        "qemu-system-riscv64", "qemu-system-misc", "virt", "rv64", "ttyS0", 0x8000_0000, 65536,
        ("satp", "sstatus", "priv", "pc")),
    ("riscv64", True): Machine(
        "qemu-system-riscv64", "qemu-system-misc", "virt", "rv64,h=true", "ttyS0", 0x8000_0000,
        65536, ("satp", "sstatus", "priv", "pc", "vsatp", "hgatp", "hstatus", "vsstatus")),
}


def machine_for(architecture, nested, memory_mib):
    machine = MACHINES[architecture, nested]
    if memory_mib > machine.max_memory_mib:
        raise RecordError(
            f"--memory {memory_mib}: at most {machine.max_memory_mib} on {architecture}; "
            "QEMU 7.2 reports wrong addresses for memory above the PCI hole")
    if not shutil.which(machine.emulator):
        raise RecordError(f"{machine.emulator} is missing: install {machine.package}, "
                          "or run record --install")
    return machine


def command_line(machine, folder, options, memory_file):
    """QEMU's, without what a plugin or record/replay adds."""
    return [
        machine.emulator,
        "-machine", f"{machine.machine},memory-backend=ram",
        # One vCPU at a time: their records have an order.
        "-accel", "tcg,thread=single",
        "-object", f"memory-backend-file,id=ram,size={options.memory}M,mem-path={memory_file},"
                   "share=on",
        "-cpu", machine.processor, "-m", str(options.memory), "-smp", str(options.smp),
        "-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot",
        "-serial", f"file:{os.path.join(folder, 'console.txt')}",
        "-kernel", options.kernel, *_linux_arguments(machine, options),
    ]


def _linux_arguments(machine, options):
    if not options.initramfs:
        return []
    # The same kernel addresses in every recording, and no second kernel root on AArch64.
    words = f"console={machine.console} panic=-1 quiet nokaslr {options.append}"
    return ["-initrd", options.initramfs, "-append", words.strip()]


_X86_NAMES = ("CR0", "CR2", "CR3", "CR4", "EFER", "RIP", "CPL")
# AMD APM volume 2, appendix B: offsets in the control block.
_VMCB_ASID, _VMCB_NCR3, _VMCB_CR3 = 0x58, 0xB0, 0x550


def read_registers(machine, monitor, gdb, vcpu):
    """The registers of a vCPU that translation depends on, by name."""
    text = monitor.text("info registers", vcpu)
    if not machine.registers:
        return {name: int(found[1], 16) for name in _X86_NAMES
                if (found := re.search(rf"\b{name}=([0-9a-f]+)", text))}
    registers = gdb.read(machine.registers, vcpu)
    virtual = re.search(r"\bV\s+=\s+(\d)", text)
    if virtual:
        registers["V"] = int(virtual[1])
    return registers


def add_control_block(registers, address, memory):
    """What a guest of SVM has beside its registers."""
    registers["VMCB"] = address
    registers["NCR3"] = memory.entry(address + _VMCB_NCR3)
    registers["ASID"] = memory.entry(address + _VMCB_ASID) & 0xFFFF_FFFF
    registers["VMCB_CR3"] = memory.entry(address + _VMCB_CR3)


def in_guest(architecture, registers):
    """Whether these are the registers of a guest that runs."""
    if architecture == "x86_64":
        # The host has another one. A guest that has changed it since it was entered is missed.
        return registers["CR3"] == registers["VMCB_CR3"]
    if architecture == "aarch64":
        exception_level = registers["cpsr"] >> 2 & 3
        return exception_level < 2 and bool(registers["HCR_EL2"] & 1)
    return registers["V"] == 1
