# SPDX-License-Identifier: GPL-2.0-or-later
"""Latency presets and how they are named."""

from __future__ import annotations

import pytest

from vmemu.errors import ConfigError
from vmemu.memory.latency import MAX_DEPTH, PRESETS, parse_latency


def test_presets_are_the_promised_ones() -> None:
    micros = {p.name: p.ns // 1000 for p in PRESETS.values()}
    assert micros == {"none": 0, "zram": 2, "rdma": 8, "network": 40, "nvme": 85, "sata": 150, "disk": 7000}
    assert all(1 <= p.depth <= MAX_DEPTH and p.source for p in PRESETS.values())


def test_numbers() -> None:
    assert (parse_latency("85us").ns, parse_latency("85us").depth) == (85_000, MAX_DEPTH)
    assert (parse_latency("0us").ns, parse_latency("12us/3").depth) == (0, 3)


WRONG = ["", "nvmee", "85", "85ms", "-1us", "1.5us", "99999999us", "5us/0", "5us/65", "5us/", "٣us"]


@pytest.mark.parametrize("text", WRONG)
def test_nonsense(text: str) -> None:
    with pytest.raises(ConfigError, match="--latency"):
        parse_latency(text)
