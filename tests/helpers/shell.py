# SPDX-License-Identifier: GPL-2.0-or-later
"""The debugger's shell in this process, with what it writes in hand."""

from __future__ import annotations

import io
import re
from typing import Any

from vmemu import Machine
from vmemu.debug.session import Session
from vmemu.debug.shell import Debugger, load_commands
from vmemu.errors import VmemuError


class Shell:
    """A session on a machine; calling it does one command and gives what that has written."""

    def __init__(self, image: str, **options: Any) -> None:
        load_commands()
        self.guest = bytearray()
        machine = Machine.boot(image, console=self.guest.extend, **options)
        self.debugger = Debugger(Session(machine), io.StringIO())

    @property
    def machine(self) -> Machine:
        return self.debugger.machine

    def __call__(self, line: str) -> str:
        self.debugger.out = io.StringIO()
        self.debugger.execute(line)
        return self.debugger.out.getvalue()

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()


def plain(text: str) -> str:
    """A transcript without what changes with every edit of the guest: addresses, offsets, counts, times, line numbers."""
    text = re.sub(r"0x[0-9a-f]+", "ADDR", text)
    text = re.sub(r"\+ADDR", "", text)
    text = re.sub(r"instruction [0-9]+, [0-9.e+]+ (?:ns|us|ms|s)\b", "INSTANT", text)
    return re.sub(r"(\.[chS]):[0-9]+", r"\1", text)


def attempt(shell: Shell, line: str, statuses: tuple[int, ...] = (1, 2)) -> str:
    """What a command has written, or the one line that says why it cannot be done."""
    try:
        return shell(line)
    except VmemuError as error:
        text, status = str(error), error.status
    assert "\n" not in text and status in statuses
    return text


_shells: dict[str, Shell] = {}


def running(isa: str) -> Shell:
    """A guest in the kernel, amid a fault of a program, made once."""
    if isa not in _shells:
        _shells[isa] = Shell("storm", isa=isa, append="tasks=4 pages=64 passes=1")
        _shells[isa]("until vm_fault")
        _shells[isa]("stepi 30000")
        _shells[isa]("until vm_fault")
    return _shells[isa]
