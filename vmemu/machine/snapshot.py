# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots in memory: an instant of a machine, to go back to as often as one likes.

What is hot and flat lies in the C unit (core/src/snapshot.c); this adds the devices, the clock, the choices and the console.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmemu.core import CoreSnapshot

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An instant of one machine, after `insns` instructions of all vCPUs. Restoring an older one ends the newer ones."""

    core: CoreSnapshot
    insns: int
    time: int
    board: dict[str, Any]
    facilities: dict[str, dict[str, Any]]
    memory: dict[str, Any]
    choices: dict[str, Any]
    queue: list[tuple[int, Any, str]]
    turn: list[Any]
    console: tuple[int, bytes, tuple[int, ...]]
    power: tuple[bool, int | None]
    journal: int


def take(machine: Machine) -> Snapshot:
    """Remember this instant. Not from inside a device's callback."""
    return Snapshot(
        core=machine.core.take_snapshot(),
        insns=machine.insns,
        time=machine.time_units,
        board=machine.board.save(),
        facilities={name: facility.save() for name, facility in machine.facilities.items()},
        memory=machine.memory.save(),
        choices=machine.choices.save(),
        queue=machine.queue.pending(),
        turn=machine.save_turn(),
        console=machine.console.save(),
        power=machine.power,
        journal=0 if machine.journal is None else machine.journal.done,
    )


def restore(machine: Machine, snapshot: Snapshot) -> None:
    """Back to that instant; the snapshot stays usable. Raises EngineError when it is of another machine, or gone."""
    machine.board.load(snapshot.board)  # first: what it does to lines and clocks is overwritten
    machine.core.restore_snapshot(snapshot.core)
    machine.time_units = snapshot.time
    machine.load_turn(snapshot.turn)
    machine.memory.load(snapshot.memory)
    machine.choices.load(snapshot.choices)
    machine.queue.replace(snapshot.queue)
    for name, facility in machine.facilities.items():
        facility.load(snapshot.facilities[name])
    machine.console.load(snapshot.console)
    machine.power = snapshot.power
    if machine.journal is not None:
        machine.journal.done = snapshot.journal
    if machine.history is not None:
        machine.history.rewind()


def drop(machine: Machine, snapshot: Snapshot) -> None:
    """Forget a snapshot; others stay."""
    machine.core.drop_snapshot(snapshot.core)
