# SPDX-License-Identifier: GPL-2.0-or-later
"""A block that an exception leaves in the middle gives the rest back: only what ran is counted."""

from __future__ import annotations

import random
import struct

import pytest
from helpers.bare import CODE, Guest, assembler, ended

from vmemu.core import ExitKind

ROUNDS, BEFORE, AFTER = 30, 5, 9
NOWHERE = 0xFFF_0000_0000  # no RAM there
LI = {"arm64": 4, "ppc64": 5}
#: Skip the instruction that failed: read the return address, add 4, write it, return.
HANDLER = {
    "arm64": (0x200, struct.pack("<4I", 0xD5384029, 0x91001129, 0xD5184029, 0xD69F03E0)),
    "ppc64": (0x200, struct.pack(">4I", 0x7EDA02A6, 0x3AD60004, 0x7EDA03A6, 0x4C000024)),
}


def prepare(isa: str) -> Guest:
    a = assembler(isa)
    a.li(0, 0)
    a.li(2, NOWHERE)
    a.li(3, ROUNDS)
    a.label("loop")
    for _ in range(BEFORE):
        a.addi(0, 1)
    a.load(4, 2)
    for _ in range(AFTER):
        a.addi(0, 1)
    a.dec_jnz(3, "loop")
    a.halt()
    g = Guest(isa, a.code())
    offset, code = HANDLER[isa]
    if isa == "arm64":
        g.vcpu.set("vbar_el1", g.base)
    g.write(offset, code)
    return g


@pytest.mark.parametrize("isa", HANDLER)
def test_only_what_ran_is_counted(isa: str) -> None:
    g = prepare(isa)
    x = g.run()
    assert ended(x), x
    assert g.get(0) == ROUNDS * (BEFORE + AFTER)
    assert g.vcpu.counters()["exception"] == ROUNDS
    assert g.vcpu.insns == 3 * LI[isa] + ROUNDS * (BEFORE + AFTER + 4 + 2) + 1


@pytest.mark.parametrize("isa", HANDLER)
def test_stops_around_the_fault_change_nothing(isa: str) -> None:
    whole, g = prepare(isa), prepare(isa)
    whole.run()
    rng = random.Random(4)
    while True:
        target = g.vcpu.insns + rng.randint(1, 7)
        x = g.run(insn_limit=target)
        if ended(x):
            break
        assert (x.kind, x.insns) == (ExitKind.LIMIT, target)
        assert (x.pc - g.base < 0x1000) or x.pc >= g.base + CODE
    assert g.state() == whole.state()


def test_address_hooks_stop_exactly() -> None:
    """An instruction trapped by an address hook, between stores, in a block reached by a jump and by falling through."""
    isa = "arm64"
    a = assembler(isa)
    a.li(0, 0)
    a.li(2, 0x40048000)
    a.li(3, ROUNDS)
    a.jump("loop")
    a.halt()
    a.label("loop")
    for i in range(BEFORE):
        a.addi(0, 1)
        a.store(0, 2, 8 * i)
    a.raw(struct.pack("<I", 0x1E604000))  # fmov d0, d0, which CPACR_EL1.FPEN = 0 traps
    for i in range(AFTER):
        a.addi(0, 1)
        a.store(0, 2, 8 * i)
    a.dec_jnz(3, "loop")
    a.halt()
    g = Guest(isa, a.code())
    offset, code = HANDLER[isa]
    g.vcpu.set("vbar_el1", g.base)
    g.vcpu.set("cpacr_el1", 0)
    g.write(offset, code)
    x = g.run()
    assert ended(x), x
    assert g.get(0) == ROUNDS * (BEFORE + AFTER)
    assert g.vcpu.counters()["exception"] == ROUNDS
    assert g.vcpu.insns == 3 * LI[isa] + 1 + ROUNDS * (2 * (BEFORE + AFTER) + 4 + 2) + 1
