# SPDX-License-Identifier: GPL-2.0-or-later
"""What a debugger's user sets, and what he gets back: breakpoints, watchpoints, stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.machine.traps import Trap

if TYPE_CHECKING:
    from vmemu.debug.session import Session

#: May look at the machine, and changes nothing.
Condition = Callable[["Session"], bool]


@dataclass
class Breakpoint:
    """Stops before the instruction at `address`. vcpu None: on any. hits: how often it has stopped a run forwards."""

    id: int
    address: int
    vcpu: int | None = None
    condition: Condition | None = None
    text: str = ""
    enabled: bool = True
    hits: int = 0
    temporary: bool = False


@dataclass
class Watchpoint:
    """Stops at accesses ("r", "w", "rw") to [gpa, gpa + size)."""

    id: int
    gpa: int
    size: int
    access: str = "w"
    text: str = ""
    enabled: bool = True
    hits: int = 0


@dataclass(frozen=True)
class Stop:
    """Where the machine stands, and why.

    kind: "step"   what was asked for is done
          "break"  `break_id` was hit; the instruction at `pc` comes next
          "watch"  `break_id` was hit: the access of the instruction at `pc` comes next, or (trap.by_host) has just happened
          "event"  what `until_event` or `back_event` looked for has happened
          "limit"  `cont` came to its limit
          "interrupt"
          "start"  backwards: where time travel was switched on, and nothing was found on the way
          "end"    the run is over: `status`
          "error"  `error` was raised by the host's own code; the machine stands at the last instant before
    insns: the machine's index of this instant. time_ns: virtual.
    """

    kind: str
    vcpu: int
    pc: int
    insns: int
    time_ns: int
    text: str
    break_id: int | None = None
    trap: Trap | None = None
    status: tuple[int, str] | None = None
    error: BaseException | None = None
