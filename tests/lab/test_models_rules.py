# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that breaks one rule is told which; one that breaks none is left alone."""

from __future__ import annotations

import pytest
from helpers.apf_x86 import AREA
from helpers.lies_x86 import LIES, Liar, honest

from vmemu.core import CoreVcpu


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(lie: str) -> None:
    drive, invariant = LIES[lie]
    rig = Liar()
    drive(rig)
    assert invariant in rig.names, rig.found
    rig.close()


def test_honesty() -> None:
    rig = Liar()
    honest(rig)
    assert rig.found == []
    rig.close()


class OneArea(Liar):
    """A guest that registers one area for both of its vCPUs, as nobody forbids."""

    @staticmethod
    def area(vcpu: CoreVcpu) -> int:
        return AREA


def test_an_area_registered_twice() -> None:
    rig = OneArea()
    rig.tell(0x1000)
    rig.tell(0x1001, 0x501, cpu=1)
    rig.arrive(0x501)
    rig.ready(0x1001, cpu=1)
    rig.arrive()
    rig.ready(0x1000)
    assert rig.found == []
    rig.ready(0x2001, cpu=1)
    assert rig.names == ["PAIR"]
    rig.close()
