# SPDX-License-Identifier: GPL-2.0-or-later
"""What the shell's commands work on: a session, the guest's symbols, and a stream to write to."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import capstone

from vmemu.core import CoreVcpu
from vmemu.debug.shell.registry import Command, CommandError, find
from vmemu.debug.tasks import running
from vmemu.debug.unwind import Frame, backtrace
from vmemu.isa.x86_64.registers import EFER
from vmemu.machine import view
from vmemu.machine.symbols import Symbols

if TYPE_CHECKING:
    from vmemu.debug.session import Session, Stop
    from vmemu.machine.machine import Machine

#: Colours on a terminal (ECMA-48 SGR), by what they stand for.
STYLES = {"error": "31", "name": "33", "changed": "1;33", "mark": "1;32", "dim": "2", "head": "1"}
#: Name of an architecture's program counter.
PC = {"x86_64": "rip", "arm64": "pc", "ppc64": "pc"}


@cache
def disassembler(isa: str, long_mode: bool = True) -> Any:
    """Capstone for an architecture; x86 before it is in long mode: 32-bit code."""
    mode = {
        "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64 if long_mode else capstone.CS_MODE_32),
        "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
        "ppc64": (capstone.CS_ARCH_PPC, capstone.CS_MODE_64 | capstone.CS_MODE_BIG_ENDIAN),
    }[isa]
    return capstone.Cs(*mode)


class Debugger:
    """One session with its commands. Commands write with `say`; where that goes, and whether in colour, is the caller's choice."""

    def __init__(self, session: Session, out: TextIO, colour: bool = False) -> None:
        self.session = session
        self.out = out
        self.colour = colour
        #: The last stop; None before anything has run.
        self.stop: Stop | None = None
        #: Where the commands `run`, `continue` and so on have stopped last: what "changed" is counted from, by vCPU.
        self.before: dict[int, dict[str, int]] = {}
        self.bookmarks: dict[str, int] = {}
        #: Frame of `where` that `registers`, `list` and expressions look at; 0 is where the vCPU stands.
        self.frame = 0
        self.last: Command | None = None
        self.last_text = ""
        self.done = False
        #: The first instant that can be reached.
        self.start = session.machine.insns
        #: How many scripts are running inside each other, and the line of the innermost: for messages.
        self.scripts = 0
        self.at = ""
        #: Where `x` and `list` go on when they are repeated.
        self.next_address: int | None = None
        self.next_line: tuple[str, int] | None = None
        #: Letter and size that `x` uses when it is told none.
        self.last_format = ("x", "g")
        #: The space of `next_address`; a places.Space.
        self.next_space: Any = None

    # -------------------------------------------------------------- machine
    @property
    def machine(self) -> Machine:
        return self.session.machine

    @property
    def isa(self) -> str:
        return self.machine.board.isa

    @property
    def vcpu(self) -> CoreVcpu:
        """The selected one."""
        return self.machine.vcpus[self.session.vcpu]

    @property
    def long_mode(self) -> bool:
        return self.isa != "x86_64" or bool(EFER.get(self.vcpu.get("efer"), "LMA"))

    @property
    def symbols(self) -> Symbols:
        return Symbols.of(self.machine)

    @property
    def pc(self) -> int:
        return self.vcpu.pc

    def selected_frame(self) -> Frame | None:
        """The frame that `up`, `down` and `frame` have chosen; None where the vCPU stands."""
        if not self.frame:
            return None
        frames = backtrace(self.machine, self.vcpu)
        return frames[self.frame] if self.frame < len(frames) else None

    def arrived(self, stop: Stop) -> None:
        """The machine has moved: what was chosen by hand is chosen no more."""
        self.stop = stop
        self.frame = 0
        self.next_address = self.next_line = None

    def plain(self, stop: Stop) -> Stop:
        """The same stop as one that a step has asked for."""
        machine = self.machine
        return replace(stop, kind="step", text="", vcpu=self.session.vcpu, pc=self.pc, insns=machine.insns, time_ns=machine.instant())

    def try_read(self, address: int, size: int) -> bytes | None:
        """Bytes of the selected vCPU's address space; None where there are none."""
        raw = view.read_virtual(self.machine, self.vcpu, address, size)
        return raw if len(raw) == size else None

    def instruction_size(self, address: int) -> int:
        """Bytes of the instruction at an address; 0 where none can be read."""
        if self.isa != "x86_64":
            return 4
        for size in (15, 8, 4, 2, 1):  # the next page need not be mapped
            raw = self.try_read(address, size)
            if raw is not None:
                return next((i.size for i in disassembler(self.isa, self.long_mode).disasm(raw, address, 1)), 0)
        return 0

    def current_task(self) -> int:
        """Number of the task that the selected vCPU runs. Raises CommandError when it runs none."""
        if number := running(self.machine, self.vcpu.id):
            return number
        raise CommandError(f"vCPU {self.vcpu.id} runs no task now: say which (`tasks` lists them)")

    # --------------------------------------------------------------- output
    def say(self, text: str = "") -> None:
        self.out.write(text + "\n")

    def style(self, text: str, kind: str) -> str:
        """In the colour of a kind (STYLES), on a terminal."""
        return f"\x1b[{STYLES[kind]}m{text}\x1b[0m" if self.colour else text

    def complain(self, error: Exception) -> None:
        """An error as one line."""
        self.say(self.style(" ".join(str(error).split()), "error"))

    def place(self, address: int) -> str:
        """``0x10000190 main+0x8 at storm.c:12``, as far as it is known."""
        name, line = self.symbols.name(address), self.symbols.line(address)
        text = f"{address:#x}" if name == f"{address:#x}" else f"{address:#x} {self.style(name, 'name')}"
        return text if line is None else f"{text} at {line}"

    # ------------------------------------------------------------- commands
    def execute(self, line: str) -> None:
        """Do one line. Raises VmemuError when it cannot be done; nothing has changed then."""
        line = line.strip()
        if not line or line.startswith("#"):
            return
        match = re.match(r"[A-Za-z_?!][\w!-]*", line)
        word = match[0] if match else line.split()[0]
        text = line[len(word) :].strip()
        found = find(word, list(self.machine.commands))
        self.last, self.last_text = found, text
        if found is None:
            self.say(self.session.command(line))
        else:
            found.run(self, text)

    def repeat(self) -> None:
        """What an empty line does: the last command again, if that makes sense."""
        if self.last is not None and self.last.steps:
            self.last.run(self, "" if self.last.name in ("x", "list") else self.last_text)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C stops the guest, and the shell goes on; one more, before the guest has stopped, gives up on it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        asked = False

        def handler(signum: int, frame: FrameType | None) -> None:
            nonlocal asked
            if asked:
                raise KeyboardInterrupt
            asked = True
            self.session.interrupt()

        before = signal.signal(signal.SIGINT, handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def number(self, text: str, what: str, default: int | None = None) -> int:
        """A count typed by the user. Raises CommandError."""
        if not text and default is not None:
            return default
        try:
            value = int(text, 0)
        except ValueError:
            value = 0
        if value < 1:
            raise CommandError(f"{text!r} is no {what}: a number from 1 on")
        return value
