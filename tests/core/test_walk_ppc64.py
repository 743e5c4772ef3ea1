# SPDX-License-Identifier: GPL-2.0-or-later
"""The C radix walker agrees with the reference walker on random process tables, trees, registers and addresses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import CoreMachine
from vmemu.isa.ppc64.walker import FETCH, NOPTE, PRTABLE, READ, SEGMENT, WRITE, RadixState, walk

PAGES = 16
LIMIT = PAGES * 4096
MSR = 1 << 63 | 1 << 12

machine = CoreMachine("ppc64", PAGES, [(0, LIMIT)], lambda *_: (0, 0))
vcpu = machine.add_vcpu()
for page in range(PAGES):
    machine.ensure(vcpu, page * 4096, True)

#: Pages of the four levels of the tree; the leaves of the last one point anywhere.
LEVELS = ((1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
anything = st.integers(0, (1 << 64) - 1)


def rarely(usual: st.SearchStrategy[int], other: st.SearchStrategy[int], times: int = 12) -> st.SearchStrategy[int]:
    return st.integers(0, times - 1).flatmap(lambda n: other if n == 0 else usual)


#: A table that is misplaced: in the middle of a page, at the end of memory, anywhere.
table = st.one_of(
    st.integers(1, PAGES - 1).map(lambda n: n << 12 | 0x100), st.sampled_from((LIMIT, LIMIT - 256)),
    st.integers(0, (1 << 52) - 1).map(lambda n: n << 8),
)  # fmt: skip
sizes = rarely(st.just(9), st.sampled_from((5, 13, 0, 4, 17, 31)))
leaf = st.builds(
    lambda rpn, rights, rest: 3 << 62 | rpn & 0x01FF_FFFF_FFFF_F000 | rest & 0xFF0 | rights,
    anything, st.sampled_from(range(16)), st.sampled_from((0, 0, 0x100, 0x180, 0x020, 0x030, 0xE40)),
)  # fmt: skip


def level(n: int) -> st.SearchStrategy[int]:
    """An entry of a table of level n."""
    if n == len(LEVELS) - 1:
        return rarely(leaf, st.one_of(anything, st.just(0)))
    below = rarely(st.sampled_from(LEVELS[n + 1]).map(lambda page: page << 12), table, 20)
    pde = st.builds(lambda base, size: 1 << 63 | base & 0x0FFF_FFFF_FFFF_FF00 | size, below, sizes)
    return rarely(pde, st.one_of(leaf, leaf, anything, st.just(0)), 8)


entries_of_levels = st.tuples(*(st.lists(level(n), min_size=9, max_size=9) for n in range(len(LEVELS))))
#: RTS of 21 is the only one that processors have; the others must not break anything.
process = st.builds(
    lambda rts, base, size: rts >> 3 << 61 | (rts & 7) << 5 | base & 0x0FFF_FFFF_FFFF_FF00 | size,
    rarely(st.just(21), st.sampled_from((8, 0, 31))), rarely(st.sampled_from((0x1000, 0x2000)), table),
    rarely(st.just(13), st.sampled_from((9, 5, 0, 31))),
)  # fmt: skip


@st.composite
def address(draw: st.DrawFn) -> int:
    """Low indexes at each level of the usual 13-9-9-9 tree, any quadrant, sometimes a bit too many."""
    ea = draw(st.integers(0, 4095))
    for shift in (12, 21, 30, 39):
        ea |= draw(st.integers(0, 2)) << shift
    if draw(st.integers(0, 7)) == 0:
        ea ^= 1 << draw(st.integers(12, 63))
    return ea | draw(st.sampled_from((0, 0, 0, 0, 3, 3, 3, 3, 1, 2))) << 62


@settings(max_examples=1000)
@given(
    entries_of_levels, st.lists(process, min_size=3, max_size=3), address(),
    st.sampled_from((READ, WRITE, FETCH)), st.booleans(), st.sampled_from((0, 0, 1, 2, 256, 1 << 20, 1 << 40)),
    st.sampled_from((0, 0, 1 << 62, 2 << 62, 3 << 62)), st.sampled_from((0, 0, 1 << 62)),
    st.sampled_from((3, 3, 3, 3, 3, 3, 2, 1, 0)), st.sampled_from((12, 12, 13, 36, 12, 12, 0)),
)  # fmt: skip
def test_c_walker_is_the_reference(
    entries: tuple[list[int], ...], processes: list[int], ea: int, access: int, user: bool, pid: int, amr: int,
    iamr: int, translation: int, size_log2: int,
) -> None:  # fmt: skip
    memory = dict.fromkeys(range(0, LIMIT, 8), 0)
    for i, value in enumerate(processes):
        memory[i * 16] = value
    for pages, values in zip(LEVELS, entries, strict=True):
        for k, page in enumerate(pages):
            for slot in range(3):
                memory[page * 4096 + slot * 8] = values[k * 3 + slot]
    machine.write_resident(0, b"".join(memory[a].to_bytes(8, "big") for a in range(0, LIMIT, 8)))

    ir, dr = (True, True) if user else (bool(translation & 1), bool(translation & 2))
    vcpu.set("msr", MSR | int(user) << 14 | int(ir) << 5 | int(dr) << 4)
    vcpu.set("pidr", pid)
    vcpu.set("amr", amr)
    vcpu.set("iamr", iamr)
    vcpu.set("prtbl", size_log2 - 12 if size_log2 else (1 << 64) - 1)
    state = RadixState(ir, dr, pid, 0, 1 << size_log2 if size_log2 else 0, amr, iamr)
    expected = walk(memory.get, state, ea, access, user, memory.__setitem__)
    got = vcpu.walk(ea, access)

    assert got.status == (0 if expected.ok else 1)
    if expected.ok:
        assert got.gpa == expected.gpa
        assert got.prot == expected.read | expected.write << 1 | expected.execute << 2
    else:
        assert (got.fault, got.table_error) == (expected.fault, expected.table_error)
    assert machine.read_resident(0, LIMIT) == b"".join(memory[a].to_bytes(8, "big") for a in range(0, LIMIT, 8))


def test_garbage_process_table_is_a_fault() -> None:
    vcpu.set("msr", MSR | 0x30)
    vcpu.set("prtbl", 0x0FFF_FFFF_FFFF_F000 | 24)
    assert vcpu.walk(0x1000, READ).fault == NOPTE | PRTABLE
    assert vcpu.walk(1 << 62, READ).fault == SEGMENT
