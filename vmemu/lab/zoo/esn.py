# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of expropriation notifications: those of the platform before a partition without a guest, those of a kernel in `duel`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vmemu.lab.esn_rig import H_EOI, H_XIRR, LBZ, SNS, STB, Partition
from vmemu.lab.explore.scenario import Scenario, register
from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel

if TYPE_CHECKING:
    from vmemu.clock.choices import Choices
    from vmemu.lab.explore.actions import Ask
    from vmemu.machine.machine import Machine

STEPS = 5
PAGES = (0x30000, 0x31000, 0x32000)
SMALLEST, NEARLY_FULL = 256, 125  # bytes of an SNS area; entries of its 127 that are in use
AREAS = (SNS, 0x6000)
REG_SNS = (0x2F8, 0x41C)
KINDS = ("move", "page", "cpu", "access", "which", "area", "entry")
NONE = -1


# ------------------------------------------------------------------ the platform
def _rig(bugs: tuple[str, ...], choices: Choices, *, profile: str = "papr") -> Machine:
    return Partition.make(profile, 2, choices, bugs=bugs).machine


def _begin(machine: Machine, *, size: int = 0x1000, used: int = 0) -> list[str]:
    """VPAs, an area, and numbers in it that nobody has taken out."""
    p = Partition(machine)
    p.begin()
    p.register_sns(size)
    for _ in range(used):
        p.expropriate(PAGES[0])
        p.touch(0, PAGES[0])
        p.restore(PAGES[0])
    return []


def _token(p: Partition) -> int:
    return REG_SNS[p.esn.profile == "rfc"]


def _touch(p: Partition, ask: Ask) -> None:
    """A CPU loads from, stores to or runs in a page that is away."""
    page, cpu, access = PAGES[ask("page", len(PAGES))], ask("cpu", 2), ask("access", 3)
    if not p.machine.memory.in_store(page):
        p.expropriate(page)
    if access == 2:
        p.touch(cpu, page, pc=page)
    else:
        p.touch(cpu, page, (LBZ, STB)[access])


def _restore(p: Partition, ask: Ask) -> None:
    away = p.away()
    if away:
        p.restore(away[ask("which", len(away))])


def _drain(p: Partition, ask: Ask) -> None:
    """The partition takes everything out of the ring that it finds."""
    area = p.esn.sns.area
    if area is not None:
        p.store(area.base + 2, bytes(2 * area.entries))


def _arm(p: Partition, ask: Ask) -> None:
    if p.esn.sns.area is not None:
        p.arm()


def _interrupt(p: Partition, ask: Ask) -> None:
    p.hcall(0, H_EOI, p.hcall(0, H_XIRR)[1])


def _take_back(p: Partition, ask: Ask) -> None:
    p.hcall(0, _token(p), NONE, 0)


def _register(p: Partition, ask: Ask) -> None:
    area = AREAS[ask("area", len(AREAS))]
    if p.esn.sns.area is None:
        p.store(area, bytes(0x1000))
    p.hcall(0, _token(p), area, 0x1000)


def _other_call(p: Partition, ask: Ask) -> None:
    p.hcall(0, REG_SNS[p.esn.profile == "papr"], AREAS[1], 0x1000)


def _listen(p: Partition, ask: Ask) -> None:
    """A CPU wants no notifications any more, or again."""
    at = p.vpa(ask("cpu", 2)) + 0xB9
    p.store(at, bytes([p.word(at, 1) ^ 2]))


def _take_one(p: Partition, ask: Ask) -> None:
    """The partition takes one number out of the ring: the oldest, or another."""
    area = p.esn.sns.area
    if area is not None:
        used = [i for i in range(area.entries) if p.word(area.base + 2 + 2 * i, 2)]
        p.store(area.base + 2 + 2 * used[40 * ask("entry", 3)], bytes(2))


MOVES = (_touch, _restore, _drain, _arm, _interrupt, _take_back, _register, _other_call, _listen)


def _touch_another(p: Partition, ask: Ask) -> None:
    """A page that nobody waits for yet."""
    page = next((page for page in PAGES if page not in p.away()), PAGES[0])
    if not p.machine.memory.in_store(page):
        p.expropriate(page)
    p.touch(0, page)


ANY_ORDER = (_touch_another, _take_one)
Move = Callable[[Partition, "Ask"], None]


def _drive(machine: Machine, ask: Ask, *, moves: tuple[Move, ...] = MOVES) -> None:
    p = Partition(machine)
    for _ in range(STEPS):
        moves[ask("move", len(moves))](p, ask)
    for page in p.away():
        p.restore(page)


def _platform(name: str, text: str, *, profile: str = "papr", size: int = 0x1000, used: int = 0,
              moves: tuple[Move, ...] = MOVES, kinds: tuple[str, ...] = KINDS) -> Scenario:
    return Scenario(
        name=name, text=text, isa="ppc64", rig=partial(_rig, profile=profile), drive=partial(_drive, moves=moves), models=("esn",),
        setup=(partial(_begin, size=size, used=used),), kinds=kinds, cycles=1 << 50,
    )  # fmt: skip


PAPR = _platform("esn-platform", "two CPUs touch pages that are away; the partition drains, arms, takes its area back and registers again")
FULL = _platform("esn-ring", "the same, with a ring that is nearly full", size=SMALLEST, used=NEARLY_FULL)
#: No bug of anybody: what LoPAR's rule against overflows (R1-2) does not see (docs/findings.md).
OUT_OF_ORDER = register(_platform(
    "esn-out-of-order", "a ring that is nearly full, and a partition that takes any number out of it", size=SMALLEST, used=NEARLY_FULL,
    moves=ANY_ORDER,
))  # fmt: skip
IN_ORDER = register(_platform(
    "esn-in-order", "the same, and the partition takes the oldest number first", size=SMALLEST, used=NEARLY_FULL, moves=ANY_ORDER,
    kinds=("move",),
))  # fmt: skip
RFC = _platform("esn-rfc-platform", "the same before the platform of the RFC", profile="rfc")

# --------------------------------------------------------------------- a kernel
def _kernel(name: str, text: str, args: str, *kinds: str) -> Scenario:
    """kinds: the only decisions that matter to it."""
    return duel(name, text, "papr", args=args, options={"vas": "off"}, cycles=4_000_000, kinds=kinds, actions=(), models=("esn",))


DUEL = _kernel("duel-papr", "two tasks on two CPUs, told by PAPR's protocol", "pages=2 shared=1", "latency", "step")
MANY = _kernel("duel-papr-many", "four tasks, whose pages come one soon after the other", "tasks=4 pages=2 shared=0", "step", "latency")
KERNEL = _kernel("duel-papr-kernel", "the kernel touches pages for three tasks", "tasks=3 pages=2 shared=0 kernel=1", "vcpu", "latency")

CASES = (
    Case("esn-any-opcode", PAPR, ("V13",)),
    Case("esn-deregister-live", PAPR, ("OWN", "V10")),
    Case("esn-replace-area", PAPR, ("V13",)),
    Case("esn-no-kick", PAPR, ("V9",)),
    Case("esn-number-wraps", PAPR, ("V4", "TOK")),
    Case("esn-one-slot", FULL, ("V6",)),
    Case("esn-unarmed-dropped", PAPR, ("V1",)),
    Case("esn-level-trigger", PAPR, ("V8",)),
    Case("esn-stale-dar", PAPR, ("V12",)),
    Case("esn-fetch-as-data", PAPR, ("V12",)),
    Case("esn-number-per-fault", PAPR, ("V3",)),
    Case("esn-little-endian-host", RFC, ("PAIR",)),
    Case("esn-no-arm", DUEL, ("LIVE",)),
    Case("esn-no-recheck", MANY, ("LIVE",)),
    Case("esn-arm-again", DUEL, ("LIVE",)),
    Case("esn-stale-number", DUEL, ("LIVE",)),
    Case("esn-early-real", KERNEL, ("GUEST",)),
)
_ALLOWED = "LoPAR allows it, and a kernel must live with it: scenarios find nothing with it on"
OUTSIDE = {
    "esn-late-numbers": "a platform of `papr` is right whatever number it begins with; `esn-number-wraps` is what the RFC made of it",
    "esn-number-zero": _ALLOWED,
    "esn-pulse-rule": _ALLOWED,
    "esn-zero-sleeps": "number 0 is told of pages that were thrown away: `usertests` with page-states has some, no small scenario has",
    "esn-rfc-2f8": "a kernel of the RFC on a platform of LoPAR: without the switch it gets no notification at all",
}
