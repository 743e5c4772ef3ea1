# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the protocols' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.partition import Maker, Partition


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    """Makes pseries partitions; at the end of the test their invariants hold, and they are closed."""
    made = []

    def maker(*args: Any, **options: Any) -> Partition:
        made.append(Partition(tmp_path, *args, **options))
        return made[-1]

    yield maker
    for partition in made:
        assert not partition.esn.invariants()
        partition.machine.close()
