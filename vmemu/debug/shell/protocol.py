# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands about asynchronous paging: what is under way, one token's life and what it waits for, shared areas, who sleeps.

They know no protocol: facilities tell (vmemu.machine.insight), and the machine's history remembers (vmemu.machine.history).
"""

from __future__ import annotations

from collections.abc import Sequence

from vmemu.clock.inject import parse_number
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.machine.history import History, Note
from vmemu.machine.insight import JOBS, Area, Flight, Insight, insights
from vmemu.protocols.async_page.sleepers import Sleeper, Unreadable, sleepers

#: So many of the last refusals are shown.
LAST_REFUSED = 3


def us(ns: int) -> str:
    """Virtual ns as microseconds."""
    return f"{ns / 1000:.3f}"


def known(debugger: Debugger) -> Sequence[Insight]:
    """The facilities that have something to tell. Raises CommandError when there is none."""
    found = insights(debugger.machine)
    if not found:
        raise CommandError("this machine has no asynchronous paging and no accelerator: boot it with --apf, --vas or --tce")
    return found


def history(debugger: Debugger) -> History:
    return History.of(debugger.machine)


def parse_token(text: str) -> int:
    """What the user means by it: a token, "all" for the wake-all, "job N". Raises UsageError."""
    number = 0xFFFFFFFF if text == "all" else parse_number(text.removeprefix("job "))
    if number is not None and text.startswith("job "):
        return JOBS | number
    if number is None:
        raise UsageError(f"{text!r} is no token: a number, as `faults` shows them, or all for the wake-all")
    return number


def complete_tokens(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    """Tokens that are under way or remembered."""
    numbers = {f.number for room in insights(debugger.machine) for f in room.flights()}
    numbers |= {note.number for note in history(debugger).notes}
    return [text for number in sorted(numbers) if number and number < JOBS and (text := f"{number:#x}").startswith(word)]


def table(debugger: Debugger, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as they must be; the first line is the head."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        debugger.say(debugger.style(line, "head") if row is head else line)


def named(debugger: Debugger, address: int | None) -> str:
    """A guest-virtual address with its symbol."""
    if address is None:
        return "-"
    name = debugger.symbols.name(address)
    return f"{address:#x}" if name == f"{address:#x}" else f"{address:#x} {name}"


def task_of(debugger: Debugger, flight: Flight) -> int:
    """Number of the task that touched the page; 0: not known."""
    return next((note.task for note in history(debugger).about(flight.subject)), 0)


# ------------------------------------------------------------------------------ faults
@command("faults", topic="protocol", usage="faults", example=("faults", "every page-in under way: how old, due when, is the guest told?"))
def faults(debugger: Debugger, text: str) -> None:
    """Page-ins and jobs under way, and faults that were served synchronously, with the reasons.

    age: since the fault, in microseconds of virtual time. task: who touched the page.
    """
    rooms = known(debugger)
    now = debugger.machine.instant()
    rows = []
    for room in rooms:
        for flight in room.flights():
            due = us(flight.deadline - now) if flight.deadline > now else "-"
            rows.append((
                flight.name, str(flight.vcpu) if flight.vcpu >= 0 else "-", str(task_of(debugger, flight) or "-"), flight.access or "-",
                named(debugger, flight.gva), "-" if flight.gpa is None else f"{flight.gpa:#x}", us(max(now - flight.born, 0)), due,
                flight.told, flight.state,
            ))  # fmt: skip
    if rows:
        table(debugger, ("what", "vCPU", "task", "access", "gva", "gpa", "age us", "due in us", "guest", "state"), rows)
    debugger.say(f"{len(rows)} under way.")
    _refused(debugger, rooms)


def _refused(debugger: Debugger, rooms: Sequence[Insight]) -> None:
    for room in rooms:
        for reason, count in room.refused().items():
            debugger.say(f"synchronous, {reason}: {count}. {room.reason(reason)}")
    last = history(debugger).about("refused")[-LAST_REFUSED:]
    for note in last:
        debugger.say(f"  at {us(note.ns)} us, vCPU {note.vcpu}: {note.text}")


# ------------------------------------------------------------------------------ token, why
@command("token", topic="protocol", usage="token N", complete=complete_tokens,
         example=("token 0x1000", "all that happened to the page-in of that token, and what it waits for"))
def token(debugger: Debugger, text: str) -> None:
    """The life of a token so far, and what it waits for now. Tokens are used again: the last life is shown."""
    rooms, number = known(debugger), parse_token(text)
    notes = history(debugger).called(number)
    subjects = list(dict.fromkeys(note.subject for note in notes))
    if subjects:
        if len(subjects) > 1:
            debugger.say(f"{number:#x} has named {len(subjects)} page-ins; the last one:")
        _life(debugger, [note for note in notes if note.subject == subjects[-1]])
    _why(debugger, rooms, number, remembered=bool(subjects))


def _life(debugger: Debugger, notes: list[Note]) -> None:
    first = notes[0]
    for note in notes:
        who = f"vCPU {note.vcpu}" if note.vcpu >= 0 else "host"
        task = f", task {note.task}" if note.task and note.kind in ("begun", "repeated") else ""
        debugger.say(f"  {us(note.ns):>12} us  +{us(max(note.ns - first.ns, 0)):<10} insn {note.insns:<12} {who}{task}: {note.text}")


@command("why", topic="protocol", usage="why N", complete=complete_tokens,
         example=("why 0x1000", "what the token waits for, and which rule of the protocol says so"))
def why(debugger: Debugger, text: str) -> None:
    """What a token waits for now, and the rule that blocks it, with the section that it is from."""
    number = parse_token(text)
    remembered = bool(history(debugger).called(number))
    _why(debugger, known(debugger), number, remembered=remembered)


def _why(debugger: Debugger, rooms: Sequence[Insight], number: int, *, remembered: bool) -> None:
    """Raises CommandError for a number that nobody knows."""
    said = False
    for room in rooms:
        for flight in room.find(number):
            whose = f" of vCPU {flight.vcpu}" if flight.vcpu >= 0 else ""
            told = {"told": ", the guest was told", "not told": ", the guest was not told"}.get(flight.told, "")
            debugger.say(f"{debugger.style(flight.name, 'name')}{whose}: {flight.state}{told}")
            for rule in room.why(flight):
                debugger.say(f"  - {rule}")
            said = True
        if not said:
            for rule in room.gone(number):
                debugger.say(f"  - {rule}")
                said = True
    asleep = [s for s in _table_of(debugger) or () if s.token == number]
    for sleeper in asleep:
        debugger.say(f"  - {_who(sleeper)}")
    if not said and not asleep and not remembered:
        raise CommandError(f"{number:#x}: no such token is under way, and none is remembered since the debugger was attached")
    if not said and _taken(debugger, number):
        now = "its handler is at it, or has lost it" if asleep else "over"
        debugger.say(f"  - it was announced, and the guest has taken that: {now}")
    elif not said:
        debugger.say("  - nothing is under way for it" + (": nobody will wake who sleeps on it" if asleep else ", and nobody sleeps on it"))


def _taken(debugger: Debugger, number: int) -> bool:
    """Was its last life announced to the guest?"""
    notes = history(debugger).called(number)
    return bool(notes) and any(n.kind in ("ready", "wake_all") for n in notes if n.subject == notes[-1].subject)


def _behind(debugger: Debugger, rooms: Sequence[Insight], number: int) -> str:
    """What the host has behind a token."""
    for room in rooms:
        for flight in room.find(number):
            return flight.state
        if room.announced(number):
            return "announced"
    return "taken by the guest" if _taken(debugger, number) else "nothing"


# ------------------------------------------------------------------------------ area
def complete_area(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    """vCPUs, and all."""
    return [n for n in ("all", *map(str, range(len(debugger.machine.vcpus)))) if n.startswith(word)]


@command("area", topic="protocol", usage="area [VCPU|all]", complete=complete_area,
         example=("area 1", "what guest and host share for vCPU 1, decoded"))
def area(debugger: Debugger, text: str) -> None:
    """What guest and host share, decoded: x86's area and MSRs, arm64's buffer and SDEI events, VPA and SNS ring, windows, tables.

    Of the selected vCPU, or of one, or of all; what belongs to no vCPU comes last. Read where it lies: nothing is paged in.
    """
    rooms = known(debugger)
    count = len(debugger.machine.vcpus)
    if text not in ("", "all") and not (text.isdecimal() and int(text) < count):
        raise UsageError(f"area {text}: a vCPU, 0 to {count - 1}, or all")
    vcpus = range(count) if text == "all" else [int(text) if text else debugger.session.vcpu]
    shown = [found for vcpu in (*vcpus, -1) for room in rooms for found in room.areas(vcpu)]
    for found in shown:
        _area(debugger, found)
    if not shown:
        debugger.say("nothing is shared")


def _area(debugger: Debugger, found: Area) -> None:
    debugger.say(debugger.style(found.title, "head") + (f" ({found.section})" if found.section else ""))
    names = max((len(row.name) for row in found.rows), default=0)
    values = max((len(row.value) for row in found.rows if len(row.value) <= 20), default=0)
    for row in found.rows:
        debugger.say(f"  {row.name:<{names}}  {row.value:<{values}}  {row.meaning}".rstrip())


# ------------------------------------------------------------------------------ sleepers
def _table_of(debugger: Debugger) -> list[Sleeper] | None:
    """The guest's wait table; None: it cannot be read."""
    try:
        return sleepers(debugger.machine)
    except Unreadable:
        return None


def _who(sleeper: Sleeper) -> str:
    if sleeper.marker:
        return f"the guest has a marker{' that serves all comers' * sleeper.shared}: the wake came first, and nobody has come for it yet"
    if not sleeper.task:
        return f"CPU {sleeper.cpu} of the guest waits for it, halted: no task could sleep there"
    return f"task {sleeper.task} of the guest sleeps on it; it was told on CPU {sleeper.cpu}"


@command("sleepers", topic="protocol", usage="sleepers", example=("sleepers", "the guest's wait table: who sleeps on which token"))
def show_sleepers(debugger: Debugger, text: str) -> None:
    """The guest's wait table, read from its memory: tasks that sleep on tokens, since when, and markers of wakes that came first.

    behind it: whether the host has anything under way by that token; "nothing" means that nobody will wake the sleeper.
    """
    try:
        found = sleepers(debugger.machine)
    except Unreadable as error:
        raise CommandError(str(error)) from None
    rooms, now, rows = insights(debugger.machine), debugger.machine.instant(), []
    for sleeper in found:
        told = next((n for n in reversed(history(debugger).called(sleeper.token)) if n.kind in ("not_present", "repeated")), None)
        who = "marker" if sleeper.marker else f"task {sleeper.task}" if sleeper.task else f"CPU {sleeper.cpu} halted"
        since = "-" if told is None or sleeper.marker else us(max(now - told.ns, 0))
        rows.append((f"{sleeper.token:#x}", who, str(sleeper.cpu), since, _behind(debugger, rooms, sleeper.token)))
    if rows:
        table(debugger, ("token", "who", "CPU", "told before us", "behind it"), rows)
    markers = sum(s.marker for s in found)
    debugger.say(f"{len(found) - markers} asleep, {markers} markers.")
