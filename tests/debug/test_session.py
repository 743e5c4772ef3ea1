# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger's session: moves in both directions."""

from __future__ import annotations

import pytest
from helpers.guest import ISAS

from vmemu.debug.session import Session
from vmemu.machine.machine import Machine

each_isa = pytest.mark.parametrize("isa", ISAS)


@each_isa
def test_there_and_back(isa: str) -> None:
    session = Session(Machine.boot("hello", isa=isa))
    first = session.cont(40_000)
    assert (first.kind, first.insns) == ("limit", 40_000)
    there = session.stepi(3)
    assert (there.kind, there.insns) == ("step", 40_003)
    assert session.back_stepi(3).pc == first.pc
    assert session.goto(40_003).pc == there.pc
    end = session.cont()
    assert end.kind == "end" and end.status is not None and end.status[0] == 0
    session.machine.close()
