# SPDX-License-Identifier: GPL-2.0-or-later
"""What each implementation says to each case, as data; and the one place where a guest's arguments are checked.

A profile has two columns: what the host kernel answers by itself, and what its user space does with what the kernel leaves
to it. `papr` is the document (LoPAR 2.9 5.4.2), with our decisions where it is silent. `kvm` and `kvm-4.14` are KVM of 2022
and of 2017 with QEMU behind them; `qemu` is QEMU of 2014 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from vmemu.devices.papr import H_FUNCTION, H_P4, H_PARAMETER
from vmemu.protocols.tce.wire import MOST, PERMS, RESERVED, TOO_HARD, Call, Later, Token


class Do(Enum):
    """Instead of a code."""

    ACCEPT = "accept"
    TRUNCATE = "truncate"  # drop the bits that do not fit


Case = int | Do | Later


@dataclass(frozen=True, slots=True)
class Rules:
    """One column. The names are the cases."""

    unknown_liobn: Case = H_PARAMETER
    wide_liobn: Case = Do.ACCEPT  # more than 32 bits: compared as it is, or cut
    negative_liobn: Case = H_FUNCTION  # INDIRECT: the multi-table option, offered by nobody
    outside: Case = H_PARAMETER
    misaligned: Case = H_PARAMETER
    reserved: Case = H_PARAMETER  # reserved bits and permissions
    not_memory: Case = H_PARAMETER
    stuff_many: Case = H_P4  # more than 512
    stuff_maps: Case = Do.ACCEPT  # STUFF with permissions
    list_many: Case = H_PARAMETER
    list_misaligned: Case = H_PARAMETER
    nothing: Case = Do.ACCEPT  # count 0
    all_or_none: bool = True  # every entry is checked before the first is stored


@dataclass(frozen=True, slots=True)
class Profile:
    """`kernel` None: no table is known to the kernel. `keep`: when a page cannot be had, what was stored before stays."""

    name: str
    kernel: Rules | None
    user: Rules
    keep: bool
    text: str


#: The kernel does what is right in every profile, and leaves every error to user space (since "KVM: PPC: Inform the userspace
#: about TCE update failures", 2018).
_LEAVE = Rules(**{name: TOO_HARD for name in Rules.__dataclass_fields__ if name not in ("wide_liobn", "all_or_none")})  # type: ignore[arg-type]
_PAPR_KERNEL = replace(_LEAVE, stuff_maps=Do.ACCEPT, nothing=Do.ACCEPT)
_KVM = replace(
    _LEAVE, outside=H_PARAMETER, misaligned=H_PARAMETER, stuff_maps=H_PARAMETER, stuff_many=Do.ACCEPT, list_many=H_PARAMETER,
    list_misaligned=H_PARAMETER, nothing=Do.ACCEPT,
)  # fmt: skip
_QEMU = Rules(
    wide_liobn=Do.TRUNCATE, negative_liobn=Do.TRUNCATE, misaligned=Do.TRUNCATE, reserved=Do.ACCEPT, not_memory=Do.ACCEPT,
    stuff_many=Do.ACCEPT, nothing=H_PARAMETER, all_or_none=False,
)  # fmt: skip

PROFILES = {
    p.name: p
    for p in (
        Profile("papr", _PAPR_KERNEL, Rules(), False, "what LoPAR says; a failing call stores nothing"),
        Profile("kvm", _KVM, _QEMU, True, "KVM of 2022, with QEMU behind it"),
        Profile("kvm-4.14", replace(_KVM, reserved=H_PARAMETER, not_memory=H_PARAMETER, all_or_none=False), _QEMU, True,
                "KVM of 2017: stores entry by entry, refuses addresses outside memory"),
        Profile("qemu", None, _QEMU, True, "QEMU of 2014 alone: no call is finished in the kernel"),
    )
}  # fmt: skip


class Window(Protocol):
    """What the rules ask a table."""

    @property
    def first(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def shift(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Arguments that passed: `count` entries from `index` of table number `table`."""

    table: int
    index: int
    count: int


class No(Exception):
    """A case that a column answers with a code, or leaves to the level above."""

    def __init__(self, answer: int | Later) -> None:
        super().__init__(str(answer))
        self.answer = answer


def _ask(case: Case) -> Do:
    if isinstance(case, Do):
        return case
    raise No(case)


def locate(rules: Rules, find: Callable[[int], tuple[int, Window] | None], call: Call) -> Place:
    """Check everything but the entries. Raises No. The order is LoPAR's; a GET or PUT asks for one entry."""
    liobn, ioba = call.liobn, call.ioba
    if call.token is Token.INDIRECT:
        if call.count > MOST:
            _ask(rules.list_many)
        if liobn >> 63:
            _ask(rules.negative_liobn)
    if rules.wide_liobn is Do.TRUNCATE:
        liobn &= 0xFFFF_FFFF
    found = find(liobn)
    if found is None:
        _ask(rules.unknown_liobn)
        raise AssertionError("nobody accepts an unknown LIOBN")
    number, table = found
    if ioba & (1 << table.shift) - 1:
        _ask(rules.misaligned)
    index = (ioba >> table.shift) - table.first
    if not 0 <= index < table.size:
        _ask(rules.outside)
    if call.token is Token.STUFF:
        if call.count > MOST:
            _ask(rules.stuff_many)
        if call.value & PERMS:
            _ask(rules.stuff_maps)
    if call.token is Token.INDIRECT and call.value & 0xFFF:
        _ask(rules.list_misaligned)
    if call.count > table.size - index:  # whole entries: nothing can wrap
        _ask(rules.outside)
    if call.count == 0:
        _ask(rules.nothing)
    return Place(number, index, call.count)


def first_bad(rules: Rules, is_memory: Callable[[int], bool], values: Sequence[int]) -> tuple[int, int | Later] | None:
    """(position, answer) of the first entry that a column does not take. Permissions 00: hardware looks at nothing else."""
    for i, value in enumerate(values):
        if not value & PERMS:
            continue
        if value & RESERVED and not isinstance(rules.reserved, Do):
            return i, rules.reserved
        if not isinstance(rules.not_memory, Do) and not is_memory(value & ~0xFFF):
            return i, rules.not_memory
    return None
