# SPDX-License-Identifier: GPL-2.0-or-later
"""Different code at one virtual address in two address spaces: each runs, and is counted, as what it is.

The guest itself switches: CR3, TTBR0_EL1 with another ASID, PIDR. Nothing tells the block cache.
"""

from __future__ import annotations

import random
import struct

import pytest
from helpers.bare import CODE, ISAS, Guest, assembler, ended

from vmemu.core import ExitKind
from vmemu.lab.assembler import Assembler

VA = 0x800000  # from the start of RAM; beyond the identity map of the first 2 MiB
TREE, SHARED = (0x140000, 0x150000), (0x160000, 0x170000)  # tables of each space, its code page
PROCESS_TABLE = 0x138000
ROUNDS = 40
LI = {"x86_64": 1, "arm64": 4, "ppc64": 5}
SWITCH = {"x86_64": 1, "arm64": 2, "ppc64": 2}


def build_tables(g: Guest, space: int) -> int:
    """Identity map of 2 MiB, and VA -> the space's own page. Returns what the guest writes to switch."""
    t, base = TREE[space], g.base

    def put(offset: int, value: int) -> None:
        g.write(offset, struct.pack(">Q" if g.isa == "ppc64" else "<Q", value))

    if g.isa == "x86_64":
        put(t, t + 0x1000 | 3)
        put(t + 0x1000, t + 0x2000 | 3)
        put(t + 0x2000, 0x83)
        put(t + 0x2000 + 8 * (VA >> 21), t + 0x3000 | 3)
        put(t + 0x3000, SHARED[space] | 3)
        return t
    if g.isa == "arm64":  # T0SZ 25: three levels; RAM is the second gigabyte
        put(t + 8, base + t + 0x1000 | 3)
        put(t + 0x1000, base | 1 << 10 | 1)
        put(t + 0x1000 + 8 * (VA >> 21), base + t + 0x2000 | 3)
        put(t + 0x2000, base + SHARED[space] | 1 << 10 | 3)
        return (space + 1) << 48 | base + t
    pid = space + 1
    put(PROCESS_TABLE + 16 * pid, 2 << 61 | t | 5 << 5 | 13)  # RTS 21: 52 bits, the first 13 in the root
    put(t, 1 << 63 | t + 0x1000 | 9)
    put(t + 0x1000, 1 << 63 | t + 0x2000 | 9)
    put(t + 0x2000, 3 << 62 | 0x187)
    put(t + 0x2000 + 8 * (VA >> 21), 1 << 63 | t + 0x3000 | 9)
    put(t + 0x3000, 3 << 62 | SHARED[space] | 0x187)
    return pid


def switch(a: Assembler, isa: str, value: int) -> None:
    a.li(1, value)
    if isa == "x86_64":
        a.raw(b"\x41\x0f\x22\xd9")  # mov cr3, r9
    elif isa == "arm64":
        a.raw(struct.pack("<II", 0xD5182002, 0xD5033FDF))  # msr ttbr0_el1, x2; isb
    else:
        a.raw(struct.pack(">II", 0x7C0003A6 | 15 << 21 | (48 & 31) << 16 | (48 >> 5) << 11, 0x4C00012C))


def body(isa: str, kind: int) -> bytes:
    """Two functions of one size: six multiplications, or (x86) 24 NOPs, or six loads."""
    a = assembler(isa, VA)
    a.addi(0, 1000 if kind else 1)
    for _ in range(6):
        if not kind:
            a.mul(1, 1)
        elif isa == "x86_64":
            a.raw(b"\x90" * 4)
        else:
            a.load(1, 5)
    a.ret()
    return a.code()


def prepare(isa: str, kinds: tuple[int, int] = (0, 1)) -> Guest:
    g = Guest(isa, b"")
    spaces = [build_tables(g, s) for s in (0, 1)]
    a = assembler(isa)
    a.li(0, 0)
    a.li(5, g.base + CODE)
    a.li(6, ROUNDS)
    a.label("loop")
    for s in (0, 1):
        switch(a, isa, spaces[s])
        a.labels["shared"] = VA - CODE
        a.call("shared")
    a.dec_jnz(6, "loop")
    a.halt()
    g.write(CODE, a.code())
    for s in (0, 1):
        g.write(SHARED[s], body(isa, kinds[s]))
    v = g.vcpu
    if isa == "x86_64":
        v.set("cr3", spaces[0])
    elif isa == "arm64":
        v.set("tcr_el1", 1 << 23 | 25)
        v.set("ttbr0_el1", spaces[0])
        v.set("sctlr_el1", v.get("sctlr_el1") | 1)
    else:
        v.set("prtbl", PROCESS_TABLE)
        v.set("pidr", 1)
        v.set("msr", 1 << 63 | 1 << 12 | 0x30)
    return g


def expected_count(isa: str) -> int:
    one = LI[isa] + SWITCH[isa] + 1 + 2
    return 3 * LI[isa] + ROUNDS * (2 * one + 12 + (18 if isa == "x86_64" else 0) + 2) + 1


@pytest.mark.parametrize("isa", ISAS)
def test_each_space_runs_its_own_code(isa: str) -> None:
    g = prepare(isa)
    x = g.run()
    assert ended(x), x
    assert g.get(0) == ROUNDS * 1001
    assert g.vcpu.insns == expected_count(isa)


@pytest.mark.parametrize("isa", ISAS)
def test_cost_is_that_of_the_code_that_ran(isa: str) -> None:
    """Alternating costs what half of each alone costs, although address and size of both are the same."""
    cycles = {}
    for kinds in ((0, 0), (0, 1), (1, 1)):
        g = prepare(isa, kinds)
        assert ended(g.run())
        cycles[kinds] = g.vcpu.cycles
    assert cycles[0, 0] != cycles[1, 1]
    assert 2 * cycles[0, 1] == cycles[0, 0] + cycles[1, 1]


@pytest.mark.parametrize("isa", ISAS)
def test_exact_stops_in_both_spaces(isa: str) -> None:
    whole = prepare(isa)
    whole.run()
    g = prepare(isa)
    rng = random.Random(2)
    while True:
        target = g.vcpu.insns + rng.randint(1, 9)
        x = g.run(insn_limit=target)
        if ended(x):
            break
        assert (x.kind, x.insns) == (ExitKind.LIMIT, target)
    assert g.state() == whole.state()
