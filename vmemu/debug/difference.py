# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed between two moments of one machine, in words: registers, memory by symbol, where pages are, tasks, devices, facilities."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmemu.core import PAGE_SIZE, PageState
from vmemu.debug.tasks import tasks
from vmemu.errors import VmemuError
from vmemu.machine.symbols import Symbol, Symbols

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: Most lines of one kind.
MOST = 20
_STATES = {PageState.ZERO: "zero", PageState.RESIDENT: "resident", PageState.SWAPPED: "away", PageState.BAD: "lost"}


@dataclass(frozen=True, slots=True)
class Moment:
    """Plain data about an instant. pages: index -> (stage-2 state, checksum of the content); the kernel's own pages keep their bytes."""

    insns: int
    time_ns: int
    registers: list[dict[str, int]]
    states: list[str]
    pages: dict[int, tuple[int, int]]
    kernel: dict[int, bytes]
    tasks: dict[int, str]
    devices: dict[str, Any]
    facilities: dict[str, Any]
    counters: dict[str, int]
    gpas: dict[int, int]


def take(machine: Machine) -> Moment:
    """Of the present instant; nothing is moved or touched."""
    pages: dict[int, tuple[int, int]] = {}
    kept: dict[int, bytes] = {}
    gpas: dict[int, int] = {}
    symbols = Symbols.of(machine)
    own = [m for m in symbols.modules if m.name == "kernel"]
    for index in machine.core.not_zero_pages():
        content = machine.memory.peek(index)
        gpa = gpas[index] = machine.core.gpa(index)
        pages[index] = int(machine.core.page(index).state), 0 if content is None else zlib.crc32(content)
        if content is not None and own and own[0].virtual(gpa) is not None:
            kept[index] = content
    counters = {name: sum(v.counters()[name] for v in machine.vcpus) for name in machine.vcpus[0].counters()}
    return Moment(
        machine.insns, machine.instant(), [v.registers() for v in machine.vcpus], [_vcpu(v) for v in machine.vcpus], pages, kept,
        _tasks(machine), dict(machine.board.save()), {name: f.save() for name, f in machine.facilities.items()}, counters, gpas,
    )


def _vcpu(vcpu: Any) -> str:
    return "offline" if not vcpu.online else "halted" if vcpu.halted else "held" if vcpu.held else "running"


def _tasks(machine: Machine) -> dict[int, str]:
    try:
        return {t.number: f"running on {t.cpu}" if t.cpu is not None else t.state for t in tasks(machine)}
    except VmemuError:
        return {}


def describe(symbols: Symbols, a: Moment, b: Moment) -> list[str]:
    """Lines that say what is different in b."""
    lines = []
    if a.insns != b.insns:
        lines.append(f"{b.insns - a.insns:+} instructions, {b.time_ns - a.time_ns:+} ns")
    for name, before in a.counters.items():
        if b.counters[name] != before:
            lines.append(f"counter {name}: {before} -> {b.counters[name]}")
    for number, (then, now) in enumerate(zip(a.registers, b.registers, strict=True)):
        if a.states[number] != b.states[number]:
            lines.append(f"vCPU {number}: {a.states[number]} -> {b.states[number]}")
        changed = [f"{name} {then[name]:#x} -> {value:#x}" for name, value in now.items() if then[name] != value]
        if changed:
            shown = changed[:MOST]
            more = f", and {len(changed) - MOST} more" if len(changed) > MOST else ""
            lines.append(f"vCPU {number} registers: {', '.join(shown)}{more}")
    for number in sorted({*a.tasks, *b.tasks}):
        then_state, now_state = a.tasks.get(number, "did not exist"), b.tasks.get(number, "gone")
        if then_state != now_state:
            lines.append(f"task {number}: {then_state} -> {now_state}")
    lines += _pages(symbols, a, b)
    for what, old, new in (("device", a.devices, b.devices), ("facility", a.facilities, b.facilities)):
        for name in sorted({*old, *new}):
            lines += [f"{what} {name}: {text}" for text in plain(old.get(name), new.get(name))[:MOST]]
    return lines


def _pages(symbols: Symbols, a: Moment, b: Moment) -> list[str]:
    known: list[str] = []
    written: list[int] = []
    moved: dict[str, list[int]] = {}
    gpas = {**a.gpas, **b.gpas}
    zero = (int(PageState.ZERO), zlib.crc32(bytes(PAGE_SIZE)))
    for index in sorted({*a.pages, *b.pages}):
        (then, old), (now, new) = a.pages.get(index, zero), b.pages.get(index, zero)
        if old != new:
            names = _symbols(symbols, gpas[index], a.kernel.get(index), b.kernel.get(index))
            if names:
                known.append(f"page {gpas[index]:#x} was written: {names}")
            else:
                written.append(gpas[index])
        if then != now:
            moved.setdefault(f"{_STATES.get(PageState(then), '?')} -> {_STATES.get(PageState(now), '?')}", []).append(gpas[index])
    lines = known[:MOST] + ([f"{len(known) - MOST} more pages of the kernel were written"] if len(known) > MOST else [])
    if written:
        lines.append(f"{ranges(written)} written")
    return lines + [f"{ranges(pages)}: {what}" for what, pages in sorted(moved.items())]


def ranges(pages: list[int]) -> str:
    """``3 pages: 0x1000-0x2fff, 0x9000``, as many as are worth reading."""
    parts: list[list[int]] = []
    for gpa in pages:
        if parts and gpa == parts[-1][1] + PAGE_SIZE:
            parts[-1][1] = gpa
        else:
            parts.append([gpa, gpa])
    words = [f"{lo:#x}" if lo == hi else f"{lo:#x}-{hi + PAGE_SIZE - 1:#x}" for lo, hi in parts[:8]]
    more = f" and {len(parts) - 8} more stretches" if len(parts) > 8 else ""
    return f"{len(pages)} page{'s' * (len(pages) > 1)} ({', '.join(words)}{more})"


def _symbols(symbols: Symbols, gpa: int, old: bytes | None, new: bytes | None) -> str:
    """Names of the kernel's variables whose bytes differ."""
    for module in symbols.modules:
        low = module.virtual(gpa) if module.name == "kernel" else None
        if low is None:
            continue
        before, after = old or bytes(PAGE_SIZE), new or bytes(PAGE_SIZE)
        names: dict[str, None] = {}
        for word in range(0, PAGE_SIZE, 8):
            if before[word : word + 8] == after[word : word + 8]:
                continue
            for at in (at for at in range(word, word + 8) if before[at] != after[at]):
                if (symbol := module.at(low + at)) is not None:
                    names.setdefault(_part(symbols, symbol, low + at - symbol.address))
        return ", ".join(list(names)[:8]) + (" ..." if len(names) > 8 else "")
    return ""


def _part(symbols: Symbols, symbol: Symbol, offset: int) -> str:
    """``tasks[3].state`` for a place inside a variable, as far as its type is known."""
    type, text = symbols.type_at(symbol), symbol.name
    while type is not None and type.size:
        if type.kind == "array" and type.target is not None and type.target.size:
            text, offset, type = f"{text}[{offset // type.target.size}]", offset % type.target.size, type.target
        elif type.composite:
            inside = [m for m in type.members if m.offset <= offset < m.offset + m.type.size]
            if not inside:
                break
            text, offset, type = f"{text}.{inside[-1].name}" if inside[-1].name else text, offset - inside[-1].offset, inside[-1].type
        else:
            break
    return text


def plain(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two values of plain data, by place."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in (*old, *(k for k in new if k not in old)):
            place = f"{where}.{key}" if where else str(key)
            if key not in old:
                found.append(f"{place}: new, {_short(new[key])}")
            elif key not in new:
                found.append(f"{place}: gone, was {_short(old[key])}")
            else:
                found += plain(old[key], new[key], place)
        return found
    if isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        return [text for i, pair in enumerate(zip(old, new, strict=True)) for text in plain(*pair, f"{where}[{i}]")]
    return [f"{where}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = hex(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 4095 else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
