# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the protocols' tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vmemu.lab.esn_rig import Maker, Partition


@pytest.fixture
def make() -> Iterator[Maker]:
    """Makes pseries partitions; at the end of the test their invariants hold, and they are closed."""
    made = []

    def maker(*args: Any, **options: Any) -> Partition:
        made.append(Partition.begun(*args, **options))
        return made[-1]

    yield maker
    for partition in made:
        assert not partition.esn.invariants()
        partition.machine.close()
