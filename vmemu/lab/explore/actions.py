# SPDX-License-Identifier: GPL-2.0-or-later
"""What the environment may do between two turns: commands of the machine's owner, chosen by the explorer.

An action names the command that is to be given now; the machine carries it out as `vmemu ctl` would have it do, so that
models see it and recordings hold it. What it is about (which page, which vCPU) is a decision of its own, ``act.NAME``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.core import PageFlag, PageState, ffi, lib
from vmemu.errors import ConfigError
from vmemu.protocols.interventions import hand

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: ask(kind, options) -> index, 0 for the most obvious.
Ask = Callable[[str, int], int]
#: propose(machine, ask) -> a command of the machine's owner, or None when there is nothing to be done now.
Propose = Callable[["Machine", Ask], str | None]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that an environment may do."""

    name: str
    text: str
    propose: Propose


ACTIONS: dict[str, Action] = {}


def register(name: str, text: str, propose: Propose) -> Action:
    """Make an action known, those of users as well."""
    if name in ACTIONS:
        raise ValueError(f"action {name} registered twice")
    ACTIONS[name] = Action(name, text, propose)
    return ACTIONS[name]


def find(names: tuple[str, ...]) -> tuple[Action, ...]:
    """Raises ConfigError for one that is not known."""
    unknown = [name for name in names if name not in ACTIONS]
    if unknown:
        raise ConfigError(f"action {unknown[0]!r} is not known; known are {' '.join(sorted(ACTIONS))}")
    return tuple(ACTIONS[name] for name in names)


#: Pages that eviction chooses among: those that came into memory last.
_PAGES = 8


def youngest(machine: Machine, most: int = _PAGES) -> list[int]:
    """Guest-physical addresses of resident pages that may be paged out, the one that came last first."""
    core = machine.core
    head = ffi.new("struct saved_memory *")
    frames, free = ffi.new("uint32_t[]", 2 * int(core.ptr.nframes)), ffi.new("uint32_t[]", max(int(core.ptr.nfree), 1))
    lib.persist_memory_save(core.ptr, head, frames, free)
    words = memoryview(ffi.buffer(frames)).cast("I")
    found = []
    for _, index in sorted(zip(words[1::2], words[::2], strict=True), reverse=True):
        if index < core.ptr.npages and not core.page(index).flags & PageFlag.PINNED and core.page(index).state == PageState.RESIDENT:
            found.append(core.gpa(index))
            if len(found) == most:
                break
    return found


def _evict(machine: Machine, ask: Ask) -> str | None:
    pages = youngest(machine)
    return f"evict {pages[ask('act.evict', len(pages))]:#x}" if pages else None


register("evict", "a page that may be paged out goes to the store: one of the eight that came last", _evict)


def _page_in(verb: str, rest: str = "") -> Propose:
    """One of the page-ins (or jobs) that are under way, the oldest first."""

    def propose(machine: Machine, ask: Ask) -> str | None:
        known = hand(machine)
        targets = [] if known is None else [target for room in known.rooms for target in room.targets()]
        if not targets:
            return None
        target = targets[ask(f"act.{verb}", len(targets))]
        return f"{verb} {target.kind} {target.number:#x}{rest}"

    return propose


register("complete", "a page-in that is under way is done now", _page_in("complete"))
register("delay", "a page-in that is under way, or its announcement, comes 100 us later", _page_in("delay", " 100"))
register("fail", "the store loses a page that is under way: the guest gets its architecture's memory error", _page_in("fail"))
register("reload", "the machine's state is saved and loaded, which nobody may notice", lambda machine, ask: "reload")
register("migrate", "the machine's state comes as a VMM carries it to another host", lambda machine, ask: "migrate")
