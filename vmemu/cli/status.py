# SPDX-License-Identifier: GPL-2.0-or-later
"""The live line under a running guest: only on a terminal, only when the run lasts, never in the guest's way."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from vmemu.cli.output import count, duration

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: Seconds before the line appears, and between two updates.
FIRST, EVERY = 1.0, 0.2


class StatusLine:
    """Draws on stderr, steps aside for the guest's output on stdout."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._started = time.monotonic()
        self._next = self._started + FIRST
        self._drawn = False
        self._last = (self._started, 0)

    def guest_output(self, data: bytes) -> None:
        """What the guest prints goes to stdout as it is."""
        self.clear()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def progress(self, machine: Machine) -> None:
        if not self._live:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        instructions = sum(v.insns for v in machine.vcpus)
        then, before = self._last
        speed = (instructions - before) / max(now - then, 1e-9) / 1e6
        self._last = now, instructions
        stats = machine.core.stats()
        text = (
            f"{self.name}: {count(instructions)} instructions, {duration(machine.now())} virtual, {speed:.0f} MIPS, "
            f"{stats['resident']} pages resident, {count(stats['swap_in'])} in, {count(stats['swap_out'])} out"
        )
        sys.stderr.write(f"\r\x1b[2m{text[: self._console.width - 1]}\x1b[0m\x1b[K")
        sys.stderr.flush()
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False
