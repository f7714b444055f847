# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""scripts/record: boots a guest under QEMU and records what it does."""

import argparse
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from . import build, hypervisor, snapshot
from .control import GdbServer, Monitor, connect
from .errors import RecordError, exit_status
from .hypervisor import sha256
from .machine import (add_control_block, command_line, in_guest, machine_for,
                      read_registers)
from .packages import cache_folder, fetch_guest
from .stream import REGISTERS
from .translation import stage2_root, tracked_roots

NEEDED = ["qemu-system-x86", "qemu-system-arm", "qemu-system-misc", "qemu-user", "gcc",
          "libc6-dev", "make", "gcc-aarch64-linux-gnu", "gcc-riscv64-linux-gnu", "apt", "dpkg"]

RUN_LOG = "replay.bin"
# As the plugin numbers them.
ONLY_STAGE, GUEST_STAGE, SECOND_STAGE = range(3)
REGISTER_CODES = {name: code for code, name in REGISTERS.items()}


def say(text):
    print(f"record: {text}", file=sys.stderr, flush=True)


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="record", description="Boots a Linux guest under QEMU and records its memory accesses.",
        epilog="Kernels and busybox are Debian packages, fetched into $NESTWALK_CACHE or "
               "~/.cache/nestwalk. --install installs what the recorder needs and does nothing "
               "else.")
    parser.add_argument("--out", metavar="DIR", help="where the recording goes; must not exist")
    parser.add_argument("--arch", choices=("x86_64", "aarch64", "riscv64"), default="x86_64")
    parser.add_argument("--nested", action="store_true",
                        help="record a guest of KVM inside the machine")
    parser.add_argument("--hypervisor", choices=("kvm", "xen"),
                        help="record what a hypervisor does to its second stage, for nestwalk check")
    parser.add_argument("--work", metavar="FILE",
                        help="with --hypervisor: shell script to run beside the guest (default: "
                             "guest/hypervisor/work)")
    parser.add_argument("--smp", type=int, default=1, metavar="N", help="virtual processors")
    parser.add_argument("--memory", type=int, default=512, metavar="MIB")
    parser.add_argument("--roi", choices=("marker", "count"), default="marker",
                        help="record from the workload's begin to its end (default), or from "
                             "power-on")
    parser.add_argument("--skip", type=int, default=0, metavar="N",
                        help="leave out the first N data accesses of the region")
    parser.add_argument("--max", type=int, metavar="N", help="end after N data accesses")
    parser.add_argument("--workload", metavar="FILE",
                        help="static program or shell script to run (default: some shell work)")
    parser.add_argument("--kernel", metavar="FILE",
                        help="boot this instead of Debian's kernel, without a workload")
    parser.add_argument("--keep-stream", action="store_true",
                        help="keep the recorder's own stream beside trace.nwt")
    parser.add_argument("--no-fetches", action="store_true", help="record data accesses only")
    parser.add_argument("--reproducible", action="store_true",
                        help="record the run itself first, then replay it under the recorder")
    parser.add_argument("--replay", metavar="DIR",
                        help="replay the run that --reproducible left in DIR (same options)")
    parser.add_argument("--append", default="", metavar="WORDS", help="more kernel parameters")
    parser.add_argument("--timeout", type=int, default=1800, metavar="SECONDS")
    parser.add_argument("--install", action="store_true", help="apt-get install what is needed")
    options = parser.parse_args(arguments)
    if not options.install and not options.out:
        parser.error("--out DIR is missing")
    if options.work and not options.hypervisor:
        parser.error("--work: only with --hypervisor; a program to record is a --workload")
    return options


def install():
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    command = [*prefix, "apt-get", "install", "-y", "--no-install-recommends", *NEEDED]
    say(shlex.join(command))
    return subprocess.run(command, check=False).returncode


def find_nestwalk():
    """The program that converts recordings; None if it is not built."""
    built = os.path.join(build.HERE, "..", "..", "build", "release", "sim", "nestwalk")
    candidates = [os.environ.get("NESTWALK"), built, shutil.which("nestwalk")]
    return next((name for name in candidates if name and os.access(name, os.X_OK)), None)


class Conversion:
    """Converts a recording to trace.nwt while it is made: its stream is a FIFO meanwhile. With
    --keep-stream, and without nestwalk, the stream is a file. What is converted is the stream, or
    for the recorder's own format the folder."""

    def __init__(self, options, stream="stream", form="recording"):
        nestwalk = find_nestwalk()
        self.stream, self._form = os.path.join(options.out, stream), form
        self._command = nestwalk and [
            nestwalk, "trace", "import", "--from", form, "-o",
            os.path.join(options.out, "trace.nwt"),
            options.out if form == "recording" else self.stream]
        self._keeps = options.keep_stream or not nestwalk
        self._process = None

    def __enter__(self):
        if not self._keeps:
            os.mkfifo(self.stream)
            self._process = subprocess.Popen(self._command)
        return self

    def finish(self):
        """After the stream has ended."""
        if not self._command:
            say("the program nestwalk is not built here: the recording stays a stream; "
                f"nestwalk trace import --from {self._form} converts it")
            return
        if self._process:
            self._let_go()
        process = self._process or subprocess.Popen(self._command)
        if process.wait() != 0:
            raise RecordError("the recording could not be converted")

    def _let_go(self):
        """A recorder that failed may never have opened the FIFO, which the converter waits for."""
        try:
            os.close(os.open(self.stream, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass  # nobody waits

    def __exit__(self, *_):
        if self._process:
            self._process.kill()
            self._process.wait()
            os.remove(self.stream)


class Recording:
    """One run of QEMU with the plugin."""

    def __init__(self, options, machine, plugin, scratch):
        self.options, self.machine = options, machine
        self.scratch = scratch
        self.sockets = {name: os.path.join(scratch, name) for name in ("qmp", "gdb", "control")}
        self.memory_file = os.path.join(scratch, "memory")
        self.command = self._command(plugin)

    def _plugin_argument(self, plugin):
        options = self.options
        values = {
            "out": os.path.join(options.out, "stream"),
            "control": self.sockets["control"],
            "memory": self.memory_file,
            "memory_base": self.machine.memory_base,
            "memory_bytes": options.memory << 20,
            "markers": "on" if options.roi == "marker" else "off",
            "fetch": "off" if options.no_fetches else "on",
            "tables": "on",
            "guests": "only" if options.nested else "off",
            "ordered": "on" if options.smp > 1 else "off",
            "skip": options.skip,
        }
        if options.max is not None:
            values["max"] = options.max
        return ",".join([f"file={plugin}", *(f"{name}={value}" for name, value in values.items())])

    def _command(self, plugin):
        command = command_line(self.machine, self.options.out, self.options, self.memory_file)
        # It starts when everybody is connected: gdb cannot while the plugin holds the vCPU.
        command += ["-S", "-qmp", f"unix:{self.sockets['qmp']},server=on,wait=off",
                    "-plugin", self._plugin_argument(plugin)]
        if self.machine.registers:
            command += ["-gdb", f"unix:{self.sockets['gdb']},server=on,wait=off"]
        if self.options.run_log:
            command += ["-icount", f"shift=1,rr=replay,rrfile={self.options.run_log}"]
        return command

    def run(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.sockets["control"])
            listener.listen(1)
            listener.settimeout(1)
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True)
            try:
                self._run(listener)
            finally:
                self.process.kill()
                self.process.wait()

    def _run(self, listener):
        self.connection = self._accept(listener)
        self.connection.settimeout(self.options.timeout)
        self.control = self.connection.makefile("rw")
        self.monitor = Monitor(connect(self.sockets["qmp"], self.process))
        self.gdb = None
        if self.machine.registers:
            self.gdb = GdbServer(connect(self.sockets["gdb"], self.process))
        # Not waited for: the plugin may hold the vCPU before QEMU comes to answer.
        self.monitor.send("cont")
        self.memory = snapshot.Memory(self.memory_file, self.machine.memory_base)
        self._begin()
        self._end()
        self._finish()

    def _accept(self, listener):
        while self.process.poll() is None:
            try:
                return listener.accept()[0]
            except TimeoutError:
                pass
        return self._explain("QEMU did not start")

    def _explain(self, what):
        self.process.kill()
        reason = self.process.stderr.read().strip() or "QEMU gave no reason"
        raise RecordError(f"{what}: {reason}")

    def _ask(self, moment):
        """The plugin stands at the begin or end of the region, between two blocks."""
        try:
            line = self.control.readline()
        except TimeoutError:
            self._explain(f"the region's {moment} was not reached in {self.options.timeout} s "
                          "(see console.txt)")
        if not line:
            self._explain(f"the guest ended before the region's {moment} (see console.txt)")
        return int(line.split()[1], 16)

    def _answer(self, *lines):
        for line in lines:
            self.control.write(line + "\n")
        self.control.flush()

    def _stop_once(self, moment):
        """Stops the machine where the plugin asks. It has to let the vCPU go for that, and asks
        again in case the vCPU came to another block before it stopped."""
        control_block = self._ask(moment)
        self.monitor.send("stop")
        time.sleep(0.1)
        self._answer("wait")
        while not self.monitor.answered("stop"):
            ready = select.select([self.monitor.connection, self.connection], [], [])[0]
            if self.monitor.connection in ready:
                self.monitor.read_some()
            else:
                self._ask(moment)
                self._answer("wait")
        self.monitor.receive("stop")
        registers = [read_registers(self.machine, self.monitor, self.gdb, vcpu)
                     for vcpu in range(self.options.smp)]
        if self.options.nested and control_block:
            add_control_block(registers[0], control_block, self.memory)
        return registers

    def _stop(self, moment):
        """The registers of the stopped machine, by vCPU. An interrupt may have taken it out of the guest."""
        for _ in range(100):
            registers = self._stop_once(moment)
            if not self.options.nested or in_guest(self.options.arch, registers[0]):
                say(f"{moment} of the region")
                return registers
            self.monitor.send("cont")
        raise RecordError("could not stop the machine while it runs its guest")

    def _look(self, moment, registers):
        """Leaves behind registers and tables; the roots that the plugin is to follow."""
        stage, second, tracked = ONLY_STAGE, None, []
        if self.options.nested:
            name, second = stage2_root(self.options.arch, registers[0])
            stage, tracked = GUEST_STAGE, [(SECOND_STAGE, second, name, registers[0][name])]
        for own in registers:
            tracked += [(stage, root, name, own[name])
                        for name, root in tracked_roots(self.options.arch, own).items()]
        roots = {root for root_stage, root, *_ in tracked if root_stage == stage}
        out = self.options.out
        snapshot.write_tables(os.path.join(out, f"tables.{moment}.guest"),
                              snapshot.table_pages(roots, self.memory, second))
        if second:
            snapshot.write_tables(os.path.join(out, f"tables.{moment}.host"),
                                  snapshot.table_pages([second], self.memory))
        for vcpu, own in enumerate(registers):
            name = f"registers.{moment}" + (f".{vcpu}" if vcpu else "")
            snapshot.write_text(os.path.join(out, name),
                                {name: hex(value) for name, value in own.items()})
        return [f"track {REGISTER_CODES[name]} {stage} {root.levels} {root.root_bits} {value:x}"
                for stage, root, name, value in tracked]

    def _begin(self):
        tracked = self._look("begin", self._stop("begin"))
        self.monitor.send("cont")
        self._ask("begin")
        self._answer(*tracked, "go")

    def _end(self):
        self._look("end", self._stop("end"))
        self.memory.close()

    def _finish(self):
        with open(os.path.join(self.options.out, "memory-map.txt"), "w", encoding="ascii") as file:
            file.write(self.monitor.text("info mtree -f"))
        self.monitor.send("quit")
        self.process.wait(60)


def version_of(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True,
                          check=True).stdout.splitlines()[0]


def portable(command, options, scratch):
    """A command line without the names of this machine's folders."""
    for folder, name in ((options.out, "OUT"), (cache_folder(), "CACHE"), (scratch, "SCRATCH")):
        command = command.replace(folder, name)
    return command


def provenance(options, machine, recording, guest, arguments):
    return {
        "command": shlex.join(["scripts/record", *arguments]),
        "architecture": options.arch,
        "nested": "yes" if options.nested else "no",
        "vcpus": options.smp,
        "memory_base": hex(machine.memory_base),
        "memory_bytes": options.memory << 20,
        "emulator": version_of(machine.emulator),
        "emulator_command": portable(shlex.join(recording.command), options, recording.scratch),
        **guest,
    }


def scratch_folder(memory_bytes):
    """Where the guest's memory lives while it runs: in RAM, if there is room."""
    shared = "/dev/shm"
    roomy = os.path.isdir(shared) and shutil.disk_usage(shared).free > memory_bytes
    return tempfile.TemporaryDirectory(prefix="nestwalk-record-", dir=shared if roomy else None)


def default_workload(options):
    return os.path.join(build.GUEST, "nested-work" if options.nested else "shell-work")


def run_log(options):
    """QEMU's log of a run that is, or was, recorded without the plugin; None if it runs once."""
    if options.replay:
        return os.path.join(os.path.abspath(options.replay), RUN_LOG)
    return os.path.join(options.out, RUN_LOG) if options.reproducible else None


def record_once(options, machine):
    """The run itself, by QEMU's record/replay: light, without the plugin."""
    say("recording the run itself")
    with scratch_folder(options.memory << 20) as scratch:
        command = command_line(machine, options.out, options, os.path.join(scratch, "memory"))
        command += ["-icount", f"shift=1,rr=record,rrfile={options.run_log}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              timeout=options.timeout, check=False)
    if done.returncode != 0:
        raise RecordError(f"QEMU failed while recording the run: {done.stderr.strip()}")


def prepare_linux(options):
    """Kernel and first file system; what the provenance says about them."""
    options.kernel, kernel_folder, busybox = fetch_guest(options.arch, say)
    workload = options.workload or default_workload(options)
    options.initramfs = os.path.join(options.out, "initramfs.gz")
    build.build_initramfs(options.initramfs, options.arch, busybox, workload,
                          kernel_folder if options.nested else None)
    return {
        "kernel": os.path.basename(kernel_folder),
        "kernel_sha256": sha256(options.kernel),
        "busybox": busybox.split("/unpacked/")[1].split("/")[0],
        "initramfs_sha256": sha256(options.initramfs),
        "workload_sha256": sha256(workload),
    }


def prepare_kernel(options):
    options.initramfs = None
    return {"kernel": os.path.basename(options.kernel), "kernel_sha256": sha256(options.kernel)}


def record(options, arguments):
    machine = machine_for(options.arch, options.nested, options.memory)
    options.run_log = run_log(options)
    if options.smp > 1 and options.run_log:
        raise RecordError("--reproducible, --replay: QEMU replays machines with one vCPU only")
    if options.smp > 1 and options.nested:
        raise RecordError("--nested records a guest with one vCPU on a machine with one: no --smp")
    plugin = build.build_plugin()
    os.makedirs(options.out)
    guest = prepare_kernel(options) if options.kernel else prepare_linux(options)
    if options.reproducible:
        record_once(options, machine)
    with scratch_folder(options.memory << 20) as scratch, Conversion(options) as conversion:
        recording = Recording(options, machine, plugin, scratch)
        snapshot.write_text(os.path.join(options.out, "provenance"),
                            provenance(options, machine, recording, guest, arguments))
        say(f"booting {options.arch}")
        recording.run()
        conversion.finish()
    if options.initramfs:
        os.remove(options.initramfs)
    for name in ("trace.nwt", "stream"):
        path = os.path.join(options.out, name)
        if os.path.exists(path):
            say(f"{path}: {os.path.getsize(path)} bytes")


def main(arguments):
    options = parse(arguments)
    if options.install:
        return install()
    options.out = os.path.abspath(options.out)
    if options.hypervisor:
        return exit_status(
            say, lambda: hypervisor.record(options, arguments, scratch_folder, say))
    return exit_status(say, lambda: record(options, arguments))
