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
def _edge(name: str, text: str, one: int, *, vas: str = "native") -> Scenario:
    """One test of `vas-edge`, from where its window is open."""
    options = {"vas": vas, "memory": "32M", "append": f"quiet one={one}"}
    return Scenario(name=name, text=text, isa="ppc64", image="vas-edge", start="output:vas-edge: go", options=options,
                    cycles=200_000_000, events=("nx.interrupt:delay=20us,delay=100us", "nx.job:delay=20us,delay=100us"),
                    models=("vas",))  # fmt: skip


FLAGS = _edge("vas-flags", "four faults, whose requests have flags in the pointer to their status block", 1)
TWO = _edge("vas-two-faults", "two faults, shortly one after the other", 2)
SWITCH = _edge("vas-switch", "another task's turn between copy and paste", 3)
CLOSE = _edge("vas-close", "a window is closed while its fault is on its way", 4)
CLOSE_POWERVM = _edge("vas-close-powervm", "the same, where the hypervisor owns the windows", 4, vas="powervm")

CASES = (
    Case("vas-ccw-kept", ENGINE, ("P10",)),
    Case("vas-fault-overrun", ENGINE, ("P4",)),
    Case("vas-cc-5", FLAGS, ("P11",)),
    Case("vas-csb-unmasked", FLAGS, ("P11",)),
    Case("vas-csb-at-once", FLAGS, ("P6",)),
    Case("vas-lost-fault", TWO, ("LIVE", "P10")),
    Case("vas-no-cpabort", SWITCH, ("GUEST",)),
    Case("vas-free-early", CLOSE, ("LIVE", "P2")),
    Case("vas-close-no-wait", CLOSE_POWERVM, ("GUEST",)),
)
OUTSIDE = {
    "vas-bad-window-stops": "needs an engine that tells a window which nobody has opened: tests/guest/test_vas_edge.py makes one",
    "vas-irq-dropped": "one window of one credit has one fault at a time: its interrupt has always ended before the next",
}
