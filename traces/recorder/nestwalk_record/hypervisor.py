# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""scripts/record --hypervisor: what a real hypervisor does to its second stage, as a fence log.

QEMU 10 (for its plugin interface 4), the kernel and the user land are packages of Debian 13,
unpacked in the cache. The machine's processors, with their virtualization extension, are emulated:
KVM runs in it as it was shipped, and a packaged qemu-system as its VMM.
"""

import base64
import collections
import glob
import gzip
import hashlib
import lzma
import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass

from . import build
from .errors import RecordError
from .initramfs import Initramfs
from .packages import DEBIAN_ARCHITECTURES, PackageSource, cache_folder

SUITE = "trixie"
GUEST = os.path.join(build.GUEST, "hypervisor")
MEMORY_BYTES = 1 << 30

COMMON_HOOKS = ("operation kvm_mmu_notifier_invalidate_range_start",
                "operation kvm_mmu_notifier_clear_flush_young",
                "operation kvm_mmu_notifier_clear_young",
                "operation kvm_vm_ioctl",
                "pages-freed trace_event_raw_event_mm_page_free")


@dataclass(frozen=True)
class Host:
    """The machine that a hypervisor runs on, and the VMM's of its guest."""
    emulator_package: str
    kernel_package: str
    machine: str
    processor: str
    memory_base: int
    console: str
    guest_machine: str
    vmemmap: int  # of its kernel, without KASLR: where struct page of frame 0 would be
    hooks: tuple
    firmware: tuple = ()  # of the emulated machine, in QEMU's packages
    guest_files: tuple = ()  # of the VMM, in its packages


HOSTS = {
    "aarch64": Host(
        "qemu-system-arm", "linux-image-cloud-arm64", "virt,virtualization=on,gic-version=3",
        "cortex-a76", 0x4000_0000, "ttyAMA0", "virt,gic-version=3", 0xFFFF_FDFF_BF00_0000,
        ("operation kvm_handle_guest_abort", "end-of-guests kvm_free_stage2_pgd")),
    "riscv64": Host(
        "qemu-system-riscv", "linux-image-riscv64", "virt", "rv64,h=true", 0x8000_0000, "ttyS0",
        "virt", 0xFF1B_FFFF_FE00_0000,
        ("operation kvm_riscv_vcpu_exit", "end-of-guests kvm_mmu_notifier_release"),
        firmware=("-bios", "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")),
    "x86_64": Host(
        "qemu-system-x86", "linux-image-cloud-amd64", "q35", "EPYC,+svm,+npt", 0, "ttyS0",
        "microvm,pcie=on", 0xFFFF_EA00_0000_0000,
        ("operation kvm_mmu_page_fault", "end-of-guests kvm_mmu_notifier_release"),
        guest_files=("usr/share/seabios/bios-microvm.bin", "usr/share/seabios/bios-256k.bin",
                     "usr/share/qemu/qboot.rom", "usr/share/qemu/linuxboot_dma.bin",
                     "usr/share/qemu/kvmvapic.bin")),
}


def triplet(architecture):
    return f"{architecture}-linux-gnu"


def program(architecture):
    return f"qemu-system-{architecture}"


class Emulator:
    """QEMU of Debian 13, out of its folder, with its own loader and libraries."""

    def __init__(self, architecture, say):
        source = PackageSource("x86_64", say, SUITE)
        self.root = source.closure([HOSTS[architecture].emulator_package])
        libraries = os.path.join(self.root, "usr", "lib", triplet("x86_64"))
        share = os.path.join(self.root, "usr", "share")
        self.command = [
            os.path.join(self.root, "lib64", "ld-linux-x86-64.so.2"),
            "--library-path", libraries, "--argv0", program(architecture),
            os.path.join(self.root, "usr", "bin", program(architecture)),
            "-L", os.path.join(share, "qemu"), "-L", os.path.join(share, "seabios")]
        self.environment = {**os.environ, "QEMU_MODULE_DIR": os.path.join(libraries, "qemu")}

    def version(self):
        done = subprocess.run([*self.command[:6], "--version"], env=self.environment, text=True,
                              capture_output=True, check=True)
        return done.stdout.splitlines()[0]


def libraries_of(path):
    """(names of the libraries that a program needs, its loader or None)"""
    done = subprocess.run(["readelf", "-W", "-d", "-l", path], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise RecordError(f"readelf cannot read {path}: {done.stderr.strip()}")
    loader = re.search(r"program interpreter: ([^\]]*)\]", done.stdout)
    return re.findall(r"\(NEEDED\).*\[(.*?)\]", done.stdout), loader and loader[1]


def program_files(root, architecture, path):
    """Where a program, its loader and its libraries go, and what they are, by their place."""
    folders = [os.path.join(root, "usr", "lib", triplet(architecture)),
               os.path.join(root, "usr", "lib", triplet(architecture), "systemd")]
    files = {"bin/" + os.path.basename(path): os.path.join(root, path)}
    waiting, seen = collections.deque(files.values()), set()
    while waiting:
        names, loader = libraries_of(waiting.popleft())
        if loader:
            files[loader.lstrip("/")] = os.path.join(root, loader.lstrip("/"))
        for name in set(names) - seen:
            seen.add(name)
            found = [path for folder in folders
                     if os.path.exists(path := os.path.join(folder, name))]
            if not found:
                raise RecordError(f"{path} needs {name}, which no package brings")
            files["lib/" + name] = os.path.realpath(found[0])
            waiting.append(found[0])
    return files


def _contents(path):
    with open(path, "rb") as file:
        return file.read()


def _started(root):
    """An initial file system with busybox."""
    files = Initramfs()
    files.console()
    for folder in ("proc", "sys", "tmp", "modules"):
        files.folder(folder)
    files.file("bin/busybox", _contents(os.path.join(root, "usr", "bin", "busybox")))
    files.link("bin/sh", "busybox")
    return files


def vmm_script(architecture, smp):
    """What runs the guest."""
    host = HOSTS[architecture]
    words = f"console={host.console} panic=-1 quiet"
    return shlex.join([
        program(architecture), "-accel", "kvm", "-machine", host.guest_machine, "-cpu", "host",
        "-m", "160", "-smp", str(smp), "-nodefaults", "-display", "none", "-serial", "stdio",
        "-monitor", "pipe:/tmp/monitor", "-kernel", "/kernel", "-initrd", "/guest.cpio",
        "-append", words, "-no-reboot"]) + ' "$@"\n'


def guest_packages(architecture):
    host = HOSTS[architecture]
    return ["busybox-static", host.kernel_package, host.emulator_package]


def versions_in(root, names):
    """The versions of the packages that were asked for, and of the kernel."""
    with open(os.path.join(root, "packages"), encoding="ascii") as file:
        unpacked = [line.strip().replace("%3a", ":") for line in file]
    return [version for version in unpacked
            if version.split("_")[0] in names or version.startswith("linux-image-")]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Packages:
    """What the machine and its guest run."""

    def __init__(self, architecture, say):
        source = PackageSource(architecture, say, SUITE)
        self.architecture = architecture
        self.root = source.closure(guest_packages(architecture))
        kernels = glob.glob(os.path.join(self.root, "boot", "vmlinu*"))
        if not kernels:
            raise RecordError(f"{self.root} holds no kernel image")
        self.kernel = kernels[0]
        self.kernel_name = os.path.basename(self.kernel).split("-", 1)[1]

    def guest(self, path):
        files = _started(self.root)
        files.file("init", _contents(os.path.join(GUEST, "guest-init")))
        files.write(path, compress=False)

    def machine(self, path, smp, work):
        guest = path + ".guest"
        self.guest(guest)
        files = _started(self.root)
        files.file("init", _contents(os.path.join(GUEST, "init")))
        files.file("work", _contents(work))
        files.file("vmm", vmm_script(self.architecture, smp).encode())
        files.file("guest.cpio", _contents(guest))
        files.file("kernel", _contents(self.kernel))
        os.remove(guest)
        for order, name in enumerate(build.MODULES[self.architecture]):
            files.file(f"modules/{order}-{name}.ko", build.module(self.root, name))
        emulator = f"usr/bin/{program(self.architecture)}"
        for place, source in sorted(program_files(self.root, self.architecture, emulator).items()):
            files.file(place, _contents(source))
        files.file("usr/share/qemu/efi-virtio.rom", b"")
        for name in HOSTS[self.architecture].guest_files:
            files.file("usr/share/qemu/" + os.path.basename(name),
                       _contents(os.path.join(self.root, name)))
        files.write(path, compress=False)


def machine_command(emulator, packages, smp, scratch, console, words):
    """QEMU's, without the plugin."""
    host = HOSTS[packages.architecture]
    option, *path = host.firmware or ("",)
    firmware = [option, os.path.join(emulator.root, path[0])] if path else []
    return [
        *emulator.command, "-machine", f"{host.machine},memory-backend=ram",
        "-accel", f"tcg,thread={'multi' if smp > 1 else 'single'}", "-object",
        f"memory-backend-file,id=ram,size={MEMORY_BYTES},mem-path={scratch}/memory,share=on",
        "-cpu", host.processor, "-m", "1024", "-smp", str(smp), "-display", "none",
        "-monitor", "none", "-nodefaults", "-no-reboot", "-serial", f"file:{console}", *firmware,
        "-kernel", packages.kernel, "-initrd", f"{scratch}/initramfs", "-append",
        f"console={host.console} panic=-1 quiet nokaslr rdinit=/init {words}"]


def run(emulator, command, console, timeout):
    """Until the machine is off. The plugin closes its log when QEMU is asked to end, not when it is
    killed."""
    with subprocess.Popen(["nice", *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          env=emulator.environment, text=True) as process:
        try:
            _, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
            raise RecordError(
                f"the machine was not off after {timeout} s (see {console})") from error
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RecordError(f"QEMU failed: {said.strip() or 'it gave no reason'}")


def symbols_in(text):
    """Lines of address and name, from a console that holds them packed."""
    found = re.search(r"record: symbols\s(.*?)record: end", text, re.DOTALL)
    if not found:
        raise RecordError("the machine told no symbols")
    lines = gzip.decompress(base64.b64decode("".join(found[1].split()))).decode().splitlines()
    return "".join(" ".join(line.split()[:2]) + "\n" for line in lines if line)


def symbols_of(emulator, packages, scratch, timeout, say):
    """The file of the kernel's symbols; from a boot of its own, once for each kernel."""
    path = os.path.join(cache_folder(), "symbols",
                        f"{packages.architecture}-{packages.kernel_name}")
    if os.path.exists(path):
        return path
    say("booting once for the kernel's symbols")
    console = os.path.join(scratch, "symbols")
    run(emulator, machine_command(emulator, packages, 1, scratch, console, "nestwalk.symbols"),
        console, timeout)
    with open(console, encoding="utf-8", errors="replace") as file:
        text = symbols_in(file.read())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.rename(path + ".new", path)
    return path


def plugin_argument(plugin, host, scratch, symbols):
    hooks = os.path.join(scratch, "hooks")
    with open(hooks, "w", encoding="ascii") as file:
        file.write("".join(hook + "\n" for hook in (*COMMON_HOOKS, *host.hooks)))
    values = {"file": plugin, "out": f"{scratch}/log", "memory": f"{scratch}/memory",
              "memory_base": hex(host.memory_base), "memory_bytes": hex(MEMORY_BYTES),
              "symbols": symbols, "hooks": hooks, "vmemmap": hex(host.vmemmap)}
    return ",".join(f"{name}={value}" for name, value in values.items())


def compress(source, target, comments):
    """The log, with what it is of; the same log gives the same bytes."""
    with open(source, "rb") as log, lzma.open(target, "wb") as packed:
        packed.write(log.readline())
        for name, value in comments.items():
            packed.write(f"# {name}: {value}\n".encode())
        shutil.copyfileobj(log, packed)


def lines_of(path):
    """Of a log that may be compressed, as the recorder does it."""
    with open(path, "rb") as file:
        opener = lzma.open if file.read(6) == b"\xfd7zXZ\0" else open
    with opener(path, "rt", encoding="ascii") as log:
        yield from log


def instruction_in(words):
    """The instruction of a fence's line, without its operands: `tlbi ipas2e1is`."""
    named = 2 if words[4] in ("tlbi", "dsb", "vmrun") else 1
    return " ".join(words[4:4 + named]).rstrip(",")


def counts_of(path):
    """How many lines of each kind a log has, and how many fences of each kind."""
    events, fences = collections.Counter(), collections.Counter()
    for line in lines_of(path):
        words = line.split()
        if len(words) < 3 or not words[0].isdigit():
            continue
        events[words[2]] += 1
        if words[2] == "fence":
            fences[instruction_in(words)] += 1
    return events, fences


def summary(events, fences):
    wanted = ("store", "fence", "enter", "fault", "free", "begin", "vm")
    names = {"store": "stores", "fence": "fences", "enter": "entries", "fault": "faults",
             "free": "frees", "begin": "operations", "vm": "VMs and tags"}
    first = ", ".join(f"{events[event]} {names[event]}" for event in wanted)
    return [first, ", ".join(f"{count} {name}" for name, count in fences.most_common())]


# Of recordings of accesses.
OTHERS = ("nested", "skip", "max", "workload", "kernel", "keep_stream", "no_fetches",
          "reproducible", "replay")


def refuse_what_is_not_supported(options):
    if options.hypervisor != "kvm":
        raise RecordError(f"--hypervisor {options.hypervisor}: not supported yet")
    for name in OTHERS:
        if getattr(options, name):
            raise RecordError(f"--{name.replace('_', '-')}: not with --hypervisor")
    if not 1 <= options.smp <= 64:
        raise RecordError(f"--smp {options.smp}: expected 1 to 64 processors")


def record(options, arguments, scratch_folder, say):
    refuse_what_is_not_supported(options)
    host = HOSTS[options.arch]
    work = options.work or os.path.join(GUEST, "work")
    plugin = build.build_hypervisor_plugin()
    emulator, packages = Emulator(options.arch, say), Packages(options.arch, say)
    os.makedirs(options.out)
    console = os.path.join(options.out, "console.txt")
    with scratch_folder(MEMORY_BYTES + (256 << 20)) as scratch:
        packages.machine(os.path.join(scratch, "initramfs"), options.smp, work)
        symbols = symbols_of(emulator, packages, scratch, options.timeout, say)
        command = machine_command(
            emulator, packages, options.smp, scratch, console,
            f"trace_event=kmem:mm_page_free transparent_hugepage=madvise {options.append}")
        command += ["-plugin", plugin_argument(plugin, host, scratch, symbols)]
        say(f"booting KVM on {options.arch}, and a guest")
        began = time.monotonic()
        run(emulator, command, console, options.timeout)
        seconds = round(time.monotonic() - began)
        comments = {"command": shlex.join(["scripts/record", *arguments]),
                    "hypervisor": f"KVM of Linux {packages.kernel_name}",
                    "processor": host.processor, "processors": options.smp,
                    "emulator": emulator.version(),
                    "packages": " ".join(versions_in(packages.root, guest_packages(options.arch))),
                    "work_sha256": sha256(work)}
        path = os.path.join(options.out, "fences.log.xz")
        bytes_of_text = os.path.getsize(os.path.join(scratch, "log"))
        compress(os.path.join(scratch, "log"), path, comments)
    report(path, console, seconds, bytes_of_text, say)


def report(path, console, seconds, bytes_of_text, say):
    with open(console, encoding="utf-8", errors="replace") as file:
        text = file.read()
    for line in re.findall(r"^(?:record|guest): .*", text.replace("\r", ""), re.MULTILINE):
        say(line.removeprefix("record: "))
    if "record: done" not in text:
        raise RecordError(f"the machine's work did not end (see {console})")
    say(f"{path}: {os.path.getsize(path)} bytes, {bytes_of_text} unpacked, in {seconds} s")
    for line in summary(*counts_of(path)):
        say(line)
    if "guest: done" not in text:
        raise RecordError(f"the guest did not end (see {console})")
