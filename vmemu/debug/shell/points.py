# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for breakpoints and watchpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vmemu.core import PAGE_SIZE
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.expr import Expression
from vmemu.debug.shell.places import complete_symbols, location, parse, physical, scope
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.debug.stops import Breakpoint, Condition, Watchpoint
from vmemu.errors import VmemuError


def _condition(debugger: Debugger, text: str) -> Condition:
    """Of a breakpoint: an expression over the vCPU that stands there. One that cannot be read then holds, so that it is seen."""
    expression = Expression(text, debugger.symbols)

    def holds(session: object) -> bool:
        try:
            return bool(expression.evaluate(scope(debugger)).number)
        except VmemuError as error:
            debugger.say(f"(condition {text!r}: {error})")
            return True

    return holds


_BREAK = "break [PLACE] [vcpu N] [if EXPRESSION]"


def _set(debugger: Debugger, text: str, temporary: bool) -> None:
    match = re.fullmatch(r"(.*?)\s*(?:\b(?:vcpu|thread)\s+([0-9]{1,3}))?\s*(?:\bif\b(.*))?", text)
    if match is None or (match[3] is not None and not match[3].strip()):
        raise UsageError(f"{_BREAK}: {text!r} is none of that")
    place, vcpu = match[1].strip(), None if match[2] is None else int(match[2])
    if vcpu is not None and vcpu >= len(debugger.machine.vcpus):
        raise CommandError(f"no vCPU {vcpu}: there are 0 to {len(debugger.machine.vcpus) - 1}")
    addresses = location(debugger, place) if place else [debugger.pc]
    condition = None if match[3] is None else _condition(debugger, match[3].strip())
    for address in addresses:
        point = debugger.session.add_break(address, vcpu, condition, temporary, text=text or "here")
        debugger.say(_line(debugger, point))


@command("break", "b", "br", topic="stop", usage=_BREAK, complete=complete_symbols,
         example=("break vm_fault if access == 1 && $task == 3", "stop there only then; expressions are those of `print`"))
def break_(debugger: Debugger, text: str) -> None:
    """Stop before the code at a place: SYMBOL, FILE:LINE, *ADDRESS, or here.

    A function's breakpoint lies at its first instruction. Breakpoints are guest-virtual, on every
    vCPU or on one, in every address space. Conditions are evaluated on the vCPU that comes there.
    """
    _set(debugger, text, False)


@command("tbreak", "tb", topic="stop", usage=_BREAK.replace("break", "tbreak"), complete=complete_symbols,
         example=("tbreak kmain", "stop there once"))
def tbreak(debugger: Debugger, text: str) -> None:
    """A breakpoint that is gone when it has stopped the guest."""
    _set(debugger, text, True)


def _watch(debugger: Debugger, text: str, access: str) -> None:
    match = re.fullmatch(r"(.+?)(?:\s+size\s+(\w+))?", text.strip())
    if match is None:
        raise UsageError("watch EXPRESSION | p:ADDRESS | task N:ADDRESS [size BYTES]")
    space, value = parse(debugger, match[1])
    address = value.number if value.address is None else value.address
    size = 8
    if match[2] is not None:
        size = debugger.number(match[2], "size")
    elif value.address is not None and value.type is not None and value.type.size:
        size = value.type.size
    address &= (1 << 64) - 1
    gpa = physical(debugger, space, address)
    if gpa % PAGE_SIZE + size > PAGE_SIZE:
        raise CommandError(f"{size} bytes at {address:#x} lie in two pages: watch each part (size N)")
    point = debugger.session.add_watch(gpa, size, access, text=match[1])
    debugger.say(_line(debugger, point))


_WATCH_USAGE = "EXPRESSION | p:ADDRESS | task N:ADDRESS [size BYTES]"


@command("watch", "wa", topic="stop", usage=f"watch {_WATCH_USAGE}", complete=complete_symbols,
         example=("watch tasks[2].state", "stop before it is written, by whichever vCPU, and after the host has written it"))
def watch(debugger: Debugger, text: str) -> None:
    """Stop at writes to a variable, a member, or bytes at an address.

    What is watched are the guest-physical bytes that lie there now. Only accesses to their page cost anything.
    """
    _watch(debugger, text, "w")


@command("rwatch", topic="stop", usage=f"rwatch {_WATCH_USAGE}", example=("rwatch sched_lock", "stop before it is read"),
         complete=complete_symbols)
def rwatch(debugger: Debugger, text: str) -> None:
    """Stop at reads."""
    _watch(debugger, text, "r")


@command("awatch", topic="stop", usage=f"awatch {_WATCH_USAGE}", example=("awatch p:0x1000 size 16", "any access to those 16 bytes"),
         complete=complete_symbols)
def awatch(debugger: Debugger, text: str) -> None:
    """Stop at reads and writes."""
    _watch(debugger, text, "rw")


def _line(debugger: Debugger, point: Breakpoint | Watchpoint) -> str:
    words = [] if point.enabled else ["off"]
    if isinstance(point, Breakpoint):
        what = f"breakpoint {point.id}: {debugger.place(point.address)}"
        condition = f" {point.text}".partition(" if ")[2] if point.condition is not None else ""
        words += [f"vCPU {point.vcpu}"] * (point.vcpu is not None) + ["once"] * point.temporary + [f"if {condition}"] * bool(condition)
    else:
        kind = {"r": "reads", "w": "writes", "rw": "accesses"}[point.access]
        what = f"watchpoint {point.id}: {kind} of {point.text}, {point.size} bytes at guest-physical {point.gpa:#x}"
    if point.hits:
        words.append(f"hit {point.hits} times" if point.hits > 1 else "hit once")
    return what + (f" ({', '.join(words)})" if words else "")


@command("breakpoints", "bl", topic="stop", example=("breakpoints", "what is set, and how often each was hit"))
def breakpoints(debugger: Debugger, text: str) -> None:
    """List breakpoints and watchpoints."""
    points = _points(debugger)
    for number in sorted(points):
        debugger.say(_line(debugger, points[number]))
    if not points:
        debugger.say("no breakpoints and no watchpoints")


def _points(debugger: Debugger) -> dict[int, Breakpoint | Watchpoint]:
    return {**debugger.session.breakpoints, **debugger.session.watchpoints}


def _numbers(debugger: Debugger, text: str, what: str) -> list[int]:
    points = _points(debugger)
    if not text:
        return sorted(points)
    numbers = [debugger.number(word, "number") for word in text.split()]
    for number in numbers:
        if number not in points:
            raise CommandError(f"{what} {number}: there is no such breakpoint or watchpoint (`breakpoints` lists them)")
    return numbers


def _complete_numbers(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    return [str(n) for n in _points(debugger) if str(n).startswith(word)]


@command("delete", "d", topic="stop", usage="delete [NUMBER ...]", example=("delete 2", "forget breakpoint 2; without a number: all"),
         complete=_complete_numbers)
def delete(debugger: Debugger, text: str) -> None:
    """Forget breakpoints and watchpoints."""
    for number in _numbers(debugger, text, "delete"):
        debugger.session.remove(number)


def _enable(debugger: Debugger, text: str, enabled: bool) -> None:
    for number in _numbers(debugger, text, "enable" if enabled else "disable"):
        _points(debugger)[number].enabled = enabled


@command("disable", topic="stop", usage="disable [NUMBER ...]", example=("disable 1", "keep it, but do not stop there"),
         complete=_complete_numbers)
def disable(debugger: Debugger, text: str) -> None:
    """Let breakpoints and watchpoints be passed."""
    _enable(debugger, text, False)


@command("enable", topic="stop", usage="enable [NUMBER ...]", example=("enable 1", "stop there again"), complete=_complete_numbers)
def enable(debugger: Debugger, text: str) -> None:
    """The opposite of disable."""
    _enable(debugger, text, True)
