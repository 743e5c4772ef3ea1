# SPDX-License-Identifier: GPL-2.0-or-later
"""Both sides of gdb's remote protocol for tests: a server in a thread, a client that speaks packets, and gdb itself in batch mode."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmemu.debug.gdb import Server
from vmemu.debug.session import Session
from vmemu.machine import images

GDB = shutil.which("gdb-multiarch")
needs_gdb = pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed (apt-get install gdb-multiarch)")
ROOT = Path(__file__).resolve().parents[2]
#: Seconds: a test that waits so long for the other side has failed.
PATIENCE = 20.0


@contextlib.contextmanager
def serving(session: Session, where: str = "0") -> Iterator[Server]:
    """A server for the session, in a thread; it is closed at the end, and its errors are the test's."""
    said: list[str] = []
    server = Server(session, where, said.append)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server does not end"
        if failed:
            raise failed[0]


class Client:
    """A client that sends what it is told to, good or bad."""

    def __init__(self, server: Server) -> None:
        host, colon, port = server.address.rpartition(":")
        if colon:
            self.socket = socket.create_connection((host, int(port)), PATIENCE)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(server.address)
        self.held = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def packet(self, data: bytes) -> None:
        body = bytearray()
        for byte in data:
            body += bytes((0x7D, byte ^ 0x20)) if byte in b"$#}*" else bytes((byte,))
        self.send(b"$%s#%02x" % (bytes(body), sum(body) % 256))

    def receive(self) -> bytes:
        """The data of the next packet, with runs and escapes undone; b"" at the end of the stream as well."""
        while b"#" not in self.held[:-2]:
            data = self.socket.recv(65536)
            if not data:
                return b""
            self.held += data
        begin, end = self.held.index(b"$"), self.held.index(b"#")
        body, self.held = self.held[begin + 1 : end], self.held[end + 3 :]
        out, i = bytearray(), 0
        while i < len(body):
            if body[i] == 0x7D:
                out.append(body[i + 1] ^ 0x20)
                i += 2
            elif body[i] == 0x2A:
                out += out[-1:] * (body[i + 1] - 29)
                i += 2
            else:
                out.append(body[i])
                i += 1
        return bytes(out)

    def ask(self, data: bytes) -> bytes:
        """One request, its answer."""
        self.packet(data)
        answer = self.receive()
        with contextlib.suppress(OSError):  # the server hangs up after some answers
            self.send(b"+")
        return answer


def gdb(server: Server, isa: str, program: str, *commands: str, timeout: float = 60) -> str:
    """What gdb-multiarch prints for these commands, attached to the server; kernel and program are known to it."""
    assert GDB is not None
    kernel, other = images.find("kernel", isa).path, images.find(program, isa).path
    before = (
        "set pagination off", "set confirm off", "set width 0", "set print address on", f"cd {ROOT}", f"file {kernel}",
        f"add-symbol-file {other}", f"target remote {server.address}",
    )  # fmt: skip
    arguments = [word for command in (*before, *commands) for word in ("-ex", command)]
    done = subprocess.run([GDB, "-nx", "-batch", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    return done.stdout + done.stderr
