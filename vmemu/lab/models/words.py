# SPDX-License-Identifier: GPL-2.0-or-later
"""Observations in words, for reports."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.core import Access
from vmemu.core.observe import Fate, Seen, What


def _access(code: int) -> str:
    return Access(code & 0xFF).name.lower()


_WORDS: dict[What, Callable[[Seen], str]] = {
    What.FAULT: lambda s: f"fault: {_access(s.c)} at gva {s.b:#x}, gpa {s.a:#x}",
    What.FAULT_DONE: lambda s: f"fault at gpa {s.a:#x}: {Fate(s.c).name.lower()}",
    What.REG_READ: lambda s: f"reads register {s.a:#x}",
    What.REG_READ_DONE: lambda s: f"register {s.a:#x} " + ("faults" if s.c else f"reads {s.b:#x}"),
    What.REG_WRITE: lambda s: f"writes register {s.a:#x} := {s.b:#x}",
    What.REG_WRITE_DONE: lambda s: f"register {s.a:#x} := {s.b:#x} " + ("faults" if s.c else "is done"),
    What.HCALL: lambda s: f"hypercall {s.a:#x}",
    What.HCALL_DONE: lambda s: f"hypercall {s.a:#x} is done",
    What.MMIO_WRITE: lambda s: f"device memory {s.a:#x} := {s.b:#x} ({s.c} bytes)",
    What.PASTE: lambda s: f"paste at {s.a:#x}",
    What.PASTE_DONE: lambda s: f"paste at {s.a:#x} " + ("is taken" if s.b else "is refused"),
    What.HOST_WRITING: lambda s: f"host is about to write {len(s.data)} bytes at gpa {s.a:#x}",
    What.HOST_WRITE: lambda s: f"host writes {s.data[:16].hex()}{'...' if len(s.data) > 16 else ''} at gpa {s.a:#x}",
    What.EXCEPTION: lambda s: f"exception {s.a}, address {s.b:#x}, error {s.c:#x}",
    What.INTERRUPT: lambda s: f"interrupt {s.a:#x}",
    What.LINE: lambda s: f"interrupt line {s.a} goes {'high' if s.b else 'low'}",
    What.GO_TO: lambda s: f"is sent to pc {s.a:#x}, status {s.b:#x}",
    What.MEM_ERROR: lambda s: f"memory error: gva {s.a:#x}, gpa {s.b:#x}",
    What.PAGE_IN: lambda s: f"page at gpa {s.a:#x} " + ("comes from the store" if s.b else "is lost"),
    What.ONLINE: lambda s: "is started" if s.a else "is taken away",
    What.COMMAND: lambda s: f"command: {s.data.decode(errors='replace')}",
    What.TURN: lambda s: f"end of turn {s.a}",
    What.DMA_WRITE: lambda s: f"device stores {len(s.data)} bytes at {s.a:#x} of {s.b:#x}" + (f", error {s.c}" if s.c else ""),
    What.DMA_READ: lambda s: f"device loads {len(s.data)} bytes at {s.a:#x} of {s.b:#x}" + (f", error {s.c}" if s.c else ""),
}


def in_words(seen: Seen) -> str:
    """One observation, without its vCPU."""
    words = _WORDS.get(seen.what)
    return f"{seen.what.name} {seen.a:#x} {seen.b:#x} {seen.c:#x}" if words is None else words(seen)
