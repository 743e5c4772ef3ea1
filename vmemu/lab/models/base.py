# SPDX-License-Identifier: GPL-2.0-or-later
"""What a model of a protocol is: somebody who knows the rules, sees all that crosses the border, and says what broke them.

A model is written from the protocol's description and shares no code with the host that it judges: it imports nothing of
vmemu.protocols. It may read the machine - memory, registers, devices, time, boot options - and changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vmemu.core import PAGE_SIZE
from vmemu.core.observe import Seen, What

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: A model that has found so many is past telling anything new.
MOST_VIOLATIONS = 64


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken. invariant: its name ("PAIR", "SLOT", "I-4"); insns: the machine's index of instants."""

    invariant: str
    text: str
    token: int | None = None
    vcpu: int | None = None
    insns: int = 0

    def __str__(self) -> str:
        where = "" if self.vcpu is None else f" (vCPU {self.vcpu})"
        return f"{self.invariant}: {self.text}{where}"


class End(Protocol):
    """How a run ended; `vmemu.machine.result.RunResult` is one."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def guest_status(self) -> int | None: ...


class Wait(NamedTuple):
    """An edge of the wait graph. waiter, on: names of nodes ("task 3", "token 0x2000", "vCPU 0"); why: of the waiting.

    on "": it ends by itself, and `why` says when or how.
    """

    waiter: str
    on: str
    why: str


#: Nodes that stand for what nobody in particular brings.
AN_INTERRUPT, A_WAKE_UP = "an interrupt", "a wake-up"


def token_node(token: int) -> str:
    return f"token {token:#x}"


def vcpu_node(vcpu: int) -> str:
    return f"vCPU {vcpu}"


class Model(ABC):
    """One protocol's rules, for one machine, from its first instruction on.

    Subclasses fill `on`: what they want to see -> method. `violations` grows while the machine runs.
    """

    name = ""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.violations: list[Violation] = []
        self.on: dict[What, Callable[[Seen], None]] = {}
        #: All models that watch this machine; set by whoever puts them to work.
        self.peers: Sequence[Model] = (self,)

    def see(self, seen: Seen) -> None:
        """One observation, in the middle of what it tells of."""
        handler = self.on.get(seen.what)
        if handler is not None:
            handler(seen)

    def check(self) -> None:  # noqa: B027 - not every model compares
        """After each turn: compare what is believed with what is in guest memory and on the lines."""

    def at_rest(self) -> None:  # noqa: B027
        """Nothing is in flight, and the guest is idle: what must be over is over."""

    def at_end(self, end: End) -> None:  # noqa: B027
        """The run is over."""

    def migrated(self) -> None:  # noqa: B027
        """The machine's state came as a VMM carries it: what no interface lets it read is lost (Facility.migrated)."""

    def waits(self) -> list[Wait]:
        """Who waits for what, as far as this model knows: for the wait graph."""
        return []

    @abstractmethod
    def state(self) -> Hashable:
        """A small summary: its values are the protocol's states, a change of it is a transition (coverage)."""

    @abstractmethod
    def save(self) -> Any:
        """Everything believed, as plain data; not the violations. What it gives never changes afterwards."""

    @abstractmethod
    def load(self, state: Any) -> None:
        """Put back what `save` gave, on a machine that stands where it stood then."""

    def wrong(self, invariant: str, text: str, *, token: int | None = None, vcpu: int | None = None) -> None:
        """Note a violation; the same words again add nothing."""
        if len(self.violations) >= MOST_VIOLATIONS or any(v.invariant == invariant and v.text == text for v in self.violations):
            return
        self.violations.append(Violation(invariant, text, token, vcpu, self.machine.insns))


def peek(machine: Machine, gpa: int, size: int) -> bytes | None:
    """Guest memory as it is, wherever it lies; nothing is paged in. None: not RAM, or lost."""
    core = machine.core
    data = core.read_resident(gpa, size)
    while len(data) < size:
        at = gpa + len(data)
        index = core.index(at)
        page = None if index < 0 else machine.memory.peek(index)
        if page is None:
            return None
        data += page[at % PAGE_SIZE :][: size - len(data)]
    return data


def profile(machine: Machine) -> str:
    """The profile of asynchronous page faults that the machine was booted with."""
    return "off" if machine.options is None else machine.options.apf
