# SPDX-License-Identifier: GPL-2.0-or-later
"""The C page walker agrees with the reference walker on random tables, control registers and addresses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import CoreMachine
from vmemu.isa.x86_64.walker import FETCH, NONCANONICAL, READ, UNMODELLED, WRITE, State, walk

PAGES = 16
LIMIT = PAGES * 4096
CR0_PE, CR0_WP, CR0_PG = 1, 1 << 16, 1 << 31
PAE, SMEP = 1 << 5, 1 << 20
LME, LMA, NXE = 1 << 8, 1 << 10, 1 << 11

machine = CoreMachine("x86_64", PAGES, [(0, LIMIT)], lambda *_: (0, 0))
vcpu = machine.add_vcpu()
for page in range(PAGES):
    machine.ensure(vcpu, page * 4096, True)
vcpu.set("tr_limit", 0)
vcpu.set("ldt_limit", 0)
vcpu.set("rip", 1 << 60)  # no instruction there: accesses are never taken for implicit ones

#: Pages that hold the four levels of tables.
LEVELS = ((1,), (2, 3), (4, 5, 6), (7, 8, 9))
anything = st.integers(0, (1 << 64) - 1)
flags = st.builds(
    lambda usual, extra: usual | extra,
    st.sampled_from((7, 7, 7, 0x27, 0x67, 3, 1, 5, 0x61)),
    st.sampled_from((0, 0, 0, 0, 1 << 63, 1 << 51, 1 << 40, 0x200, 1 << 52)),
)


def entry(level: int) -> st.SearchStrategy[int]:
    """A likely entry of this level: 0 = PML4E, 3 = PTE."""
    if level == 3:
        target = st.integers(0, PAGES - 1).map(lambda n: n << 12)
    else:
        target = st.sampled_from(LEVELS[level + 1]).map(lambda n: n << 12)
    large = st.builds(lambda base, low, f: base | low | f | 0x80, st.integers(0, 3).map(lambda n: n << 30),
                      st.sampled_from((0, 0, 0, 1 << 12, 1 << 13, 1 << 21, 1 << 29)), flags)  # fmt: skip
    usual = st.builds(lambda base, f: base | f, target, flags)
    odd = st.sampled_from((0, 0xFFFFFFFFFFFFF067, 1 << 39 | 7, LIMIT | 7))
    return st.one_of(usual, usual, usual, usual, large, odd, anything)


tables = st.tuples(*(st.lists(entry(n), min_size=6, max_size=6) for n in range(4)))


@st.composite
def address(draw: st.DrawFn) -> int:
    va = draw(st.integers(0, 4095))
    for shift in (12, 21, 30, 39):
        va |= draw(st.integers(0, 1)) << shift
    return va ^ draw(st.sampled_from((0, 0, 0, 0, 0, 0, 1 << 47, 0xFFFF << 48, 0x1FFFF << 47)))


@settings(max_examples=1500)
@given(
    tables, address(), st.sampled_from((READ, WRITE, FETCH)),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from((0x1000, 0x1018, 0x1FFF, LIMIT, 1 << 39)), st.integers(0, 20),
)  # fmt: skip
def test_c_walker_is_the_reference(
    entries: tuple[list[int], ...], va: int, access: int,
    user: bool, wp: bool, nxe: bool, smep: bool, cr3: int, mode: int,
) -> None:  # fmt: skip
    memory = dict.fromkeys(range(0, LIMIT, 8), 0)
    for pages, values in zip(LEVELS, entries, strict=True):
        for k, page in enumerate(pages):
            memory[page * 4096], memory[page * 4096 + 8] = values[2 * k], values[2 * k + 1]
    memory[LEVELS[0][0] * 4096 + 256 * 8] = entries[0][2]
    machine.write_resident(0, b"".join(memory[a].to_bytes(8, "little") for a in range(0, LIMIT, 8)))

    paging, long_mode = mode != 0, mode > 1
    state = State(
        CR0_PE | (CR0_PG if paging else 0) | (CR0_WP if wp else 0), cr3, PAE | (SMEP if smep else 0),
        (LME | LMA if long_mode else 0) | (NXE if nxe else 0),
    )  # fmt: skip
    for name in ("cr0", "cr3", "cr4", "efer"):
        vcpu.set(name, getattr(state, name))
    vcpu.set("hflags", vcpu.get("hflags") & ~3 | (3 if user else 0))

    expected = walk(memory.get, state, va, access, user, memory.__setitem__)
    got = vcpu.walk(va, access)
    assert got.status == (0 if expected.ok else 1)
    if expected.ok:
        assert got.gpa == expected.gpa
        assert got.prot == expected.read | expected.write << 1 | expected.execute << 2
    else:
        assert (got.fault, got.table_error) == (expected.fault, expected.table_error)
    assert machine.read_resident(0, LIMIT) == b"".join(memory[a].to_bytes(8, "little") for a in range(0, LIMIT, 8))


def test_outcomes_that_are_no_page_faults() -> None:
    state = State(CR0_PE | CR0_PG, 0, PAE, LME | LMA)
    assert walk(lambda _: 0, state, 1 << 47, READ, False).fault == NONCANONICAL
    assert walk(lambda _: 0, State(CR0_PE | CR0_PG, 0, PAE, 0), 0, READ, False).fault == UNMODELLED


def test_missing_table_page_is_a_stage2_miss() -> None:
    other = CoreMachine("x86_64", 4, [(0, LIMIT)], lambda *_: (0, 0))
    cpu = other.add_vcpu()
    for name, value in (("cr0", CR0_PE | CR0_PG), ("cr3", 0x3000), ("cr4", PAE), ("efer", LME | LMA)):
        cpu.set(name, value)
    got = cpu.walk(0x1000, READ)
    assert (got.status, got.gpa) == (2, 0x3000)
