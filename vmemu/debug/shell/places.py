# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in the guest: addresses as people write them, and the bytes that lie there.

    ADDRESS         of the selected vCPU, as it translates now      x/4gx $rsp
    p:ADDRESS       guest-physical                                  x/4gx p:0x1000
    task N:ADDRESS  of another task                                 x/s task 3:0x10001000
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.core import PAGE_SIZE, CoreVcpu
from vmemu.debug import tasks as guest_tasks
from vmemu.debug.peek import Unreadable, away, peek
from vmemu.debug.shell.expr import Expression, Scope, Value
from vmemu.debug.shell.registry import CommandError, UsageError
from vmemu.debug.unwind import here, variables
from vmemu.debug.walks import walk
from vmemu.isa.base import RegisterFile
from vmemu.machine import view
from vmemu.machine.locations import Place
from vmemu.machine.types import Type

if TYPE_CHECKING:
    from vmemu.debug.shell.debugger import Debugger

_MASK = (1 << 64) - 1
#: Names that every architecture has, as expressions know them.
_STACK = {"x86_64": "rsp", "ppc64": "r1"}


@dataclass(frozen=True, slots=True)
class Space:
    """kind: "virtual" of a vCPU, "physical", "task" (whose page table is `root`)."""

    kind: str
    task: int = 0
    root: int | None = None

    def prefix(self) -> str:
        return {"virtual": "", "physical": "p:", "task": f"task {self.task}:"}[self.kind]


VIRTUAL, PHYSICAL = Space("virtual"), Space("physical")


def parse(debugger: Debugger, text: str) -> tuple[Space, Value]:
    """An address with its space. Raises VmemuError."""
    text = text.strip()
    if match := re.match(r"(?:p|phys|physical)\s*:(?!:)\s*(?=\S)", text):
        return PHYSICAL, evaluate(debugger, text[match.end() :])
    if match := re.match(r"task\s+([0-9]{1,9})\s*:\s*(?=\S)", text):
        task = guest_tasks.find(debugger.machine, int(match[1]))
        if not task.root:
            raise Unreadable(f"task {task.number} has no address space of its own")
        space = Space("task", task.number, task.root)
        return space, evaluate(debugger, text[match.end() :], space)
    return VIRTUAL, evaluate(debugger, text)


def scope(debugger: Debugger, space: Space = VIRTUAL, vcpu: CoreVcpu | None = None) -> Scope:
    """What expressions mean: on a vCPU (the selected one), its memory seen through `space`."""
    of = debugger.vcpu if vcpu is None else vcpu
    return Scope(
        debugger.symbols, lambda at, size: read(debugger, space, at & _MASK, size, of), lambda name: register(debugger, name, of),
        debugger.machine.core.isa.big_endian, lambda name: local(debugger, name, of),
    )


def locals_of(debugger: Debugger, vcpu: CoreVcpu) -> dict[str, tuple[Type, Place | None]]:
    """Arguments and local variables of the selected frame, or of where another vCPU stands."""
    frame = debugger.selected_frame() if vcpu is debugger.vcpu else None
    if frame is None:
        frame = here(debugger.machine, vcpu)
    return variables(debugger.machine, frame, lambda at, size: read(debugger, VIRTUAL, at & _MASK, size, vcpu))


def local(debugger: Debugger, name: str, vcpu: CoreVcpu) -> Value | None:
    """The value of an argument or local variable; None: there is none of that name. Raises CommandError for one that is nowhere."""
    found = locals_of(debugger, vcpu).get(name)
    if found is None:
        return None
    type, place = found
    if place is None:
        raise CommandError(f"{name} is kept nowhere at this instruction: the compiler has done without it")
    if place.kind == "memory":
        return scope(debugger, VIRTUAL, vcpu).load(type, place.number)
    return Value(type.scalar(place.number.to_bytes(8, "little")[: type.size or 8][:: -1 if type.big_endian else 1]), type)


def evaluate(debugger: Debugger, text: str, space: Space = VIRTUAL) -> Value:
    """The value of an expression. Raises VmemuError."""
    return Expression(text, debugger.symbols).evaluate(scope(debugger, space))


def register(debugger: Debugger, name: str, vcpu: CoreVcpu) -> int | None:
    """A register of the vCPU, or one of the shell's own: pc, sp, insns, time (ns), vcpu, task."""
    known: RegisterFile = debugger.machine.core.isa.registers
    frame = debugger.selected_frame() if vcpu is debugger.vcpu else None
    if frame is not None and name in frame.registers:
        return frame.registers[name]
    if frame is not None and frame.kind != "here" and re.fullmatch(r"[xr][0-9]+|r[a-d]x|r[ds]i|lr", name):
        raise CommandError(f"${name} of frame {debugger.frame} is not known: calls do not keep it")
    if name == "pc" or (name == "rip" and frame is not None):
        return vcpu.pc if frame is None else frame.pc
    if any(r.name == name for r in known):
        return vcpu.get(name)
    if name == "sp":
        return vcpu.get(stack_register(debugger.isa, vcpu))
    if name == "task":
        return guest_tasks.running(debugger.machine, vcpu.id)
    machine = debugger.machine
    return {"insns": machine.insns, "time": machine.instant(), "vcpu": vcpu.id}.get(name)


def stack_register(isa: str, vcpu: CoreVcpu) -> str:
    """Name of the stack pointer that is in use."""
    if isa == "arm64":
        return "sp_el1" if vcpu.get("pstate") & 1 else "sp_el0"
    return _STACK[isa]


def physical(debugger: Debugger, space: Space, address: int, vcpu: CoreVcpu | None = None) -> int:
    """Guest-physical address. Raises Unreadable, with the level that says no and why."""
    if space.kind == "physical":
        return address
    of = debugger.vcpu if vcpu is None else vcpu
    found = view.translate(debugger.machine, of, address, space.root)
    if found is None:
        why = walk(debugger.machine, of, address, root=space.root).why
        raise Unreadable(f"{space.prefix()}{address:#x} is not mapped: {why}")
    return found


def read(debugger: Debugger, space: Space, address: int, size: int, vcpu: CoreVcpu | None = None) -> bytes:
    """Bytes of the guest. Nothing is paged in. Raises Unreadable."""
    out = b""
    while len(out) < size:
        at = address + len(out) & _MASK
        gpa = physical(debugger, space, at, vcpu)
        out += peek(debugger.machine, gpa, min(size - len(out), PAGE_SIZE - gpa % PAGE_SIZE))
    return out


def note_away(debugger: Debugger, space: Space, address: int) -> str:
    """A remark for a page that is in the store: its bytes were read there. "" else."""
    try:
        gpa = physical(debugger, space, address)
    except Unreadable:
        return ""
    return f"(page {gpa & ~(PAGE_SIZE - 1):#x} is away: read in the store, not paged in)" if away(debugger.machine, gpa) else ""


def complete_symbols(debugger: Debugger, words: object, word: str) -> list[str]:
    """Symbols and, after $, registers."""
    if word.startswith("$"):
        names = [r.name for r in debugger.machine.core.isa.registers if r.group not in ("hidden", "vector", "simd", "float")]
        return [f"${name}" for name in (*names, "pc", "sp", "task", "vcpu", "insns", "time") if f"${name}".startswith(word)]
    return [name for name in debugger.symbols.names() if name.startswith(word)]


def location(debugger: Debugger, text: str) -> list[int]:
    """Where code is: SYMBOL, FILE:LINE, or *EXPRESSION. Raises VmemuError."""
    text = text.strip()
    if text.startswith("*"):
        return [evaluate(debugger, text[1:]).number & _MASK]
    if match := re.fullmatch(r"([\w./-]+):([0-9]{1,7})", text):
        return debugger.symbols.line_addresses(match[1], int(match[2]))
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        return [int(text, 16)]
    if not re.fullmatch(r"[A-Za-z_.$][\w.$]*(?::[A-Za-z_.][\w.$]*)?", text):
        raise UsageError(f"{text!r}: a place is SYMBOL, FILE:LINE or *ADDRESS")
    return [debugger.symbols.symbol(text).entry]
