# SPDX-License-Identifier: GPL-2.0-or-later
"""What a floor above adds to a machine: an asynchronous paging protocol, an accelerator, a DMA bridge.

The machine knows no facility by name. Each is the value of a boot option (``apf="kvm"``); the rooms above register the
option with its makers, and the machine makes, saves, restores and reports whatever it finds registered. A facility puts
its hypercalls, registers, devices and CPUID leaves into the board's registries when it is made.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from vmemu.devices.base import State
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu, Exit
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.fdt import Node
    from vmemu.machine.insight import Insight
    from vmemu.machine.machine import Machine


class Facility(ABC):
    """One addition to one machine. Made before the guest is loaded; everything it believes can be saved as plain data."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def describe(self, root: Node) -> None:  # noqa: B027 - here and below: most need nothing
        """Add what the guest must be told to the device tree."""

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:  # noqa: B027
        """The vCPU was reset (INIT) or taken away (CPU_OFF, stop-self): forget what it had enabled."""

    def loaded(self) -> None:  # noqa: B027
        """The guest is in memory and the boot vCPU stands at its entry: nothing has run yet."""

    @abstractmethod
    def save(self) -> State:
        """Plain data (ints, text, lists, dicts with text keys) with a ``version``."""

    @abstractmethod
    def load(self, state: State) -> None:
        """Put back what `save` gave. Event handles are dead then: look them up with `queue.find`."""

    def migrated(self) -> None:  # noqa: B027
        """The machine's state came as a VMM carries it from kernel to kernel: give up what no interface lets it read."""

    def summary(self) -> dict[str, Any]:
        """Figures for the run's JSON: top-level names -> values."""
        return {}

    def lines(self) -> list[str]:
        """The same for people: lines printed at the end of a run."""
        return []

    def invariants(self) -> list[str]:
        """What is wrong with its state right now, one text each; empty when all holds."""
        return []

    def stalled(self) -> str | None:
        """Nothing is runnable and no event is due: what this facility knows about it."""
        return None

    def insight(self) -> Insight | None:
        """What it tells people about itself."""
        return None

    def interrupted(self, vcpu: int) -> list[dict[str, int]]:
        """What firmware has taken a vCPU away from and keeps for it, the innermost last: registers by name, "pc", "pstate", "event"."""
        return []

    def close(self) -> None:  # noqa: B027
        """The machine ends."""


class Resolution(Enum):
    """What a pager did about a stage-2 fault that needs the store."""

    RETRY = "retry"  # the page is mapped: run the instruction again
    NOTIFIED = "notified"  # the guest is told (an exception or interrupt is pending): go on
    HALT = "halt"  # the vCPU waits, but takes interrupts; it faults again when it goes on
    FATAL = "fatal"  # the page is lost: the architecture's memory error


class Pager(Facility):
    """A facility that decides what becomes of stage-2 faults (`Machine.pager`); at most one in a machine."""

    @abstractmethod
    def on_fault(self, vcpu: CoreVcpu, ex: Exit) -> Resolution:
        """A page is away. `ex`: gpa, gva, access, pc; ex.nr: core's Stage2 bits."""

    @abstractmethod
    def on_exit(self, vcpu: CoreVcpu) -> None:
        """The vCPU left its guest for whatever reason, or was made to leave it (`Machine.exit_soon`)."""


#: make(machine, value, options) -> facility, or None when this value adds nothing.
Maker = Callable[["Machine", str, "BootOptions"], Facility | None]


@dataclass(frozen=True, slots=True)
class Option:
    """A boot option that facilities answer to. `values`: value -> (ISAs that have it, one line of help)."""

    name: str
    values: Mapping[str, tuple[tuple[str, ...], str]]
    make: Maker

    def check(self, value: str, isa: str) -> None:
        """Raises ConfigError with the values that this architecture has."""
        known = [v for v, (isas, _) in self.values.items() if isa in isas]
        if value not in known:
            where = "" if value not in self.values else f" is not for {isa}; it has"
            raise ConfigError(f"--{self.name.replace('_', '-')} {value}{where or ': not one of'} {', '.join(known)}")


def extend(name: str, value: str, isas: tuple[str, ...], text: str, make: Maker) -> None:
    """A further value of an option, from outside: a variant of a protocol (``extend("apf", "mine", ...)`` gives ``--apf mine``)."""
    load_rooms()
    known = OPTIONS[name]
    if value in known.values:
        raise ValueError(f"option {name} has a value {value} already")
    OPTIONS[name] = Option(
        name, {**known.values, value: (isas, text)},
        lambda machine, asked, options: (make if asked == value else known.make)(machine, asked, options),
    )  # fmt: skip


#: A value that leaves the option to the image, which may ask for another one in an ELF note (machine/elf.py, NOTE_WANTS).
AUTO = "auto"
OPTIONS: dict[str, Option] = {}
#: Rooms above that register their options when they are imported, as plug-ins: named here, imported only when a machine is made.
ROOMS = ("vmemu.protocols",)


def register(option: Option) -> Option:
    """Make an option known; rooms call this when imported."""
    if option.name in OPTIONS:
        raise ValueError(f"facility option {option.name} registered twice")
    OPTIONS[option.name] = option
    return option


def load_rooms() -> None:
    """Make all options, known bugs and injectable events of the rooms above known."""
    for room in ROOMS:
        importlib.import_module(room)


def make_all(machine: Machine, options: BootOptions) -> dict[str, Facility]:
    """The facilities that these options ask for, by option name, in the order of registration. Raises ConfigError."""
    found = {}
    for name, option in OPTIONS.items():
        value = getattr(options, name)
        option.check(value, machine.board.isa)
        facility = option.make(machine, value, options)
        if facility is not None:
            found[name] = facility
    return found
