# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's connection. A thread reads, so that Ctrl-C and a lost connection are noticed while the guest runs."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator

from vmemu.debug.gdb.packets import MOST, Packet, Parser, Signal, frame

#: Seconds that a client may let what is sent to it lie.
PATIENCE = 30.0


class Closed(Exception):
    """The client is gone."""


class Wire:
    """Packets to and from a client. All methods but `_read` belong to the thread that serves it."""

    def __init__(self, connection: socket.socket, interrupt: Callable[[], None], forget: Callable[[], None]) -> None:
        """interrupt: called from the reading thread too; forget: what it asked for is of no use any more."""
        self._socket = connection
        self._interrupt, self._forget = interrupt, forget
        self._incoming: queue.Queue[Packet | Signal | None] = queue.Queue(64)  # a client that floods waits for us
        self._lock = threading.Lock()
        self._moving = False
        self._asked = 0  # stops that the client asked for and that are not answered yet
        self._last = b""
        self.acknowledge = True
        connection.settimeout(PATIENCE)
        self._thread = threading.Thread(target=self._read, name="gdb client", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        parser = Parser()
        while True:
            try:
                data = self._socket.recv(MOST)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            for item in parser.feed(data):
                if item is Signal.BREAK:
                    self._ask()
                self._incoming.put(item)
            if not data:
                self._ask()  # nobody waits for the guest any more
                self._incoming.put(None)
                return

    def _ask(self) -> None:
        with self._lock:
            self._asked += 1
            if self._moving:
                self._interrupt()

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """While the guest runs: whoever asks to stop it is heard, also if that was just before."""
        with self._lock:
            self._moving = True
            if self._asked:
                self._interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._moving = False
                self._forget()  # it may have stopped by itself meanwhile

    def receive(self) -> bytes:
        """The next packet's data, acknowledged. Raises Closed."""
        while True:
            item = self._incoming.get()
            if item is None:
                raise Closed
            if isinstance(item, Packet):
                if self.acknowledge:
                    self._write(b"+")
                return item.data
            if item is Signal.BREAK:
                with self._lock:
                    self._asked -= 1
            elif item is Signal.BAD:
                if self.acknowledge:
                    self._write(b"-")
                else:
                    self.send(b"E22")  # without acknowledgements nothing is sent twice: the request is lost
            elif item is Signal.NAK and self.acknowledge:
                self._write(self._last)

    def send(self, data: bytes) -> None:
        """Send a packet. Raises Closed."""
        self._last = frame(data)
        self._write(self._last)

    def tell(self, text: str) -> None:
        """Show the client's user a text: only while the client waits for a stop, or for the answer to `monitor`."""
        data = text.encode()
        for at in range(0, len(data), MOST // 4):
            self.send(b"O" + data[at : at + MOST // 4].hex().encode())

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:  # gone, or it does not listen
            raise Closed from None

    def hang_up(self) -> None:
        """The client hears the end of the line, and so do we."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, and wait for the thread."""
        self.hang_up()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._incoming.get(timeout=0.01)
        self._socket.close()  # not before: its number may be the next client's
