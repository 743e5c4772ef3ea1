# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's wait table, read from guest memory: who sleeps on which token, and wakes that nobody has come for yet.

The table is that of guest_images/kernel/apf.c: found by its symbol, read by the types that the image's debug information tells.
Other kernels have no such symbol: then nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError
from vmemu.machine.symbols import Symbols
from vmemu.machine.types import Type
from vmemu.machine.view import read_physical

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

TABLE = "buckets"
#: More nodes in one bucket than there can be tasks and markers: the list is being changed, or damaged.
MOST = 512


@dataclass(frozen=True, slots=True)
class Sleeper:
    """One node of the table.

    token: what it waits for. cpu: where it was told. task: number of the task that sleeps, 0: the CPU itself waits, or a marker.
    marker: a wake that came first and waits for its sleeper; shared: for all of them. node: its guest-virtual address.
    """

    token: int
    cpu: int
    task: int
    marker: bool
    shared: bool
    node: int


class Unreadable(ConfigError):
    """The table cannot be read; the text says why."""


def sleepers(machine: Machine) -> list[Sleeper]:
    """Everybody in the table, by token. Raises Unreadable."""
    return _Table(machine).read()


class _Table:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        symbols = Symbols.of(machine)
        kernel = next((m for m in symbols.modules if m.name == "kernel"), None)
        if kernel is None or TABLE not in kernel.by_name:
            raise Unreadable("this guest's kernel has no wait table that is known here")
        if not kernel.debug.present:
            raise Unreadable("the kernel's image carries no debug information: its wait table cannot be read")
        # the kernel's linear map: all of memory at one distance, its own image included
        segment = next(s for s in kernel.image.segments if s.vaddr != s.paddr)
        self._distance = segment.vaddr - segment.paddr
        self._address = kernel.by_name[TABLE].address
        self._bucket = symbols.type_of("struct bucket")  # by name: of variables in a section with an anchor DWARF may say nothing
        self._count = kernel.by_name[TABLE].size // max(self._bucket.size, 1)

    def _read(self, address: int, size: int) -> bytes:
        data = read_physical(self._machine, address - self._distance, size) if address >= self._distance else b""
        if len(data) < size:
            raise Unreadable(f"the wait table leads to {address:#x}, which cannot be read")
        return data

    def _number(self, type: Type, name: str, base: int) -> int:
        member = type.member(name)
        if member is None:
            raise Unreadable(f"{type.name} has no member {name!r}: another kernel")
        return member.type.scalar(self._read(base + member.offset, member.type.size))

    @staticmethod
    def _target(type: Type, name: str) -> Type:
        member = type.member(name)
        if member is None or member.type.target is None:
            raise Unreadable(f"{type.name} has no member {name!r}: another kernel")
        return member.type.target

    def read(self) -> list[Sleeper]:
        bucket = self._bucket
        node = self._target(bucket, "first")
        task = self._target(node, "task")
        found = []
        for i in range(self._count):
            at, steps = self._number(bucket, "first", self._address + i * bucket.size), 0
            while at:
                found.append(self._node(node, task, at))
                at, steps = self._number(node, "next", at), steps + 1
                if steps > MOST:
                    raise Unreadable(f"bucket {i} of the wait table has no end: it is being changed, or damaged")
        return sorted(found, key=lambda s: (s.token, s.marker, s.node))

    def _node(self, node: Type, task: Type, at: int) -> Sleeper:
        who = self._number(node, "task", at)
        return Sleeper(
            token=self._number(node, "token", at), cpu=self._number(node, "cpu", at), task=self._number(task, "pid", who) if who else 0,
            marker=bool(self._number(node, "marker", at)), shared=bool(self._number(node, "shared", at)), node=at,
        )  # fmt: skip
