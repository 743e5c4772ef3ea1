# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64 block costs: 1/3 cycle an instruction, and the classes that keep a unit busy longer (neoverse-n1)."""

from __future__ import annotations

import pytest

from vmemu.core import CYC, CoreMachine, ExitKind

CODE = 0x1000
NOP, WFI = 0xD503201F, 0xD503207F
ADD, ADD_LSL, MUL_W, MUL_X, UMULH, SMADDL = 0x8B020020, 0x8B020C20, 0x1B027C20, 0x9B027C20, 0x9BC27C20, 0x9B227C20
UDIV_W, UDIV_X = 0x1AC20820, 0x9AC20820
LDR, LDRSW, STR, LDP, STP, LDR_POST = 0xF94003E0, 0xB98003E0, 0xF90003E0, 0xA94007E0, 0xA90007E0, 0xF84087E0


def run(*words: int) -> int:
    """CYC units of one straight run of `words` and the WFI behind them."""
    machine = CoreMachine("arm64", 8, [(0, 8 * 4096)], lambda *_: (0, 0))
    vcpu = machine.add_vcpu()
    for page in range(8):
        machine.ensure(vcpu, page * 4096, True)
    machine.write_resident(CODE, b"".join(w.to_bytes(4, "little") for w in (*words, WFI)))
    vcpu.set("pc", CODE)
    vcpu.set("sp_el1", 0x4000)
    vcpu.set("x2", 3)
    before = vcpu.cycles
    assert vcpu.run(insn_limit=1000).kind == ExitKind.HALT
    return vcpu.cycles - before


def cost(*words: int) -> int:
    return run(*words) - run()


@pytest.mark.parametrize(
    ("word", "cycles"),
    [
        (NOP, 1 / 3),
        (ADD, 1 / 3),
        (ADD_LSL, 2 / 3),
        (MUL_W, 1),
        (SMADDL, 1),
        (MUL_X, 3),
        (UMULH, 3),
        (UDIV_W, 12 + 1 / 3),
        (UDIV_X, 20 + 1 / 3),
        (LDR, 1 / 2),
        (LDRSW, 1 / 2),
        (LDR_POST, 2 / 3),
        (STR, 2 / 3),
        (LDP, 1),
        (STP, 1),
    ],
)
def test_classes(word: int, cycles: float) -> None:
    assert cost(*[word] * 60) / 60 / CYC == pytest.approx(cycles, abs=0.02)


def test_cost_is_a_function_of_the_code() -> None:
    assert cost(ADD, LDR, MUL_X) == cost(ADD, LDR, MUL_X)
    assert cost(*[NOP] * 200) >= 200 * CYC // 8
