# SPDX-License-Identifier: GPL-2.0-or-later
"""Cycle model of ppc64 blocks: costs of small loops, cycles an iteration, follow from the table in decode_ppc64.c."""

from __future__ import annotations

import struct

import pytest

from vmemu.core import CYC, CoreMachine

BDNZ = 0x42000000
ROUNDS = 1000


def loop_cost(*body: int) -> float:
    """Cycles of one iteration of `body` + bdnz, long after the loop was entered."""
    machine = CoreMachine("ppc64", 16, [(0, 16 * 4096)], lambda *_: (0, 0))
    vcpu = machine.add_vcpu()
    for page in range(4):
        machine.ensure(vcpu, page * 4096, True)
    code = (*body, BDNZ | -4 * len(body) & 0xFFFC, 0x44000022)
    machine.write_resident(0x1000, b"".join(struct.pack(">I", w) for w in code))
    cost = []
    for rounds in (ROUNDS, 2 * ROUNDS):
        for name, value in (("pc", 0x1000), ("ctr", rounds), ("r3", 0x2000), ("r4", 1), ("r5", 1), ("r7", 0x2000)):
            vcpu.set(name, value)
        before = vcpu.cycles
        vcpu.run(vcpu.cycles + 100_000_000 * CYC)
        cost.append(vcpu.cycles - before)
    return (cost[1] - cost[0]) / CYC / ROUNDS


ADD, ADDI, MULLD, DIVD, DIVW = 0x7CC42A14, 0x38C60001, 0x7CC629D2, 0x7CC62BD2, 0x7CC62BD6
LD, STD = 0xE8C30000, 0xF8C30000
NOP = 0x60000000


@pytest.mark.parametrize(
    ("body", "cycles"),
    [
        ([NOP], 2),  # bdnz: CTR to CTR
        ([ADDI], 2),  # one chain of 2
        ([ADDI, ADDI, ADDI], 6),
        ([ADD] * 4, 2),  # independent
        ([ADD] * 15, 15 / 4),  # four ALUs
        ([MULLD], 5),
        ([DIVD], 24),
        ([DIVW], 16),
        ([0x7CC42BD6] * 2, 8),  # two independent divisions, 8 cycles of two dividers each
        ([LD] * 16, 4),  # four load pipes
        ([0xE8630000, 0x60630000], 6),  # load to address: pointer chase with an or
        ([STD] * 4, 2.5),  # restricted dispatch: five slots of a kind that has two, with the branch
    ],
)
def test_small_loops(body: list[int], cycles: float) -> None:
    assert loop_cost(*body) == pytest.approx(cycles, abs=0.6)


def test_a_block_costs_at_least_its_share_of_the_front_end() -> None:
    assert loop_cost(*[NOP] * 63) >= 64 / 8
