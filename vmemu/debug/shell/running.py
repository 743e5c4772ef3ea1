# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that run the guest forwards, and how a stop is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vmemu.core import CYC
from vmemu.core.observe import Seen, What
from vmemu.debug.shell import code
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.places import complete_symbols, location
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.errors import ConfigError
from vmemu.machine.history import KINDS
from vmemu.machine.target import parse_target

if TYPE_CHECKING:
    from vmemu.debug.session import Stop
    from vmemu.machine.machine import Machine

#: Words for the virtual times of a stop.
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"))


#: Why it has stopped, where that needs no more words.
_WHY = {"step": "", "limit": "", "end": "", "interrupt": "interrupted; ", "start": "the session began here; "}


def duration(ns: int) -> str:
    for factor, unit in _UNITS:
        if ns >= factor:
            return f"{ns / factor:.6g} {unit}"
    return f"{ns} ns"


def move(debugger: Debugger, run: Callable[[], Stop], quiet: bool = False, forwards: bool = True) -> Stop:
    """Do a move of the session, remember what registers were, and show where it has come to."""
    if debugger.stop is not None and debugger.stop.kind == "end" and forwards:
        raise CommandError(f"the run is over ({debugger.stop.text}): `back`, `goto` and `run` go on from an earlier instant")
    debugger.before = {v.id: v.registers() for v in debugger.machine.vcpus}
    with debugger.interruptible():
        stop = run()
    debugger.arrived(stop)
    if not quiet:
        show_stop(debugger, stop)
    return stop


def show_stop(debugger: Debugger, stop: Stop) -> None:
    """Where and why, and the line of source or the instruction that comes next."""
    debugger.machine.console.flush()
    why = _WHY.get(stop.kind, f"{stop.text}; ")
    head = f"vCPU {stop.vcpu} at {debugger.place(stop.pc)}" if stop.kind != "end" else f"the run is over: {stop.text}"
    machine = debugger.machine
    time = stop.time_ns if stop.kind != "end" else max(stop.time_ns, *(machine.nanoseconds(v.cycles) for v in machine.vcpus))
    debugger.say(f"{head} ({why}instruction {stop.insns}, {duration(time)})")
    if stop.error is not None:
        code.show_error(debugger, stop.error)
    if stop.kind != "end":
        code.show_here(debugger)


@command("continue", "c", topic="run", usage="continue [N]", steps=True,
         example=("continue", "run until a breakpoint, a watchpoint, Ctrl-C or the end"))
def continue_(debugger: Debugger, text: str) -> None:
    """Run on; N: past the next N - 1 stops at breakpoints."""
    count = debugger.number(text, "count", 1)
    for left in range(count, 0, -1):
        stop = move(debugger, debugger.session.cont, quiet=left > 1)
        if left > 1 and stop.kind not in ("break", "watch"):
            show_stop(debugger, stop)
            break


@command("run", "r", topic="run", example=("run", "from the first instruction to the first breakpoint"))
def run(debugger: Debugger, text: str) -> None:
    """Run from the start: back to it first, if the guest has run. Breakpoints stay."""
    if text:
        raise UsageError("run: the guest's options are those of `vmemu debug`")
    if debugger.machine.insns:
        debugger.session.goto(debugger.start)
        debugger.stop = None
    move(debugger, debugger.session.cont)


@command("stepi", "si", topic="run", usage="stepi [N]", example=("stepi 3", "three instructions of the selected vCPU"), steps=True)
def stepi(debugger: Debugger, text: str) -> None:
    """Run N instructions (1) of the selected vCPU. Traps are entered: the next instruction may be in the guest's handler."""
    count = debugger.number(text, "count", 1)
    move(debugger, lambda: debugger.session.stepi(count))


def _until_condition(text: str) -> Callable[[Machine], bool] | int | None:
    """What `vmemu replay --to` takes, and ``cycle N``; None: something else."""
    if match := re.fullmatch(r"cycle\s+([0-9]{1,18})", text):
        cycles = int(match[1])
        return lambda machine: machine.instant() >= machine.nanoseconds(cycles * CYC)
    if match := re.fullmatch(r"output\s*:?\s+(.+)", text):
        text = f"output:{match[1]}"
    try:
        return parse_target(text, "until")
    except ConfigError:
        return None


#: Other words for moments in a token's life: those that `faults` and `token` print.
_ALIASES = {"told": "not_present", "done": "completed"}


def event_names() -> list[str]:
    """Kinds of events that `until event` and `back event` take."""
    return [*(what.name.lower() for what in What if what is not What.NOTE), *KINDS, *_ALIASES]


def event_kind(text: str, vcpus: int) -> Callable[[Seen], bool]:
    """``KIND [TOKEN] [vcpu N]``: kinds of core.observe in lower case, or of a token's life; N below `vcpus`. Raises UsageError."""
    match = re.fullmatch(r"([a-z_]+)(?:\s+(0x[0-9a-fA-F]+|[0-9]+))?(?:\s+vcpu\s+([0-9]+))?", text.strip())
    if match is None or match[1] not in event_names():
        raise UsageError(f"event {text}: KIND [TOKEN] [vcpu N], with a KIND of {' '.join(event_names())}")
    vcpu = None if match[3] is None else int(match[3])
    if vcpu is not None and vcpu >= vcpus:
        raise UsageError(f"no vCPU {vcpu}: there are 0 to {vcpus - 1}")
    number = None if match[2] is None else int(match[2], 0)
    name = _ALIASES.get(match[1], match[1])
    note = name.encode() if name in KINDS else b""
    wanted = What.NOTE if note else What[name.upper()]

    def matches(seen: Seen) -> bool:
        if seen.what is not wanted or (vcpu is not None and seen.vcpu != vcpu):
            return False
        return (not note or seen.data == note) and (number is None or seen.a & (1 << 64) - 1 == number)

    return matches


def complete_until(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    if words[-1:] == ["event"]:
        return [name for name in event_names() if name.startswith(word)]
    return [w for w in ("event", "output:", "cycle") if w.startswith(word)] + complete_symbols(debugger, words, word)


@command("until", "u", topic="run", usage="until PLACE | INSN | TIME | cycle N | output:TEXT | COUNTER:K | event KIND",
         example=("until event fault", "to the next stage-2 fault that the host serves"), complete=complete_until, steps=True)
def until(debugger: Debugger, text: str) -> None:
    """Run to a place in the code, or an instant.

    PLACE is SYMBOL, FILE:LINE or *ADDRESS, and stops on the vCPU that comes there first. INSN counts the instructions of all vCPUs;
    TIME is like 1.5ms; output:TEXT is when the guest has written it; COUNTER:K is as `vmemu replay --to` has it, for example
    fault_swap:100 or syscall:12. KIND [TOKEN] [vcpu N] is what crosses the border between guest and host (fault, hcall, line, page_in
    ...) or a moment in a token's life (told or not_present, repeated, refused, fetched, done or completed, ready, wake_all, over ...);
    `until event ?` lists them. Breakpoints are passed, but for PLACE and event.
    """
    if not text:
        raise UsageError("until: where to? (help until)")
    session = debugger.session
    if match := re.fullmatch(r"event\s+(.+)", text):
        kind = event_kind(match[1], len(debugger.machine.vcpus))
        stop = move(debugger, lambda: session.until_event(kind))
    elif (target := _until_condition(text)) is None:
        _until_place(debugger, text)
        return
    elif isinstance(target, int):
        if target < debugger.machine.insns:
            raise CommandError(f"instruction {target} is past: this is {debugger.machine.insns}; `goto {target}` goes back")
        index = target
        stop = move(debugger, lambda: session.goto(index))
    else:
        condition = target
        if condition(debugger.machine):
            raise CommandError(f"until {text}: that is so already; `goto {text}` goes to where it began")
        stop = move(debugger, lambda: session.until(condition))
    if stop.kind == "end":
        raise CommandError(f"until {text}: the run has ended before that")


def _until_place(debugger: Debugger, text: str) -> None:
    try:
        places = location(debugger, text)
    except UsageError as error:
        raise UsageError(f"until {text}: neither a place nor an instant (help until): {error}") from None
    run_to(debugger, [(place, None) for place in places])


Condition = Callable[[Debugger], bool]


def run_to(debugger: Debugger, places: Sequence[tuple[int, Condition | None]], quiet: bool = False) -> bool:
    """Run until one of these addresses (where its condition holds) or anything else that stops. True: it was one of them."""
    session = debugger.session
    mine: list[int] = []
    try:
        for address, holds in places:
            condition = None if holds is None else (lambda _, holds=holds: holds(debugger))
            mine.append(session.add_break(address, condition=condition, temporary=True, text="").id)
        stop = move(debugger, session.cont, quiet=True)
    finally:
        for number in mine:
            if number in session.breakpoints:
                session.remove(number)
    arrived = stop.kind == "break" and stop.break_id in mine
    if not quiet or not arrived:
        show_stop(debugger, stop if not arrived else debugger.plain(stop))
    return arrived


_INFO: dict[str, str] = {
    "breakpoints": "breakpoints", "registers": "registers", "tasks": "tasks", "threads": "vcpus", "vcpus": "vcpus", "symbol": "symbol",
    "frame": "frame", "source": "list", "devices": "devices", "stack": "where",
}  # fmt: skip


@command("info", "i", topic="shell", usage="info WHAT", example=("info breakpoints", "what is set, and how often it was hit"),
         complete=lambda debugger, words, word: [n for n in _INFO if n.startswith(word)])
def info(debugger: Debugger, text: str) -> None:
    """For fingers that know gdb: info breakpoints, registers, tasks, threads, symbol, frame, source, devices, stack."""
    word, _, rest = text.partition(" ")
    near = [name for name in _INFO if name.startswith(word)] if word else []
    if len(near) != 1:
        raise UsageError(f"info {text}: one of {', '.join(_INFO)}")
    debugger.execute(f"{_INFO[near[0]]} {rest}")
