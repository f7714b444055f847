# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Talking to a running QEMU: its monitor protocol (QMP) and its gdb server."""

import json
import re
import socket
import time

from .errors import RecordError


def connect(path, process, timeout=30):
    """A connection to a Unix socket that `process` is about to open."""
    end = time.monotonic() + timeout
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
        if process.poll() is not None:
            raise RecordError(f"QEMU ended at once, with status {process.returncode}")
        if time.monotonic() > end:
            raise RecordError(f"QEMU did not open {path} within {timeout} s")
        time.sleep(0.05)


class Monitor:
    """QEMU's monitor. Commands may be sent without waiting for their answers: QEMU may be unable
    to answer before something else has happened."""

    def __init__(self, connection):
        self.connection = connection
        self._received = b""
        self._sent = []     # names of commands without an answer
        self._answers = {}  # the last one, by name
        self.command("qmp_capabilities")

    def send(self, name, **arguments):
        message = {"execute": name, **({"arguments": arguments} if arguments else {})}
        self.connection.sendall(json.dumps(message).encode() + b"\n")
        self._sent.append(name)

    def read_some(self):
        """Takes in what has come; waits if nothing has."""
        data = self.connection.recv(1 << 16)
        if not data:
            raise RecordError("QEMU closed its monitor")
        *lines, self._received = (self._received + data).split(b"\n")
        for message in map(json.loads, lines):
            if "return" in message or "error" in message:  # neither greeting nor event
                self._answers[self._sent.pop(0)] = message

    def answered(self, name):
        return name not in self._sent

    def receive(self, name):
        while not self.answered(name):
            self.read_some()
        answer = self._answers.pop(name)
        if "error" in answer:
            raise RecordError(f"QEMU refused {name}: {answer['error'].get('desc')}")
        return answer["return"]

    def command(self, name, **arguments):
        self.send(name, **arguments)
        return self.receive(name)

    def text(self, line, vcpu=0):
        """What the human monitor prints."""
        return self.command("human-monitor-command", **{"command-line": line, "cpu-index": vcpu})


class GdbServer:
    """As much of the gdb remote protocol as reading registers takes. Stops the machine."""

    def __init__(self, connection):
        self._connection = connection
        self._received = b""
        self._numbers = {}
        self._request("qSupported:xmlRegisters=i386")
        self._find_registers()

    def _request(self, text):
        """The answer; that the machine has stopped (T..., S...) may come in between."""
        checksum = sum(text.encode()) % 256
        self._connection.sendall(b"$%s#%02x" % (text.encode(), checksum))
        while True:
            found = re.search(rb"\$([^#]*)#..", self._received, re.DOTALL)
            if found:
                self._received = self._received[found.end():]
                self._connection.sendall(b"+")
                if found[1][:1] not in (b"T", b"S"):
                    return found[1].decode("latin-1")
                continue
            data = self._connection.recv(1 << 16)
            if not data:
                raise RecordError("QEMU closed its gdb server")
            self._received += data

    def _document(self, name):
        text = ""
        while True:
            part = self._request(f"qXfer:features:read:{name}:{len(text):x},ffb")
            text += part[1:]
            if part[:1] != "m":
                return text

    def _find_registers(self):
        """Registers are numbered in the order of the documents, but for explicit numbers."""
        number = 0
        for document in re.findall(r'href="([^"]+)"', self._document("target.xml")):
            for attributes in re.findall(r"<reg ([^>]*)>", self._document(document)):
                explicit = re.search(r'regnum="(\d+)"', attributes)
                if explicit:
                    number = int(explicit[1])
                self._numbers[re.search(r'name="([^"]+)"', attributes)[1]] = number
                number += 1

    def read(self, names, vcpu):
        """Values by name; a register that this machine lacks is left out."""
        values = {}
        self._request(f"Hg{vcpu + 1:x}")  # QEMU numbers threads from 1
        for name in names:
            if name not in self._numbers:
                continue
            text = self._request(f"p{self._numbers[name]:x}")
            if text and text[0] != "E":
                values[name] = int.from_bytes(bytes.fromhex(text), "little")
        return values

    def close(self):
        """Leaves the machine stopped."""
        self._connection.close()
