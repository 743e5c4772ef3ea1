# SPDX-License-Identifier: GPL-2.0-or-later
"""Where gdb connects to: one client at a time, as many in a row as like to."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

from vmemu.debug.gdb.monitor import Monitor
from vmemu.debug.gdb.packets import frame
from vmemu.debug.gdb.stub import Stub
from vmemu.debug.gdb.wire import Closed, Wire
from vmemu.debug.session import Session
from vmemu.errors import ConfigError

LOOPBACK = "127.0.0.1"
#: Seconds that one more client waits for the place to become free before it is refused, and that a refused one has to hang up.
GRACE = 0.5
BUSY = b"E.vmemu: another debugger is attached"


def listen(where: str) -> socket.socket:
    """A listening socket at ``PORT`` (loopback only), ``HOST:PORT`` or ``unix:PATH``. Raises ConfigError."""
    path = where.removeprefix("unix:")
    match = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[^:]*):)?([0-9]{1,5})", where)
    try:
        if path != where and path:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(path)
                listener.listen(4)
            except OSError:
                listener.close()
                raise
            return listener
        if match is None or int(match[2]) > 0xFFFF:
            raise ConfigError(f"--gdb {where}: must be PORT, HOST:PORT or unix:PATH")
        host = (match[1] or LOOPBACK).strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(match[2])), family=family, backlog=4)
    except OSError as error:
        raise ConfigError(f"--gdb {where}: {error.strerror or error}") from None


def address_of(listener: socket.socket) -> str:
    """What to give to gdb's ``target remote``."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(name)
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


class Server:
    """Clients of one session. The machine stands still while there is none, and whenever its client has not set it going."""

    def __init__(self, session: Session, where: str, say: Callable[[str], None]) -> None:
        """Listens from now on. Raises ConfigError."""
        self.session = session
        self.say = say
        self.monitor = Monitor(session)
        self._listener = listen(where)
        self.address = address_of(self._listener)
        self._free = threading.Event()
        self._free.set()
        self._next: queue.SimpleQueue[socket.socket | None] = queue.SimpleQueue()
        self._wire: Wire | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._accept, name="gdb server", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                self._next.put(None)
                return
            if self._free.wait(GRACE):
                self._free.clear()
                self._next.put(client)
            else:
                _refuse(client)

    def run(self) -> bool:
        """Serve clients until one kills the machine (True), or `stop` or `close` (False)."""
        while (client := self._next.get()) is not None:
            if self._stopped:
                client.close()
                break
            try:
                if client.family != socket.AF_UNIX:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self._serve(client):
                    return True
            finally:
                self._free.set()
        return False

    def stop(self) -> None:
        """For a signal handler: hang up, end the move that is under way, and serve nobody any more."""
        self._stopped = True
        self.session.interrupt()
        if self._wire is not None:
            self._wire.hang_up()
        self._next.put(None)

    def _serve(self, client: socket.socket) -> bool:
        """One client, to its end. False: it killed the machine."""
        wire = self._wire = Wire(client, self.session.interrupt, self.session.forget_interrupt)
        if self._stopped:  # just before there was a line to hang up
            wire.hang_up()
        stub = Stub(self.session, wire, self.monitor)
        self.say("gdb: attached")
        try:
            while not stub.done:
                answer = stub.handle(wire.receive())
                if answer is not None:
                    wire.send(answer)
                    wire.acknowledge = wire.acknowledge and not stub.no_ack
        except Closed:
            pass
        finally:
            self._wire = None
            stub.close()
            wire.close()
        self.say("gdb: killed" if stub.killed else "gdb: detached")
        return not stub.killed

    def close(self) -> None:
        """Nobody listens any more."""
        unix, address = self._listener.family == socket.AF_UNIX, self._listener.getsockname()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self._thread.join()
        while not self._next.empty():
            client = self._next.get()
            if client is not None:
                client.close()
        self._next.put(None)  # for `run`, in another thread
        if unix:
            with contextlib.suppress(OSError):
                os.unlink(address)


def _refuse(client: socket.socket) -> None:
    """Tell one client too many, and hang up when it has read that."""
    with contextlib.suppress(OSError), client:
        client.settimeout(GRACE)
        client.sendall(b"+" + frame(BUSY))
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def serve(session: Session, where: str, say: Callable[[str], None]) -> bool:
    """Let gdb drive a session until it kills the machine (True), or SIGINT (False): in the main thread only.

    `say` gets one line for each thing that happens. The machine stands between two instructions afterwards. Raises ConfigError when
    nobody can listen there.
    """
    server = Server(session, where, say)

    def on_signal(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before)  # once more is meant in earnest
        server.stop()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        say(f"gdb: target remote {server.address}")
        return server.run()
    finally:
        signal.signal(signal.SIGINT, before)
        server.close()
