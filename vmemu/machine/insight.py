# SPDX-License-Identifier: GPL-2.0-or-later
"""What a facility can tell people about itself, as plain data: debuggers and reports need to know nothing of its protocol.

Nothing here changes the machine, and nothing pages anything in. A rule comes with the section that it is from: "x86-apf.md 6" and
the like are the fact sheets' names of the sources that the code cites, "docs/..." is this repository's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vmemu.isa.base import Format
from vmemu.machine.view import read_physical

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.machine.machine import Machine

ACCESSES = ("read", "write", "fetch")
#: Numbers of an accelerator's jobs are told apart from tokens: job 5 is JOBS | 5.
JOBS = 1 << 64


class Rule(NamedTuple):
    """One statement, and where it is from."""

    text: str
    section: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.section})" if self.section else self.text


@dataclass(frozen=True, slots=True)
class Flight:
    """Something under way: a page-in, a job. subject: its life's name in the machine's history.

    number: what the guest calls it (token, correlation number), 0: nothing. vcpu: whose, -1: nobody's. gva, gpa: what was touched,
    None: not known. born, deadline: virtual ns; deadline 0: none. told: what the guest knows of it.
    """

    subject: str
    name: str
    number: int
    vcpu: int
    gva: int | None
    gpa: int | None
    access: str
    born: int
    deadline: int
    state: str
    told: str


class Row(NamedTuple):
    """A field of an area: its name, its value as text, what that means."""

    name: str
    value: str
    meaning: str = ""


@dataclass(slots=True)
class Area:
    """A piece of shared memory or state, decoded."""

    title: str
    rows: list[Row] = field(default_factory=list)
    section: str = ""

    def add(self, name: str, value: int | str, meaning: str = "") -> None:
        """A number is shown in hexadecimal."""
        self.rows.append(Row(name, value if isinstance(value, str) else f"{value:#x}", meaning))

    def bits(self, format: Format, value: int, name: str = "") -> None:
        """A value with declared bit-fields."""
        number, _, words = format.show(value).partition(" ")
        self.rows.append(Row(name or format.name, number, words.strip("()")))


class Insight:
    """The interface. The defaults are those of a facility with nothing under way and nothing to show."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def flights(self) -> list[Flight]:
        """What is under way, oldest first."""
        return []

    def refused(self) -> dict[str, int]:
        """Faults that were served while the vCPU was blocked: reason -> how many."""
        return {}

    def reason(self, name: str) -> Rule:
        """A reason of `refused`, explained."""
        return Rule(name)

    def find(self, number: int) -> list[Flight]:
        """What is under way by that number."""
        return [f for f in self.flights() if f.number == number]

    def why(self, flight: Flight) -> list[Rule]:
        """What it waits for now, and the rule behind that; the one that decides first."""
        return []

    def gone(self, number: int) -> list[Rule]:
        """What can be said of a number that nothing under way has; empty: nothing."""
        return []

    def announced(self, number: int) -> bool:
        """Does the guest have its completion before it, and has not taken it yet?"""
        return False

    def areas(self, vcpu: int) -> list[Area]:
        """What is shared with a vCPU's guest; vcpu -1: what belongs to no vCPU."""
        return []

    def tell(self, moment: Moment) -> Rule | None:
        """An observation in the words of this protocol; None: it is not about it."""
        return None

    def next(self, vcpu: int) -> list[Rule]:
        """What the guest will do next on a vCPU, as far as this protocol has a say in it."""
        return []

    # ------------------------------------------------------------ for subclasses
    def peek(self, gpa: int, size: int) -> bytes | None:
        """Guest memory; None where it cannot be read."""
        data = read_physical(self.machine, gpa, size)
        return data if len(data) == size else None

    def later(self, ns: int) -> str:
        """A time as people say it: "in 12.345 us", "now due"."""
        left = ns - self.machine.instant()
        return f"in {left / 1000:.3f} us, at {ns / 1000:.3f} us" if left > 0 else "due now"


def insights(machine: Machine) -> Sequence[Insight]:
    """Of all facilities that have one."""
    return [found for facility in machine.facilities.values() if (found := facility.insight()) is not None]
