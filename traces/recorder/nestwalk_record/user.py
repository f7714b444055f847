# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""scripts/record-user: records what one program does, without its kernel."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys

from . import build, snapshot
from .errors import RecordError, exit_status
from .record import Conversion, sha256, version_of

# ELF machine numbers.
EMULATORS = {62: "qemu-x86_64", 183: "qemu-aarch64", 243: "qemu-riscv64"}


def say(text):
    print(f"record-user: {text}", file=sys.stderr, flush=True)


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="record-user", description="Records the memory accesses of one program (virtual "
        "addresses only).")
    parser.add_argument("--out", metavar="DIR", required=True, help="must not exist")
    parser.add_argument("--with", dest="tool", choices=("qemu", "lackey"),
                        help="user-mode QEMU with the plugin (default where it is installed: "
                             "package qemu-user), or valgrind's lackey")
    parser.add_argument("--skip", type=int, default=0, metavar="N",
                        help="leave out the first N data accesses (qemu)")
    parser.add_argument("--max", type=int, metavar="N", help="end after N data accesses (qemu)")
    parser.add_argument("--threads", type=int, default=1, metavar="N",
                        help="that the program starts at most (qemu; default 1)")
    parser.add_argument("--keep-stream", action="store_true",
                        help="keep the recorder's own stream beside trace.nwt")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("COMMAND is missing")
    return options


def emulator_of(program):
    """The user-mode QEMU for a program, or None."""
    with open(program, "rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        raise RecordError(f"{program}: at byte 0: expected a program in machine code (ELF), "
                          f"found {head[:4]!r}")
    emulator = EMULATORS.get(int.from_bytes(head[18:20], "little"))
    return emulator and shutil.which(emulator)


def write_provenance(options, emulator, program, arguments):
    snapshot.write_text(os.path.join(options.out, "provenance"), {
        "command": shlex.join(["scripts/record-user", *arguments]),
        "emulator": version_of(emulator),
        "program": os.path.realpath(program),
        "program_sha256": sha256(program),
    })


def with_qemu(options, emulator, program, arguments):
    plugin = build.build_plugin()
    values = [f"file={plugin}", f"out={options.out}/stream", f"skip={options.skip}",
              f"threads={options.threads}"]
    if options.max is not None:
        values.append(f"max={options.max}")
    command = [emulator, "-plugin", ",".join(values), program, *options.command[1:]]
    write_provenance(options, emulator, program, arguments)
    snapshot.write_text(os.path.join(options.out, "registers.begin"), {})
    with Conversion(options) as conversion:
        status = subprocess.run(command, check=False).returncode
        conversion.finish()
    return status


def with_lackey(options, program, arguments):
    valgrind = shutil.which("valgrind")
    if not valgrind:
        raise RecordError("neither user-mode QEMU for this program nor valgrind is installed: "
                          "install qemu-user or valgrind")
    if options.tool != "lackey":
        say(f"no user-mode QEMU for {program} is installed (package qemu-user): recorded with "
            "valgrind's lackey, without --skip, --max and --threads")
    write_provenance(options, valgrind, program, arguments)
    with Conversion(options, "lackey.txt", "lackey") as conversion:
        command = ["valgrind", "--tool=lackey", "--trace-mem=yes",
                   f"--log-file={conversion.stream}", *options.command]
        status = subprocess.run(command, check=False).returncode
        conversion.finish()
    return status


def record(options, arguments):
    program = shutil.which(options.command[0])
    if not program:
        raise RecordError(f"{options.command[0]}: no such program")
    emulator = None if options.tool == "lackey" else emulator_of(program)
    if options.tool == "qemu" and not emulator:
        raise RecordError(f"no user-mode QEMU for {program} is installed: install qemu-user")
    options.out = os.path.abspath(options.out)
    os.makedirs(options.out)
    if emulator:
        status = with_qemu(options, emulator, program, arguments)
    else:
        status = with_lackey(options, program, arguments)
    if status != 0:
        say(f"{options.command[0]} ended with status {status}")


def main(arguments):
    options = parse(arguments)
    return exit_status(say, lambda: record(options, arguments))
