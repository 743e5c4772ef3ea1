# SPDX-License-Identifier: GPL-2.0-or-later
"""The C walker agrees with the reference walker on random tables, registers and addresses."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from vmemu.core import CoreMachine
from vmemu.isa.arm64.walker import WalkState, walk

PAGES = 16
BASE = 0x40000000
READ, WRITE, EXEC = 1, 2, 4  # UC_PROT_*

machine = CoreMachine("arm64", PAGES, [(BASE, PAGES * 4096)], lambda *_: (0, 0))
vcpu = machine.add_vcpu()
for page in range(PAGES):
    machine.ensure(vcpu, BASE + page * 4096, True)

#: Descriptors that lead somewhere: tables and pages inside RAM, any attribute, now and then a wild address.
attributes = st.builds(
    lambda a, b: a & 0xFFC | b & ~0x000F_FFFF_FFFF_FFFF, st.integers(0, 1 << 12), st.integers(0, (1 << 64) - 1)
)
address = st.one_of(
    st.integers(0, PAGES).map(lambda n: BASE + n * 4096),
    st.integers(0, (1 << 36) - 1).map(lambda n: n << 12),
    st.just(0x40000000),
)
descriptor = st.builds(
    lambda address, attribute, kind, af: address & 0xFFFF_FFFF_F000 | attribute & ~0x400 | kind | af,
    address, attributes, st.sampled_from((3, 3, 3, 3, 1, 2, 0)), st.sampled_from((0x400, 0x400, 0x400, 0)),
)  # fmt: skip
tcr = st.builds(
    lambda t0, t1, epd, tg, ips, tbi: (
        t0 | epd[0] << 7 | tg[0] << 14 | t1 << 16 | epd[1] << 23 | tg[1] << 30 | ips << 32 | tbi << 37
    ),
    st.one_of(st.sampled_from((16, 25, 34, 39, 15, 40)), st.integers(0, 63)),
    st.one_of(st.sampled_from((16, 25, 34, 39)), st.integers(0, 63)),
    st.sampled_from(((0, 0), (0, 0), (0, 0), (1, 0), (0, 1))),
    st.sampled_from(((0, 2), (0, 2), (0, 2), (1, 1), (2, 3))),
    st.sampled_from((2, 4, 5, 0, 7)),
    st.integers(0, 3),
)  # fmt: skip


@st.composite
def virtual(draw: st.DrawFn) -> int:
    """Low indexes at every level, so that the few entries written are hit; sometimes the upper range, a tag, noise."""
    va = draw(st.integers(0, 4095))
    for level in range(4):
        va |= draw(st.integers(0, 3)) << 12 + 9 * level
    if draw(st.booleans()):
        va |= 0xFFFF << 48
    if draw(st.integers(0, 7)) == 0:
        va ^= draw(st.integers(0, 255)) << 56
    if draw(st.integers(0, 15)) == 0:
        va ^= 1 << draw(st.integers(0, 63))
    return va


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(descriptor, min_size=16, max_size=16),
    tcr,
    st.sampled_from((1, 1, 1, 1 | 1 << 19, 1 | 1 << 25, 0)),
    st.tuples(address, address),
    virtual(),
    st.integers(0, 2),
    st.booleans(),
)
@example([0] * 16, 25 | 25 << 16 | 2 << 30, 1, (BASE, BASE), 0, 0, False)
def test_c_walker_is_the_reference(
    entries: list[int], tcr: int, sctlr: int, ttbr: tuple[int, int], va: int, access: int, user: bool
) -> None:
    big = sctlr >> 25 & 1
    memory: dict[int, int] = {}
    for page in range(PAGES):
        for slot in range(4):
            value = entries[(page * 5 + slot) % 16]
            memory[BASE + page * 4096 + slot * 8] = value
    for gpa, value in memory.items():
        machine.write_resident(gpa, value.to_bytes(8, "big" if big else "little"))

    def read64(gpa: int) -> int | None:
        if not BASE <= gpa < BASE + PAGES * 4096:
            return None
        return int.from_bytes(machine.read_resident(gpa, 8), "little")

    for name, value in (("sctlr_el1", sctlr), ("tcr_el1", tcr), ("ttbr0_el1", ttbr[0]), ("ttbr1_el1", ttbr[1])):
        vcpu.set(name, value)
    vcpu.set("pstate", 0x3C0 if user else 0x3C5)
    want = walk(read64, WalkState(sctlr, tcr, ttbr[0], ttbr[1]), va, access, user)
    got = vcpu.walk(va, access)
    assert (got.status == 0) == want.ok
    if want.ok:
        assert got.gpa == want.gpa
        assert got.prot == want.read * READ | want.write * WRITE | want.execute * EXEC
    else:
        assert (got.fault, got.table_error) == (want.fault, want.table_error)
