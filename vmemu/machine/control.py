# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of the machine's owner while it runs: what a VMM would do by ioctl, from another process over a Unix socket.

Facilities put their commands into `Machine.commands`. A command takes effect between two turns, and is recorded with the number
of the turn and its instruction index: a replay gives it at the same instant, so the runs are one.

A request is one line of text, a reply one line of JSON: {"insns": where, "reply": text} or {"insns": where, "error": text}.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import socket
from typing import TYPE_CHECKING

from vmemu.core.observe import Seen, What
from vmemu.errors import ConfigError, VmemuError
from vmemu.machine.journal import Instant

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

SCHEME = "unix:"
#: Longest request, in bytes: a client that sends more is cut off.
MOST = 4096


class Refused(VmemuError):
    """The command cannot be done now. The text begins with the name of the errno that an ioctl would give."""

    status = 1


def execute(machine: Machine, text: str) -> str:
    """Do one command and return its reply. Raises Refused, or ConfigError for one that makes no sense."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
    if words == ["status"]:
        return f"instruction {machine.insns}, {machine.instant()} ns, {sum(v.runnable for v in machine.vcpus)} vCPUs run"
    if not words or words[0] not in machine.commands:
        raise ConfigError(f"{text!r}: the commands are {', '.join(['status', *sorted(machine.commands)])}")
    if machine.core.observe is not None:
        machine.core.observe(Seen(What.COMMAND, -1, data=text.encode()))
    return machine.commands[words[0]](words[1:])


def perform(machine: Machine, text: str) -> str:
    """As `execute`, and the journal remembers it when it was done."""
    journal = machine.journal
    if journal is None:
        return execute(machine, text)
    at = Instant.of(machine)
    reply = execute(machine, text)
    journal.put(at, "command", text)
    return reply


def path_of(where: str) -> str:
    """unix:PATH -> PATH. Raises ConfigError."""
    if not where.startswith(SCHEME) or not where[len(SCHEME) :]:
        raise ConfigError(f"{where}: a control socket is unix:PATH")
    return where[len(SCHEME) :]


class Control:
    """The server's side: looks for requests after each turn of the machine. Attach it after a recorder."""

    def __init__(self, machine: Machine, where: str) -> None:
        """Raises ConfigError when the socket cannot be made."""
        self.machine = machine
        self.path = path_of(where)
        self._then = machine.on_turn
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        try:
            self._listener.bind(self.path)
            self._listener.listen(8)
        except OSError as error:
            self._listener.close()
            raise ConfigError(f"--control {where}: {error.strerror or error}") from None
        self._listener.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        machine.on_turn = self._on_turn

    def _on_turn(self, machine: Machine) -> None:
        if self._then is not None:
            self._then(machine)
        for number, _ in self._poll.poll(0):
            if number == self._listener.fileno():
                self._accept()
            else:
                self._receive(number)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        self._clients[client.fileno()] = client, bytearray()
        self._poll.register(client, select.POLLIN)
        self._receive(client.fileno())

    def _receive(self, number: int) -> None:
        client, held = self._clients[number]
        try:
            data = client.recv(MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        held += data
        while (end := held.find(b"\n")) >= 0:
            line = bytes(held[:end])
            del held[: end + 1]
            self._answer(client, line.decode(errors="replace"))
        if not data or len(held) > MOST:
            self._poll.unregister(client)
            client.close()
            del self._clients[number]

    def _answer(self, client: socket.socket, text: str) -> None:
        machine = self.machine
        reply: dict[str, object] = {"insns": machine.insns}
        try:
            reply["reply"] = perform(machine, text)
        except VmemuError as error:
            reply |= {"error": str(error), "status": error.status}
        try:
            client.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            pass  # it did not wait for the answer

    def close(self) -> None:
        """Nobody listens any more."""
        for client, _ in self._clients.values():
            client.close()
        self._listener.close()
        os.unlink(self.path)


def ask(where: str, text: str) -> dict[str, object]:
    """The client's side: one request, its reply. Raises ConfigError when nobody answers."""
    path = path_of(where)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            connection.sendall(text.encode() + b"\n")
            data = b""
            while not data.endswith(b"\n") and (more := connection.recv(MOST)):
                data += more
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror or error}: does a machine run with --control {where}?") from None
    if not data:
        raise ConfigError(f"{where}: the run ended before it answered")
    answer: dict[str, object] = json.loads(data)
    return answer
