# SPDX-License-Identifier: GPL-2.0-or-later
"""What an observer is told: in pairs, in order, and without a trace in the run."""

from __future__ import annotations

from collections import Counter

import pytest

from vmemu.core.observe import Fate, Seen, What
from vmemu.machine.machine import Machine

STORM = {"memory": "32M", "resident": "4M", "latency": "nvme", "smp": 2, "append": "tasks=4 pages=64 passes=1 shared=16"}
PAIRS = {What.FAULT: What.FAULT_DONE, What.REG_READ: What.REG_READ_DONE, What.REG_WRITE: What.REG_WRITE_DONE, What.HCALL: What.HCALL_DONE}


@pytest.mark.parametrize(("isa", "apf"), [("x86_64", "kvm"), ("arm64", "sdei"), ("ppc64", "papr")])
def test_all_that_crosses_the_border(isa: str, apf: str) -> None:
    plain = Machine.boot("storm", isa=isa, apf=apf, **STORM).run()
    machine = Machine.boot("storm", isa=isa, apf=apf, **STORM)
    seen: list[Seen] = []
    machine.core.observe = seen.append
    result = machine.run()
    machine.close()
    assert result.state_hash == plain.state_hash and result.instructions == plain.instructions
    count = Counter(s.what for s in seen)
    tokens = result.extra["tokens"]
    assert count[What.FAULT] == tokens["faults"] and count[What.TURN] == machine.turns
    assert Counter(s.c for s in seen if s.what is What.FAULT_DONE)[Fate.NOTIFIED] == tokens["notified"]
    assert count[What.HOST_WRITE] >= tokens["notified"]
    assert count[What.PAGE_IN] >= tokens["works"]
    for vcpu in range(2):  # each is answered before the same vCPU asks again; power-off is not answered
        open_: list[Seen] = []
        for s in (s for s in seen if s.vcpu == vcpu):
            if s.what in PAIRS:
                open_.append(s)
            elif s.what in PAIRS.values():
                begun = open_.pop()
                assert PAIRS[begun.what] is s.what and begun.a == s.a
        assert len(open_) == 0
