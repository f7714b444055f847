# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Builds what runs beside and inside the guest: the plugin, the programs, the initial files."""

import glob
import lzma
import os
import shutil
import subprocess

from .errors import RecordError
from .initramfs import Initramfs
from .packages import cache_folder

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUEST = os.path.join(HERE, "guest")
COMPILERS = {"x86_64": "gcc", "aarch64": "aarch64-linux-gnu-gcc",
             "riscv64": "riscv64-linux-gnu-gcc"}
COMPILER_PACKAGES = {"x86_64": ["gcc", "libc6-dev"], "aarch64": ["gcc-aarch64-linux-gnu"],
                     "riscv64": ["gcc-riscv64-linux-gnu"]}
MODULES = {"x86_64": ("irqbypass", "kvm", "kvm-amd"), "aarch64": (), "riscv64": ("kvm",)}


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RecordError(f"{command[0]} failed:\n{done.stderr.strip()}")


def _make_plugin(name):
    if not shutil.which("make") or not shutil.which("cc"):
        raise RecordError("make or cc is missing: install build-essential")
    folder = os.path.join(cache_folder(), "build", "plugin")
    plugin = os.path.join(folder, name)
    _run(["make", "-s", "-C", os.path.join(HERE, "plugin"), f"OUT={folder}", plugin])
    return plugin


def build_plugin():
    """The plugin for the QEMU of this machine."""
    return _make_plugin("nestwalk-record-api1.so")


def build_hypervisor_plugin():
    """The plugin for QEMU 10 that watches hypervisors."""
    return _make_plugin("nestwalk-hypervisor-api4.so")


# A guest without an operating system; its code goes where minivmm gives it memory. --omagic: QEMU
# starts a RISC-V kernel at its lowest address, which must not be that of the file's header.
BARE = ["-ffreestanding", "-nostdlib", "-fno-pic", "-no-pie", "-fno-stack-protector",
        "-Wl,--omagic,-z,norelro,--no-warn-rwx-segments"]
BARE_FLAGS = {
    "x86_64": [*BARE, "-mno-red-zone", "-mgeneral-regs-only", "-Wl,-Ttext=0x10000"],
    "aarch64": [*BARE, "-mgeneral-regs-only", "-mstrict-align", "-Wl,-Ttext=0x40010000"],
    "riscv64": [*BARE, "-mcmodel=medany", "-Wl,-Ttext=0x80010000"],
}


def build_program(architecture, name, flags=()):
    """A program of guest/, static; where it was put."""
    compiler = COMPILERS[architecture]
    if not shutil.which(compiler):
        packages = " ".join(COMPILER_PACKAGES[architecture])
        raise RecordError(f"{compiler} is missing: install {packages}, or run record --install")
    folder = os.path.join(cache_folder(), "build", architecture)
    os.makedirs(folder, exist_ok=True)
    program = os.path.join(folder, name)
    _run([compiler, "-O2", "-Wall", "-Wextra", "-static", "-Wl,--build-id=none", "-D_GNU_SOURCE",
          *flags, os.path.join(GUEST, name + ".c"), "-o", program])
    return program


def module(kernel_folder, name):
    """The bytes of a kernel module, decompressed."""
    found = glob.glob(os.path.join(kernel_folder, "**", f"{name}.ko*"), recursive=True)
    if not found:
        raise RecordError(f"{kernel_folder} holds no module {name}")
    opener = lzma.open if found[0].endswith(".xz") else open
    with opener(found[0], "rb") as file:
        return file.read()


def _contents(path):
    with open(path, "rb") as file:
        return file.read()


def build_initramfs(path, architecture, busybox, workload, kernel_folder=None):
    """busybox, the marker program, the workload; with a kernel folder also KVM and the tiny
    hypervisor."""
    files = Initramfs()
    files.console()
    for folder in ("proc", "sys", "tmp", "modules", "sbin"):
        files.folder(folder)
    files.file("bin/busybox", _contents(busybox))
    applets = _contents(os.path.join(GUEST, "applets")).decode().split()
    for applet in applets:
        files.link("bin/" + applet, "busybox")
    files.file("bin/mark", _contents(build_program(architecture, "mark")))
    files.file("init", _contents(os.path.join(GUEST, "init")))
    if kernel_folder:
        for order, name in enumerate(MODULES[architecture]):
            files.file(f"modules/{order}-{name}.ko", module(kernel_folder, name), 0o644)
        files.file("bin/minivmm", _contents(build_program(architecture, "minivmm")))
        guest = build_program(architecture, "tiny_guest", BARE_FLAGS[architecture])
        files.file("bin/tiny_guest", _contents(guest))
    files.file("payload", _contents(workload))
    files.write(path)
