# SPDX-License-Identifier: GPL-2.0-or-later
"""Time and the instruction index are functions of the instruction path: exact stops change nothing, and count right.

The reference for the count, and for where each instruction lies, is plain Unicorn with a hook on every instruction.
"""

from __future__ import annotations

import random
from functools import cache

import pytest
from helpers.bare import CODE, DATA, ISAS, PAGE_SIZE, Guest, State, Trace, assembler, ended, trace
from helpers.programs import ONLY, PROGRAMS, Program, random_program
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import ExitKind

STOPS = 1000
CASES = [(name, isa) for name in PROGRAMS for isa in ONLY.get(name, ISAS)]
#: x86's page tables: vmemu's walker sets accessed bits in them, plain Unicorn runs without tables.
COMPARED = DATA // PAGE_SIZE


@cache
def program(name: str, isa: str) -> Program:
    return PROGRAMS[name](isa)


@cache
def reference(name: str, isa: str) -> Trace:
    p = program(name, isa)
    return trace(isa, p.code, pages=p.pages, fill=p.fill)


def guest(isa: str, p: Program, store: str = "c", latency: int = 0) -> Guest:
    g = Guest(isa, p.code, pages=p.pages, frames=p.frames, fill=p.fill, store=store)
    if latency:
        g.machine.set_timing(latency, 2)
    return g


@cache
def unstopped(name: str, isa: str) -> State:
    g = guest(isa, program(name, isa), latency=1000 * 64)
    x = g.run()
    assert ended(x), x
    return g.state()


def run_with_stops(g: Guest, rng: random.Random, gap: int, pcs: list[int]) -> int:
    """Run to the end in steps of 1 to `gap` instructions; each stop must be exact. Returns the number of stops."""
    stops = 0
    while True:
        target = g.vcpu.insns + rng.choice((1, 2, 3, rng.randint(1, gap), rng.randint(1, gap), rng.randint(1, 2 * gap)))
        x = g.run(insn_limit=target)
        if ended(x):
            return stops
        assert x.kind == ExitKind.LIMIT, x
        assert (x.insns, x.pc) == (target, pcs[target])
        stops += 1


@pytest.mark.parametrize(("name", "isa"), CASES)
def test_count_agrees_with_plain_unicorn(name: str, isa: str) -> None:
    p, ref = program(name, isa), reference(name, isa)
    g = guest(isa, p)
    x = g.run()
    assert ended(x), x
    assert g.vcpu.insns == len(ref.pcs)
    assert tuple(g.get(i) for i in range(7)) == ref.registers
    for i in range(COMPARED, g.pages):
        assert g.peek(i) == ref.memory[i * PAGE_SIZE : (i + 1) * PAGE_SIZE], f"page {i}"
    if p.frames is not None:
        assert g.machine.stats()["swap_in"] > 50
        assert g.machine.stats()["resident_peak"] <= p.frames


@pytest.mark.parametrize(("name", "isa"), CASES)
def test_random_exact_stops_change_nothing(name: str, isa: str) -> None:
    p, pcs = program(name, isa), reference(name, isa).pcs
    rng = random.Random(f"{name} {isa}")
    stops = 0
    while stops < STOPS:
        g = guest(isa, p, latency=1000 * 64)
        stops += run_with_stops(g, rng, max(4, len(pcs) * 5 // (2 * STOPS)), pcs)
        assert g.state() == unstopped(name, isa)


@pytest.mark.parametrize("isa", ISAS)
def test_every_single_step(isa: str) -> None:
    p = random_program(isa, 17)
    pcs = trace(isa, p.code, fill=p.fill).pcs
    whole, stepped = guest(isa, p), guest(isa, p)
    assert ended(whole.run())
    for index in range(1, 1500):
        x = stepped.run(insn_limit=index)
        assert (x.kind, x.insns, x.pc) == (ExitKind.LIMIT, index, pcs[index])
    assert ended(stepped.run())
    assert stepped.state() == whole.state()


@pytest.mark.parametrize("isa", ISAS)
def test_budget_stops_fall_where_the_path_says(isa: str) -> None:
    """A cycle limit stops at the first block border behind it, wherever earlier stops were."""
    p = program("swapping", isa)
    plain, stopped = guest(isa, p), guest(isa, p)
    rng = random.Random(5)
    for limit in range(64 * 100, 64 * 4000, 64 * 97):
        a = plain.run(cycle_limit=limit)
        if ended(a):
            break
        while stopped.vcpu.insns < a.insns:
            stopped.run(insn_limit=min(a.insns, stopped.vcpu.insns + rng.randint(1, 200)))
        b = stopped.run(cycle_limit=limit)
        assert (a.kind, a.insns, a.cycles, a.pc) == (b.kind, b.insns, b.cycles, b.pc)


@pytest.mark.parametrize("isa", ISAS)
def test_store_kept_by_python_changes_nothing(isa: str) -> None:
    p, ref = program("swapping", isa), unstopped("swapping", isa)
    pcs = reference("swapping", isa).pcs
    g = guest(isa, p, store="fail:read@0xffffffff,ram:", latency=1000 * 64)
    run_with_stops(g, random.Random(9), 11, pcs)
    assert g.state() == ref


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 32), gap=st.integers(1, 600))
def test_random_programs(isa: str, seed: int, gap: int) -> None:
    p = random_program(isa, seed)
    ref = trace(isa, p.code, fill=p.fill)
    whole, stopped = guest(isa, p), guest(isa, p)
    assert ended(whole.run())
    assert whole.vcpu.insns == len(ref.pcs)
    assert tuple(whole.get(i) for i in range(7)) == ref.registers
    run_with_stops(stopped, random.Random(seed), gap, ref.pcs)
    assert stopped.state() == whole.state()


@pytest.mark.parametrize("isa", ISAS)
def test_host_writes_of_code_take_effect(isa: str) -> None:
    """The host replaces an instruction inside a translated loop, between two stops."""
    a = assembler(isa)
    a.li(0, 0)
    a.li(3, 1000)
    a.label("loop")
    at = len(a.out)
    a.addi(0, 1)
    a.add(1, 0)
    a.dec_jnz(3, "loop")
    a.halt()
    pcs = trace(isa, a.code()).pcs
    for stop in (1999, 2000, 2001, 2002, 2003):
        g = Guest(isa, a.code())
        assert g.run(insn_limit=stop).insns == stop
        before = g.get(0)
        g.write(CODE + at, a.new_addi(100))
        assert ended(g.run())
        assert g.get(0) == before + 100 * pcs[stop:].count(g.base + CODE + at)
