# SPDX-License-Identifier: GPL-2.0-or-later
"""What the environment of the zoo's scenarios may do, beyond what every explorer offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vmemu.core import PAGE_SIZE
from vmemu.lab.explore.actions import Ask, register, youngest

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: First word of each page that `duel` works with (guest_images/programs/duel.c).
MARK = 0x6C65756420756D65
_ALL = 1 << 30


def marked(machine: Machine) -> list[int]:
    """Guest-physical addresses of resident pages that begin with the mark, in their order."""
    order: Literal["big", "little"] = "big" if machine.core.isa.big_endian else "little"
    mark = MARK.to_bytes(8, order)
    return sorted(gpa for gpa in youngest(machine, _ALL) if machine.core.read_resident(gpa, 8) == mark)


def evict_all_marked(machine: Machine) -> list[str]:
    """Commands for a scenario's setup."""
    return [f"evict {gpa:#x}" for gpa in marked(machine)]


def _evict_marked(machine: Machine, ask: Ask) -> str | None:
    pages = marked(machine)
    return f"evict {pages[ask('act.evict-marked', len(pages))] & -PAGE_SIZE:#x}" if pages else None


def _token_id(machine: Machine, ask: Ask) -> str | None:
    """The ids begin anew so far that the next token is the oldest one that is still waited for."""
    vcpu = ask("act.token-id", len(machine.vcpus))
    return f"token-id {vcpu} oldest"


def _end_vm(machine: Machine, ask: Ask) -> str | None:
    return "end-vm"


register("evict-marked", "a page that duel works with goes to the store", _evict_marked)
register("token-id", "so many tokens have been given out that the next one is the oldest that is still waited for", _token_id)
register("end-vm", "the VM's owner lets go of it, whatever is under way", _end_vm)
