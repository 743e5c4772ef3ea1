# SPDX-License-Identifier: GPL-2.0-or-later
"""Backtraces: by the rules of the debug information, and through trapframes from the kernel's entry code into what it interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.debug.peek import linear, number, peek
from vmemu.debug.tasks import Task, trapframe
from vmemu.errors import VmemuError
from vmemu.machine import view
from vmemu.machine.locations import Machine as LocalsOf
from vmemu.machine.locations import Place
from vmemu.machine.symbols import Symbols
from vmemu.machine.types import Type

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

#: Names of registers by their numbers in DWARF (System V ABI x86-64 figure 3.36, AADWARF64 4.1, 64-bit ELF V2 ABI 2.4), the column of
#: the return address included; then the stack pointer's number.
_X86 = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{i}" for i in range(8, 16)), "rip")
_NUMBERS: dict[str, tuple[dict[int, str], int]] = {
    "x86_64": (dict(enumerate(_X86)), 7),
    "arm64": ({**{i: f"x{i}" for i in range(31)}, 31: "sp"}, 31),
    "ppc64": ({**{i: f"r{i}" for i in range(32)}, 65: "lr"}, 1),
}
#: Registers that a function leaves as they were for its caller: what is known of the others ends with the call.
_KEPT: dict[str, tuple[str, ...]] = {
    "x86_64": ("rbx", "rbp", "rsp", *(f"r{i}" for i in range(12, 16))),
    "arm64": ("sp", "sp_el0", *(f"x{i}" for i in range(19, 31))),
    "ppc64": ("r1", "r2", *(f"r{i}" for i in range(13, 32))),
}
#: A trapframe lies so far above the stack pointer of the entry code that has called C (arch/*/entry.S, vectors.S).
_ABOVE = {"x86_64": 0, "arm64": 0, "ppc64": 48}
#: What arch_switch leaves of a task that sleeps: register -> its place above the task's stack pointer, and the caller's stack pointer.
_CONTEXT: dict[str, tuple[dict[str, int], int]] = {
    "x86_64": ({name: 8 * place for place, name in enumerate(("r15", "r14", "r13", "r12", "rbx", "rbp", "rip"))}, 56),
    "arm64": ({name: 8 * place for place, name in enumerate(("x29", "x30", *(f"x{i}" for i in range(19, 29))))}, 96),
    "ppc64": ({**{f"r{i}": 32 + 8 * (i - 14) for i in range(14, 32)}, "lr": 208}, 192),
}
#: The entry code whose stack holds a trapframe once it has called C.
_ENTRIES = {
    "x86_64": ("trap_stubs", "trap_common", "trap_return", "save_registers", "syscall_entry"),
    "arm64": ("vectors", "save", "arch_return_user"),
    "ppc64": ("trap_entry", "arch_return_user"),
}
_RETURN = {"x86_64": "rip", "arm64": "x30", "ppc64": "lr"}
#: Where firmware enters the test kernel with an event.
_FIRMWARE_ENTRY = "sdei_entry"
MOST = 64


@dataclass(frozen=True)
class Frame:
    """One frame. pc: the instruction it goes on with. user: in user mode.

    kind: "here" where a vCPU stands, "return" of a caller, "trap" of what a trap has interrupted, "event N" of what firmware has
    taken it away from. registers: as far as they are known, by the names of vmemu.isa; x86's and arm64's stack pointers are "rsp"
    and "sp".
    """

    pc: int
    registers: dict[str, int]
    kind: str
    user: bool

    def look(self) -> int:
        """The address whose line of source is meant: a call's, and not what comes after it."""
        return self.pc - 1 if self.kind == "return" else self.pc


def here(machine: Machine, vcpu: CoreVcpu) -> Frame:
    """Where a vCPU stands."""
    registers = {name: vcpu.get(name) for name in _NUMBERS[machine.board.isa][0].values() if name != "sp"}
    if machine.board.isa == "arm64":
        registers |= {"sp": vcpu.get("sp_el0" if vcpu.get("pstate") & 15 == 0 else "sp_el1"), "sp_el0": vcpu.get("sp_el0")}
    return Frame(vcpu.pc, registers, "here", in_user_mode(machine, vcpu))


def backtrace(machine: Machine, vcpu: CoreVcpu) -> list[Frame]:
    """Where a vCPU stands, then its callers."""
    kept = [context for facility in machine.facilities.values() for context in facility.interrupted(vcpu.id)]
    return _unwind(machine, here(machine, vcpu), lambda va, n: view.read_virtual(machine, vcpu, va, n), kept)


def variables(machine: Machine, frame: Frame, read: Callable[[int, int], bytes]) -> dict[str, tuple[Type, Place | None]]:
    """Arguments and local variables of a frame; `read` may raise VmemuError. A register's place has the name's value already."""
    symbols, names = Symbols.of(machine), _NUMBERS[machine.board.isa][0]
    rules = symbols.rules(frame.look())
    base = None if rules is None else frame.registers.get(names.get(rules.cfa, ""))
    look = LocalsOf(
        lambda column: frame.registers.get(names.get(column, "")), read, None if rules is None or base is None else base + rules.offset,
        machine.core.isa.big_endian,
    )
    found: dict[str, tuple[Type, Place | None]] = {}
    # in a caller, the registers that the call has clobbered are told until it returns, and from then on where the value was saved
    for address in (frame.look(), *([frame.pc] if frame.kind == "return" else [])):
        for name, (type, place) in symbols.variables(address, look).items():
            if place is not None and place.kind == "register":
                value = look.register(place.number)
                place = None if value is None else Place("value", value)
            if address == frame.look() or (name in found and found[name][1] is None):
                found[name] = type, place
    return found


def in_user_mode(machine: Machine, vcpu: CoreVcpu) -> bool:
    """Does the vCPU run a program, and not its kernel?"""
    if machine.board.isa == "x86_64":
        return vcpu.get("cs") & 3 == 3
    if machine.board.isa == "arm64":
        return vcpu.get("pstate") & 15 == 0
    return bool(vcpu.get("msr") & 0x4000)


def task_backtrace(machine: Machine, task: Task) -> list[Frame]:
    """Where a task that runs nowhere will go on. Empty where its context cannot be read."""
    def read(va: int, size: int) -> bytes:
        gpa = view.translate(machine, machine.vcpus[0], va, task.root) if task.root else None
        return view.read_physical(machine, linear(machine, va) if gpa is None else gpa, size)

    isa = machine.board.isa
    places, size = _CONTEXT[isa]
    if not task.ctx:
        return []
    try:
        raw = peek(machine, linear(machine, task.ctx), max(places.values()) + 8)
    except VmemuError:
        return []
    registers = {name: number(machine, raw[at : at + 8]) for name, at in places.items()}
    names, stack = _NUMBERS[isa]
    registers[names[stack]] = task.ctx + size
    return _unwind(machine, Frame(registers[_RETURN[isa]], registers, "return", False), read)


def _unwind(machine: Machine, frame: Frame, read: Callable[[int, int], bytes], kept: Sequence[dict[str, int]] = ()) -> list[Frame]:
    """`kept`: contexts that firmware holds, the innermost last."""
    frames, contexts = [frame], list(kept)
    while len(frames) < MOST:
        symbol = Symbols.of(machine).at(frames[-1].look())
        if contexts and symbol is not None and symbol.name == _FIRMWARE_ENTRY:
            caller: Frame | None = _taken_away(machine, frames[-1], read, contexts.pop())
        else:
            caller = _caller(machine, frames[-1], read)
        if caller is None or (caller.pc, caller.registers) == (frames[-1].pc, frames[-1].registers):
            break
        frames.append(caller)
    return frames


def _taken_away(machine: Machine, frame: Frame, read: Callable[[int, int], bytes], context: dict[str, int]) -> Frame:
    """From a handler of firmware's events (SDEI) to what it has interrupted: x0 to x17 are with firmware, the rest with the handler."""
    registers = {**frame.registers, **{name: value for name, value in context.items() if name.startswith("x")}}
    raw = read(frame.registers["sp"], 32)  # x18, x29, x30, sp: arch/arm64/vectors.S, sdei_entry
    if len(raw) == 32 and frame.kind == "return":
        registers |= {name: number(machine, raw[8 * i : 8 * i + 8]) for i, name in enumerate(("x18", "x29", "x30", "sp"))}
    user = context["pstate"] & 15 == 0
    if user:
        registers["sp"] = frame.registers["sp_el0"]
    return Frame(context["pc"], registers, f"event {context['event']:#x}", user)


def _caller(machine: Machine, frame: Frame, read: Callable[[int, int], bytes]) -> Frame | None:
    symbols = Symbols.of(machine)
    names, stack = _NUMBERS[machine.board.isa]
    symbol = symbols.at(frame.look())
    if not frame.user and symbol is not None and symbol.name in _ENTRIES[machine.board.isa]:
        return _interrupted(machine, frame)
    rules = symbols.rules(frame.look())
    if rules is None:
        return _leaf(machine, frame, read) if frame.kind == "here" else None
    base = frame.registers.get(names.get(rules.cfa, ""))
    if base is None:
        return None
    cfa = base + rules.offset
    registers = {name: frame.registers[name] for name in _KEPT[machine.board.isa] if name in frame.registers}
    for column, offset in rules.saved.items():
        raw = read(cfa + offset, 8)
        if len(raw) < 8:
            return None
        if column in names:
            registers[names[column]] = number(machine, raw)
    registers[names[stack]] = cfa
    link = names.get(rules.ra, "")
    pc = registers.get(link, frame.registers.get(link, 0))  # a leaf function has it in its register
    if not pc or symbols.at(pc) is None:
        return None
    return Frame(pc, registers, "return", frame.user)


def _leaf(machine: Machine, frame: Frame, read: Callable[[int, int], bytes]) -> Frame | None:
    """Out of assembly code about which nothing is said: it has changed neither the stack pointer nor, but for x86, the link register."""
    registers = dict(frame.registers)
    if machine.board.isa == "x86_64":
        raw = read(registers["rsp"], 8)
        pc = number(machine, raw) if len(raw) == 8 else 0
        registers["rsp"] += 8
    else:
        pc = registers[_RETURN[machine.board.isa]]
    known = pc and Symbols.of(machine).rules(pc - 1) is not None
    return Frame(pc, registers, "return", frame.user) if known else None


def _interrupted(machine: Machine, frame: Frame) -> Frame | None:
    """From the kernel's entry code to what was interrupted: its registers are in the trapframe on the stack."""
    isa = machine.board.isa
    sp = frame.registers.get(_NUMBERS[isa][0][_NUMBERS[isa][1]])
    if sp is None:
        return None
    at = sp + _ABOVE[isa]
    found = trapframe(machine, at)
    if found is None:
        return None
    pc, stack, user, registers = found
    if not pc or (not user and Symbols.of(machine).at(pc) is None):
        return None
    if isa == "arm64" and not user:
        stack = at + Symbols.of(machine).type_of("struct trapframe").size
    registers[_NUMBERS[isa][0][_NUMBERS[isa][1]]] = stack
    return Frame(pc, registers, "trap", user)
