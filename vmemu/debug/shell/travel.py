# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of time travel: back, goto, bookmarks, the timeline, and what changed between two moments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vmemu.debug.difference import Moment, describe, take
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.debug.shell.running import duration, event_kind, event_names, move, show_stop
from vmemu.errors import ConfigError
from vmemu.machine.target import parse_target
from vmemu.machine.timeline import first_instant

_BACK = "back [N] | back step | back continue | back event KIND"


def _complete_back(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    kinds = event_names() if words[-1:] == ["event"] else ["step", "stepi", "continue", "event"]
    return [kind for kind in kinds if kind.startswith(word)]


@command("back", topic="time", usage=_BACK, complete=_complete_back, steps=True,
         example=("back event fault", "to where the last stage-2 fault was told to the host, before now"))
def back(debugger: Debugger, text: str) -> None:
    """Backwards: by instructions, to an earlier line, to the last breakpoint or watchpoint hit, or to the last event of a kind.

    Instructions are those of the selected vCPU. Kinds of events are those of `until event`.
    What was done by hand stays done where it was done; a new intervention in the past ends the future that was.
    """
    session = debugger.session
    word, _, rest = text.partition(" ")
    if word in ("", "stepi", "si") or word.isdigit():
        count = debugger.number(rest or (word if word.isdigit() else ""), "count", 1)
        move(debugger, lambda: session.back_stepi(count), forwards=False)
    elif word in ("continue", "c", "cont") and not rest:
        move(debugger, session.back_cont, forwards=False)
    elif word == "event" and rest:
        kind = event_kind(rest, len(debugger.machine.vcpus))
        move(debugger, lambda: session.back_event(kind), forwards=False)
    elif word in ("step", "s") and not rest:
        _back_step(debugger)
    else:
        raise UsageError(f"{_BACK}: {text!r} is none of that")


#: Instructions that `back step` goes over in search of another line.
FARTHEST = 2000


def _back_step(debugger: Debugger) -> None:
    """To the first instruction of the line that came before this one."""
    here = debugger.symbols.line(debugger.pc)
    seen = None
    for _ in range(FARTHEST):
        stop = move(debugger, debugger.session.back_stepi, quiet=True, forwards=False)
        if stop.kind != "step":
            show_stop(debugger, stop)
            return
        line = debugger.symbols.line(debugger.pc)
        if seen is None:
            if line is not None and (here is None or (line.file, line.line) != (here.file, here.line)):
                seen = line
        elif line is None or (line.file, line.line) != (seen.file, seen.line):
            stop = move(debugger, debugger.session.stepi, quiet=True)
            break
    show_stop(debugger, debugger.plain(stop))


def instant(debugger: Debugger, text: str) -> int:
    """An instant in words as an instruction index: a bookmark, an index, ``now``, ``start``, a time. Raises VmemuError.

    For a time the machine is taken there and back again.
    """
    if text == "now":
        return debugger.machine.insns
    if text == "start":
        return debugger.start
    if text in debugger.bookmarks:
        return debugger.bookmarks[text]
    if match := re.fullmatch(r"([+-])([0-9]{1,15})", text):
        return max(debugger.start, debugger.machine.insns + int(match[1] + match[2]))
    try:
        target = parse_target(text, "goto")
    except ConfigError:
        names = f"; bookmarks are {', '.join(debugger.bookmarks)}" if debugger.bookmarks else "; there are no bookmarks"
        raise UsageError(f"{text!r} is no instant: INSN, +N, -N, a time like 1.5ms, output:TEXT, COUNTER:K, start, now or a bookmark"
                         f"{names}") from None
    if isinstance(target, int):
        return target
    back_to = debugger.machine.insns
    debugger.session.goto(debugger.start)
    with debugger.machine.traps.off():
        end = first_instant(debugger.machine, target)
    found = debugger.machine.insns
    debugger.session.goto(back_to)
    if end is not None:
        raise CommandError(f"{text}: the run ends before that ({end[1]})")
    return found


def _complete_instant(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    return [name for name in ("now", "start", *debugger.bookmarks) if name.startswith(word)]


@command("goto", "seek", topic="time", usage="goto INSN|+N|-N|TIME|start|BOOKMARK|output:TEXT|COUNTER:K", complete=_complete_instant,
         example=("goto -1000", "a thousand instructions of all vCPUs back; goto 1.5ms a time; goto before-fault a bookmark"))
def goto(debugger: Debugger, text: str) -> None:
    """To an instant, forwards or backwards, past any breakpoint."""
    if not text:
        raise UsageError("goto: where to? (help goto)")
    index = instant(debugger, text)
    move(debugger, lambda: debugger.session.goto(index), forwards=False)


@command("bookmark", "mark", topic="time", usage="bookmark [NAME]", complete=_complete_instant,
         example=("bookmark before-fault", "a name for this instant: goto, diff"))
def bookmark(debugger: Debugger, text: str) -> None:
    """Name this instant; without a name: list the bookmarks."""
    if not text:
        for name, index in sorted(debugger.bookmarks.items(), key=lambda item: item[1]):
            debugger.say(f"{name:<20} instruction {index}")
        if not debugger.bookmarks:
            debugger.say("no bookmarks")
        return
    if not re.fullmatch(r"[A-Za-z_][\w-]*", text) or text in ("now", "start"):
        raise UsageError(f"{text!r}: a bookmark's name is letters, digits, _ and -")
    debugger.bookmarks[text] = debugger.machine.insns
    debugger.say(f"{text}: instruction {debugger.machine.insns}")


@command("timeline", topic="time", example=("timeline", "how far back one can go, where snapshots lie, what was done by hand"))
def timeline(debugger: Debugger, text: str) -> None:
    """Snapshots, interventions and bookmarks of the session, in order."""
    session = debugger.session
    rows = [(mark.insns, "snapshot") for mark in session.timeline.marks]
    rows += [(index, f"bookmark {name}") for name, index in debugger.bookmarks.items()]
    journal = session.journal
    for place, entry in enumerate(journal.entries):
        typed = f"console input {bytes.fromhex(entry.text)!r}" if entry.kind == "input" else ""
        what = "the run was stopped" if entry.kind == "end" else typed or f"intervention: {entry.text}"
        rows.append((entry.at.insns, what + ("" if place < journal.done else " (still to come)")))
    rows.append((debugger.machine.insns, f"now, {duration(debugger.machine.instant())}"))
    for index, what in sorted(rows, key=lambda row: row[0]):
        debugger.say(f"{index:>14}  {what}")


@command("diff", topic="time", usage="diff FROM [TO]", complete=_complete_instant,
         example=("diff before-fault now", "registers, pages with their symbols, tasks, tokens and devices that differ, in words"))
def diff(debugger: Debugger, text: str) -> None:
    """What changed between two instants, in words. TO: now. The machine is where it was afterwards."""
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise UsageError("diff FROM [TO]: instants as for `goto`")
    back_to = debugger.machine.insns
    first, second = (instant(debugger, word) for word in (*words, "now")[:2])
    moments: list[Moment] = []
    try:
        for index in (first, second):
            stop = debugger.session.goto(index)
            if stop.kind == "end" and debugger.machine.insns != index:
                raise CommandError(f"instruction {index} is after the end of the run")
            moments.append(take(debugger.machine))
    finally:
        debugger.session.goto(back_to)
    lines = describe(debugger.symbols, *moments)
    for line in lines:
        debugger.say(line)
    if not lines:
        debugger.say("nothing differs")


@command("retry", topic="time", usage="retry [MODULE ...]",
         example=("retry vmemu.protocols.kvm_x86.host", "take over the edited file, and handle the same event again"))
def retry(debugger: Debugger, text: str) -> None:
    """After the host's own code has raised: take over what was edited, and handle the same event again.

    The modules are those of its traceback that serve the guest, or those named. The machine stands at the last instant before; objects
    live on with their new code.
    """
    stop = debugger.stop
    if stop is None or stop.kind != "error" or stop.error is None:
        raise CommandError("nothing has failed: retry is for when the host's own code has raised")
    modules = text.split() or _modules(stop.error)
    if not modules:
        raise CommandError("no module of vmemu's raised it: name one")
    debugger.say(f"reloading {', '.join(modules)}")
    move(debugger, lambda: debugger.session.retry(modules), forwards=False)


def _modules(error: BaseException) -> list[str]:
    """Modules of the error's traceback that serve the guest, the innermost last."""
    found: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if re.match(r"vmemu\.(protocols|devices|machine\.boards)\b", name) and name not in found:
            found.append(name)
        trace = trace.tb_next
    return found


