# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of VAS: those of the engine before a switchboard without a guest, those of a driver in `vas-edge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core import PageState
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.vas_rig import BLOCK, CSB, PAGE, SEND, SOURCE, TARGET, Rig, crb, dde
from vmemu.lab.zoo.case import Case

if TYPE_CHECKING:
    from vmemu.clock.choices import Choices
    from vmemu.lab.explore.actions import Ask
    from vmemu.machine.machine import Machine

STEPS, JOBS, FIFO = 10, 3, 1024  # a fault FIFO of eight entries
COPY, ODD = 0x1E, 0x1F
KINDS = ("move", "job", "function", "part")


# ---------------------------------------------------------------------- the engine
def _rig(bugs: tuple[str, ...], choices: Choices) -> Machine:
    return Rig.make(memory="8M", choices=choices, bugs=bugs)


def _begin(machine: Machine) -> list[str]:
    """The kernel opens its windows, a program maps a block, a source and a target for each of its jobs."""
    rig = Rig.on(machine, FIFO)
    rig.begin()
    for job in range(JOBS):
        for base in (BLOCK, SOURCE, TARGET):
            rig.map(base + job * PAGE, PAGE)
            rig.user_write(base + job * PAGE, b"something")
    return []


def _away(rig: Rig, ea: int) -> None:
    core = rig.machine.core
    if core.page(core.index(rig.gpa(ea))).state == PageState.RESIDENT:
        rig.away(ea)


def _paste(rig: Rig, ask: Ask) -> None:
    """A program asks for a copy of a page of its own that is away."""
    job = ask("job", JOBS) * PAGE
    function, part = (COPY, ODD)[ask("function", 2)], (SOURCE, TARGET, None)[ask("part", 3)]
    if part is not None:
        _away(rig, part + job)
    rig.user_write(CSB + job, bytes(16))
    rig.paste(crb(function, CSB + job, dde(SOURCE + job, 64), dde(TARGET + job, 64)))


def _time(rig: Rig, ask: Ask) -> None:
    """The engine gets on."""
    for _ in range(8):
        if not rig.tick():
            break


def _serve(rig: Rig, ask: Ask) -> None:
    """The kernel answers a fault."""
    rig.serve_fault()


def _close(rig: Rig, ask: Ask) -> None:
    rig.close(SEND)


def _reopen(rig: Rig, ask: Ask) -> None:
    rig.open_send()


MOVES = (_paste, _time, _serve, _close, _reopen)


def _drive(machine: Machine, ask: Ask) -> None:
    rig = Rig.on(machine, FIFO)
    for _ in range(STEPS):
        _paste(rig, ask)
        move = ask("move", len(MOVES))
        MOVES[move or 1](rig, ask)
    for _ in range(4 * STEPS):
        _time(rig, ask)
        if rig.serve_fault() is None and not rig.machine.queue:
            break


ENGINE = Scenario(
    name="vas-engine", text="a program pastes requests whose pages are away; the kernel answers faults, or is slow, closes and opens",
    isa="ppc64", rig=_rig, drive=_drive, setup=(_begin,), models=("vas",), kinds=KINDS,
)  # fmt: skip

# ---------------------------------------------------------------------- a driver
CASES = (
    Case("vas-ccw-kept", ENGINE, ("P10",)),
    Case("vas-fault-overrun", ENGINE, ("P4",)),
)
OUTSIDE: dict[str, str] = {}
