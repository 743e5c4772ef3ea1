# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints and watchpoints stop where an independent trace says, at every such place, and change nothing.

The reference is plain Unicorn with a hook on every instruction and every access.
"""

from __future__ import annotations

import random
from functools import cache

import pytest
from helpers.bare import DATA, ISAS, PAGE_SIZE, RAM, Guest, State, Trace, assembler, ended, trace
from helpers.programs import ONLY, PROGRAMS, Program, random_program
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import ExitKind, TrapKind
from vmemu.errors import EngineError

ACCESS = {"r": 1, "w": 2, "rw": 3}
CASES = [(name, isa) for name in PROGRAMS for isa in ONLY.get(name, ISAS)]
each_isa = pytest.mark.parametrize("isa", ISAS)
#: One stop: index of the instruction, its address, and for a watchpoint the access.
Hit = tuple[int, int, tuple[str, int, int] | None]


@cache
def program(name: str, isa: str) -> Program:
    return PROGRAMS[name](isa)


@cache
def reference(name: str, isa: str) -> Trace:
    p = program(name, isa)
    return trace(isa, p.code, pages=p.pages, fill=p.fill, accesses=True)


@cache
def untrapped(name: str, isa: str) -> State:
    g = guest(isa, program(name, isa))
    assert ended(g.run())
    return g.state()


def guest(isa: str, p: Program, store: str = "c") -> Guest:
    g = Guest(isa, p.code, pages=p.pages, frames=p.frames, fill=p.fill, store=store)
    g.machine.set_timing(1000 * 64, 2)
    return g


def expected(ref: Trace, breaks: set[int], watches: list[tuple[int, int, str]]) -> list[Hit]:
    """A break before its instruction, then each access that meets a watch which this instruction has not met before."""
    hits: list[Hit] = []
    at = 0
    for index, pc in enumerate(ref.pcs):
        if pc in breaks:
            hits.append((index, pc, None))
        met: set[int] = set()
        while at < len(ref.accesses) and ref.accesses[at][0] == index:
            _, kind, address, size = ref.accesses[at]
            at += 1
            # an access that crosses into another page is told for each of them
            split = -address % PAGE_SIZE
            parts = [(address, size)] if not split or split >= size else [(address, split), (address + split, size - split)]
            for start, length in parts:
                now = {i for i, (gpa, n, access) in enumerate(watches)
                       if kind in access and start < gpa + n and gpa < start + length} - met
                if now:
                    met |= now
                    hits.append((index, pc, (kind, start, length)))
    return hits


def found(g: Guest, steps: random.Random | None = None) -> list[Hit]:
    """Run to the end; with `steps`, exact stops in between."""
    hits: list[Hit] = []
    while True:
        x = g.run() if steps is None else g.run(insn_limit=g.vcpu.insns + steps.randint(1, 400))
        if ended(x):
            return hits
        if x.kind == ExitKind.LIMIT:
            continue
        assert x.kind == ExitKind.DEBUG, x
        trap = g.machine.take_trap()
        assert trap is not None and (trap.pc, trap.by_host) == (x.pc, False)
        watch = None
        if trap.kind == TrapKind.WATCH:
            watch = {1: "r", 2: "w"}[trap.access], trap.gpa, trap.size
            assert trap.va == trap.gpa
        hits.append((x.insns, x.pc, watch))


def choose(rng: random.Random, ref: Trace, most: int) -> tuple[set[int], list[tuple[int, int, str]]]:
    """Some places that are not met too often, and beside them some that are never met."""
    pcs = rng.sample(ref.pcs, min(3, len(ref.pcs)))
    breaks = {pc for pc in pcs if ref.pcs.count(pc) <= most}
    watches = []
    for _, _, address, size in rng.sample(ref.accesses, min(4, len(ref.accesses))):
        gpa = max(RAM["x86_64"], address + rng.choice((0, 0, size - 1, -1, size, 64)))
        watches.append((gpa, rng.choice((1, 1, 4, 8, 24)), rng.choice(("r", "w", "rw"))))
    kept: list[tuple[int, int, str]] = []
    for watch in watches:
        page = watch[0] // PAGE_SIZE
        touches = sum(a // PAGE_SIZE == page for _, _, a, _ in ref.accesses)
        if touches <= 3000 and len(expected(ref, set(), [watch])) <= most:
            kept.append(watch)
    return breaks, kept


def arm(g: Guest, breaks: set[int], watches: list[tuple[int, int, str]]) -> None:
    for pc in breaks:
        g.machine.set_break(pc, True)
    for gpa, size, access in watches:
        g.machine.add_watch(gpa, size, ACCESS[access])


@pytest.mark.parametrize(("name", "isa"), CASES)
def test_programs(name: str, isa: str) -> None:
    p, ref = program(name, isa), reference(name, isa)
    rng = random.Random(f"{name} {isa}")
    for steps in (None, random.Random(3)):
        breaks, watches = choose(rng, ref, 200)
        g = guest(isa, p)
        arm(g, breaks, watches)
        assert found(g, steps) == expected(ref, breaks, watches), (breaks, watches)
        assert g.state() == untrapped(name, isa)


@each_isa
@settings(max_examples=12)
@given(seed=st.integers(0, 1 << 32))
def test_random_programs(isa: str, seed: int) -> None:
    p = random_program(isa, seed)
    ref = trace(isa, p.code, fill=p.fill, accesses=True)
    rng = random.Random(seed)
    breaks, watches = choose(rng, ref, 100)
    whole, trapped = guest(isa, p), guest(isa, p, rng.choice(("c", "fail:read@0xffffffff,ram:")))
    assert ended(whole.run())
    arm(trapped, breaks, watches)
    assert found(trapped, rng if seed & 1 else None) == expected(ref, breaks, watches)
    assert trapped.state() == whole.state()


@each_isa
def test_a_breakpoint_in_code_that_has_run_and_one_that_is_taken_back(isa: str) -> None:
    a = assembler(isa)
    a.li(3, 1000)
    a.label("loop")
    at = a.here
    a.addi(0, 1)
    a.dec_jnz(3, "loop")
    a.halt()
    pcs = trace(isa, a.code()).pcs
    g, plain = Guest(isa, a.code()), Guest(isa, a.code())
    g.run(insn_limit=1001)
    g.machine.set_break(at, True)
    with pytest.raises(EngineError):
        g.machine.set_break(at + 1, False)
    there = [i for i in range(1001, len(pcs)) if pcs[i] == at][:3]
    assert [g.run().insns for _ in range(3)] == there
    g.machine.set_break(at, False)
    assert ended(g.run()) and ended(plain.run())
    assert g.state() == plain.state()


@each_isa
def test_switched_off_nothing_traps(isa: str) -> None:
    p, ref = program("swapping", isa), reference("swapping", isa)
    g = guest(isa, p)
    breaks, watches = {ref.pcs[100]}, [(ref.accesses[7][2], 8, "rw")]
    arm(g, breaks, watches)
    g.machine.switch_traps(False)
    assert g.run(insn_limit=200).kind == ExitKind.LIMIT
    g.machine.switch_traps(True)
    assert found(g) == [hit for hit in expected(ref, breaks, watches) if hit[0] >= 200]
    assert g.state() == untrapped("swapping", isa)


@each_isa
def test_snapshots_and_watches(isa: str) -> None:
    """What a vCPU was amid when it was sent back in time plays no part afterwards."""
    p, ref = program("swapping", isa), reference("swapping", isa)
    g = guest(isa, p)
    _, _, address, size = ref.accesses[40]
    watches = [(address, size, "rw")]
    all_hits = expected(ref, set(), watches)
    start = g.machine.take_snapshot()
    arm(g, set(), watches)
    for stop in (1, 2, 3):
        for want in all_hits[:stop]:
            assert g.run().insns == want[0]
        g.machine.restore_snapshot(start)
    assert found(g) == all_hits
    assert g.state() == untrapped("swapping", isa)


def data(isa: str) -> int:
    return RAM[isa] + DATA


WIDE = {
    "x86_64": [
        (bytes.fromhex("410fae4240"), 0xE0, 256, "w"),  # fxsave [r10+0x40]: its XMM registers
        (bytes.fromhex("f3410f6f4240"), 0x40, 16, "r"),  # movdqu xmm0, [r10+0x40]
    ],
    "arm64": [
        ((0xD50B7423).to_bytes(4, "little"), 0, 64, "w"),  # dc zva, x3
        ((0xA9041865).to_bytes(4, "little"), 0x40, 16, "w"),  # stp x5, x6, [x3, #0x40]
        ((0xA9441865).to_bytes(4, "little"), 0x40, 16, "r"),  # ldp x5, x6, [x3, #0x40]
    ],
    "ppc64": [
        ((0x7C0087EC).to_bytes(4, "big"), 0, 128, "w"),  # dcbz 0, r16
        ((0xBF900040).to_bytes(4, "big"), 0x40, 16, "w"),  # stmw r28, 0x40(r16)
        ((0xBB900040).to_bytes(4, "big"), 0x40, 16, "r"),  # lmw r28, 0x40(r16)
    ],
}


@pytest.mark.parametrize(("isa", "insn", "offset", "length", "kind"), [(isa, *case) for isa in ISAS for case in WIDE[isa]])
def test_every_byte_of_a_wide_access(isa: str, insn: bytes, offset: int, length: int, kind: str) -> None:
    a = assembler(isa)
    a.li(2, data(isa))
    at = a.here
    a.raw(insn)
    a.halt()
    first = data(isa) + offset
    for gpa in {first - 1, first, first + 1, first + length // 2, first + length - 1, first + length}:
        inside = first <= gpa < first + length
        for access in ("r", "w"):
            g, plain = Guest(isa, a.code()), Guest(isa, a.code())
            g.machine.add_watch(gpa, 1, ACCESS[access])
            if inside and access == kind:
                x = g.run()
                assert (x.kind, x.pc) == (ExitKind.DEBUG, at), (hex(gpa), access, x)
                trap = g.machine.take_trap()
                assert trap is not None and (trap.kind, trap.access) == (TrapKind.WATCH, ACCESS[kind])
                assert trap.gpa <= gpa < trap.gpa + trap.size
            assert ended(g.run()) and ended(plain.run())
            assert g.state() == plain.state()


def test_x86_touches_a_page_twice() -> None:
    """Source and destination of one instruction in one page: each has its own watch; a push reads and writes."""
    a = assembler("x86_64")
    a.li(2, DATA)
    a.raw(bytes.fromhex("4c89d6"))  # mov rsi, r10
    a.raw(bytes.fromhex("498dba00010000"))  # lea rdi, [r10+0x100]
    moves = a.here
    a.raw(bytes.fromhex("48a5"))  # movsq
    a.raw(bytes.fromhex("498da200020000"))  # lea rsp, [r10+0x200]
    pushes = a.here
    a.raw(bytes.fromhex("41ff7208"))  # push [r10+8]
    increments = a.here
    a.raw(bytes.fromhex("f041ff4210"))  # lock inc dword [r10+0x10]
    a.halt()
    watches = [(DATA, 8, 3), (DATA + 0x100, 4, 3), (DATA + 8, 1, 1), (DATA + 0x1FF, 1, 2), (DATA + 0x10, 4, 2)]
    g, plain = Guest("x86_64", a.code()), Guest("x86_64", a.code())
    for watch in watches:
        g.machine.add_watch(*watch)
    hits = []
    while not ended(x := g.run()):
        trap = g.machine.take_trap()
        assert trap is not None
        hits.append((x.pc, trap.gpa - DATA, trap.access))
    assert hits == [(moves, 0, 1), (moves, 0x100, 2), (pushes, 8, 1), (pushes, 0x1F8, 2), (increments, 0x10, 2)]
    assert ended(plain.run())
    assert g.state() == plain.state()


@each_isa
def test_fetches_are_no_reads_and_the_host_writes_too(isa: str) -> None:
    p, ref = program("mixed", isa), reference("mixed", isa)
    g = guest(isa, p)
    code = ref.pcs[0] & ~(PAGE_SIZE - 1)
    g.machine.add_watch(code, PAGE_SIZE, 3)
    assert ended(g.run()) and g.machine.take_trap() is None
    assert g.state() == untrapped("mixed", isa)
    g.restart()
    g.run(insn_limit=g.vcpu.insns + 5)
    g.machine.read_resident(code + 0x800, 8)
    assert g.machine.take_trap() is None
    g.machine.write_resident(code + 0x7FC, bytes(8))
    x = g.run()
    trap = g.machine.take_trap()
    assert x.kind == ExitKind.DEBUG and trap is not None
    assert (trap.kind, trap.gpa, trap.size, trap.access, trap.by_host) == (TrapKind.WATCH, code + 0x7FC, 8, 2, True)


@each_isa
def test_too_many_and_nonsense(isa: str) -> None:
    core = guest(isa, program("mixed", isa)).machine
    for i in range(256):
        core.set_break(0x1000000 + 4 * i, True)
    for va, on in ((0x5000000, True), (0x6000000, False), ((1 << 64) - 1, True)):
        with pytest.raises(EngineError):
            core.set_break(va, on)
    for gpa, size, access in ((1 << 40, 8, 1), (RAM[isa], 0, 1), (RAM[isa], 8, 4), (RAM[isa], 1 << 63, 3), ((1 << 64) - 4, 8, 3)):
        with pytest.raises(EngineError):
            core.add_watch(gpa, size, access)
    numbers = [core.add_watch(data(isa) + i, 1, 2) for i in range(64)]
    with pytest.raises(EngineError):
        core.add_watch(data(isa), 1, 2)
    for number in (*numbers, 99):
        core.remove_watch(number)
    assert core.add_watch(data(isa), 1, 2) == 0


#: Loads and stores of all sizes around the address in register 2: not aligned, in pairs, ppc64 also in the other byte order.
PIECES = {
    "x86_64": ["498b4203", "418b5a09", "410fb75a11", "4989421b", "6641895a25", "49894233", "f3410f6f4245", "f3410f7f4253"],
    "arm64": ["f8403068", "b840b068", "78401068", "f801b068", "b8025068", "a9052068", "a9452468"],
    "ppc64": ["ea900000", "82b0000a", "a2d00011", "fa900018", "92b00026", "3ac0000b", "7eb6842c", "7eb6852c", "7eb68428", "7eb68528"],
}


def code_of(isa: str, text: str) -> bytes:
    """An instruction from its digits, as manuals print it."""
    return bytes.fromhex(text)[:: -1 if isa == "arm64" else 1]


@each_isa
def test_neighbours_of_watched_bytes_see_memory_as_it_is(isa: str) -> None:
    """A page with one watched byte: every access beside it goes the long way, and does what it always does."""
    a = assembler(isa)
    a.li(0, 0x1122334455667788)
    a.li(3, 40)
    a.li(2, data(isa))
    a.li(5, 7)
    a.label("loop")
    for text in PIECES[isa]:
        a.raw(code_of(isa, text))
    a.add(0, 4)
    a.store(0, 2, 0x80)
    a.load(4, 2, 0x78)
    a.add(2, 5)
    a.dec_jnz(3, "loop")
    a.halt()
    ref = trace(isa, a.code(), fill=1, accesses=True)
    plain = Guest(isa, a.code(), fill=1)
    assert ended(plain.run())
    for where in (0x800, 0x60, 0x61, 0xC3):
        for access in ("r", "w", "rw"):
            g = Guest(isa, a.code(), fill=1)
            g.machine.add_watch(data(isa) + where, 1, ACCESS[access])
            hits = found(g)
            wanted = expected(ref, set(), [(data(isa) + where, 1, access)])
            assert [hit[:2] for hit in hits] == [hit[:2] for hit in wanted], (where, access)
            assert g.state() == plain.state()


@pytest.mark.parametrize(
    ("isa", "setup", "insn"),
    [
        # cmpxchg16b [r10]: rdx:rax = what is there, rcx:rbx = the new value
        ("x86_64", ["498b02", "498b5208", "48c7c311000000", "48c7c122000000"], "490fc70a"),
        ("arm64", ["d280022a", "d280044b", "c87f2468"], "c82c2c6a"),  # ldxp x8, x9, [x3]; stxp w12, x10, x11, [x3]
    ],
)
def test_both_halves_of_a_store_that_may_fail(isa: str, setup: list[str], insn: str) -> None:
    a = assembler(isa)
    a.li(2, data(isa))
    for text in setup:
        a.raw(code_of(isa, text))
    at = a.here
    a.raw(code_of(isa, insn))
    a.load(4, 2, 0)
    a.load(0, 2, 8)
    a.halt()
    for where in range(0, 16, 5):
        g, plain = Guest(isa, a.code(), fill=1), Guest(isa, a.code(), fill=1)
        assert ended(plain.run()) and (plain.get(4), plain.get(0)) == (0x11, 0x22)
        g.machine.add_watch(data(isa) + where, 1, 2)
        x = g.run()
        assert (x.kind, x.pc) == (ExitKind.DEBUG, at)
        assert ended(g.run())
        assert g.state() == plain.state()
