# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that breaks one rule is told which; one that breaks none is left alone."""

from __future__ import annotations

import pytest
from helpers.lies_x86 import LIES, Liar, honest


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
