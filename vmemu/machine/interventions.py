# SPDX-License-Identifier: GPL-2.0-or-later
"""What the owner of any machine may do to it while it stands between two turns: as functions, and as commands (control.py)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmemu.core import PAGE_SIZE, PageFlag, PageState, lib
from vmemu.errors import ConfigError, StoreError
from vmemu.machine.control import Refused

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


def evict(machine: Machine, gpa: int) -> None:
    """A resident page goes to the store. Raises Refused for one that is not resident or pinned, ConfigError outside RAM."""
    core, memory = machine.core, machine.memory
    index = core.index(gpa)
    if index < 0:
        raise ConfigError(f"evict {gpa:#x}: not RAM")
    page = core.page(index)
    if page.state != PageState.RESIDENT:
        raise Refused(f"ENOENT: page {gpa & ~(PAGE_SIZE - 1):#x} is not resident")
    if page.flags & PageFlag.PINNED:
        raise Refused(f"EBUSY: page {gpa & ~(PAGE_SIZE - 1):#x} is pinned")
    done = lib.s2_swap_out(core.ptr, index)
    if done < 0:
        raise Refused(f"EBUSY: page {gpa & ~(PAGE_SIZE - 1):#x} is in use")
    if done:
        try:
            memory.put_out(index)
        except StoreError as error:
            raise Refused(f"EIO: {error}") from None


def _evict(machine: Machine, words: list[str]) -> str:
    if len(words) != 1 or not re.fullmatch(r"0x[0-9a-f]{1,16}|[0-9]{1,20}", words[0], re.IGNORECASE):
        raise ConfigError("evict GPA: the guest-physical address of a page, as in evict 0x5000")
    gpa = int(words[0], 0)
    evict(machine, gpa)
    return f"page {gpa & ~(PAGE_SIZE - 1):#x} is in the store"


def install(machine: Machine) -> None:
    """Give a machine its commands."""
    machine.commands["evict"] = lambda words: _evict(machine, words)
