# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waits for what, and what would end it: a graph of tasks, tokens, pages, vCPUs and the host's work under way.

Edges come from the models, from the machine, and from the guest's wait table where its symbols are known. Whoever's chain leads to
nothing that will happen by itself waits for ever: in a cycle, or at a dead end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vmemu.lab.models.base import A_WAKE_UP, AN_INTERRUPT, Model, Wait, token_node, vcpu_node
from vmemu.machine.symbols import Symbols
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.sleepers import Unreadable, sleepers

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

#: Chains are told to so many steps, and so many of them.
LONGEST, MOST = 12, 8
#: Who waits for nothing else is no riddle: an idle CPU, a token that is over.
BACKGROUND = (AN_INTERRUPT, A_WAKE_UP)


class WaitGraph:
    """`edges`: waiter -> what it waits for, each with why. What is in no edge's beginning does nothing by itself: a dead end."""

    def __init__(self, waits: Iterable[Wait]) -> None:
        self.edges: dict[str, list[Wait]] = {}
        for wait in waits:
            self.edges.setdefault(wait.waiter, []).append(wait)

    @classmethod
    def of(cls, machine: Machine, models: Iterable[Model]) -> WaitGraph:
        """Of a machine between two turns."""
        found = [wait for model in models for wait in model.waits()]
        found += _sleepers(machine) + _work(machine)
        return cls(found + _vcpus(machine, {wait.waiter for wait in found}))

    # ----------------------------------------------------------------- verdict
    def ends(self, node: str, _above: frozenset[str] = frozenset()) -> bool:
        """Will something end this node's waiting? All that it waits for must end."""
        if node in _above or node not in self.edges:
            return False
        return all(not wait.on or self.ends(wait.on, _above | {node}) for wait in self.edges[node])

    def cycles(self) -> list[list[str]]:
        """Nodes that wait for each other, each cycle once, from its first name on."""
        found: dict[tuple[str, ...], None] = {}
        for start in self.edges:
            path, node = [start], start
            while (following := self._blocked_by(node)) is not None:
                if following.on in path:
                    ring = path[path.index(following.on) :]
                    first = ring.index(min(ring))
                    found[tuple(ring[first:] + ring[:first])] = None
                    break
                path.append(node := following.on)
        return [list(ring) for ring in found]

    def dead_ends(self) -> list[str]:
        """What others wait for, and that neither waits for anything nor does anything by itself."""
        awaited = {wait.on: None for waits in self.edges.values() for wait in waits if wait.on and wait.on != A_WAKE_UP}
        return [node for node in awaited if node not in self.edges]

    def _blocked_by(self, node: str) -> Wait | None:
        """The first thing that keeps a node waiting for ever."""
        for wait in self.edges.get(node, ()):
            if wait.on and not self.ends(wait.on, frozenset({node})):
                return wait
        return None

    # ------------------------------------------------------------------- words
    def chain(self, node: str) -> str:
        """Why a node waits, step by step: to what ends it, or to where nothing does."""
        words, seen = [], [node]
        while len(seen) <= LONGEST:
            waits = self.edges.get(seen[-1], [])
            wait = self._blocked_by(seen[-1]) or (waits[0] if waits else None)
            if wait is None:
                words.append("which nothing under way will bring" if len(seen) > 1 else f"{node} waits for nothing")
                break
            if not wait.on:
                words.append(f"{seen[-1]}: {wait.why}")
                break
            words.append(f"{seen[-1]} waits for {wait.on} ({wait.why})")
            if wait.on in seen:
                words.append(f"which is a cycle of {len(seen) - seen.index(wait.on)}")
                break
            seen.append(wait.on)
        return "; ".join(words)

    def lines(self) -> list[str]:
        """The chains of those that wait for ever; without those that are part of another's."""
        stuck = [node for node in self.edges if not self.ends(node)]
        inner = {wait.on for node in stuck if (wait := self._blocked_by(node)) is not None and wait.on != node}
        heads = [node for node in stuck if node not in inner] or stuck[:1]
        worth = [node for node in heads if any(wait.on not in BACKGROUND for wait in self.edges[node])] or heads
        return [self.chain(node) for node in worth[:MOST]] + ([f"and {len(worth) - MOST} more"] if len(worth) > MOST else [])


def _vcpus(machine: Machine, known: set[str]) -> list[Wait]:
    """What the processors are at."""
    return [Wait(vcpu_node(v.id), *_vcpu(machine, v)) for v in machine.vcpus if vcpu_node(v.id) not in known]


def _vcpu(machine: Machine, vcpu: CoreVcpu) -> tuple[str, str]:
    if not vcpu.online:
        return "its start", "it is not online"
    where = Symbols.of(machine).name(vcpu.pc)
    if vcpu.held:
        return "", f"the host is amid something on its behalf, at {where}"
    if vcpu.halted and not vcpu.runnable:
        return AN_INTERRUPT, f"it sleeps at {where}"
    return "", f"it runs, at {where}"


def _work(machine: Machine) -> list[Wait]:
    """I/O that has an end, and interrupts that timers will raise."""
    found = []
    pager = machine.pager
    if isinstance(pager, AsyncPager):
        for index, numbers in pager.io.items():
            gfn = machine.core.gpa(index) >> 12
            found.append(Wait(f"page {gfn:#x}", "", f"its I/O ends at {max(pager.works[n].deadline for n in numbers)} ns"))
    deadlines = [d for device in machine.board.devices.values() if (d := device.next_deadline()) is not None]
    if deadlines:
        found.append(Wait(AN_INTERRUPT, "", f"a timer ends at {min(deadlines)} ns"))
    return found


def _sleepers(machine: Machine) -> list[Wait]:
    """The guest's tasks that sleep on tokens, each by its number; or all together, as a guest counts them whose table is not known."""
    try:
        found = sleepers(machine)
    except Unreadable:
        pager = machine.pager
        counted = pager.sleepers().get("sleeping_at_end", 0) if isinstance(pager, AsyncPager) else 0
        return [Wait(f"{counted} tasks of the guest", "their tokens", "sleep in its wait table")] if counted else []
    return [
        Wait(f"task {s.task}" if s.task else vcpu_node(s.cpu), token_node(s.token), f"sleeps on it, told on vCPU {s.cpu}")
        for s in found if not s.marker
    ]  # fmt: skip
