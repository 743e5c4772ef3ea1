# SPDX-License-Identifier: GPL-2.0-or-later
"""How long one page-in takes, in virtual time: named presets for the media that people swap to.

The model is `depth` servers of `latency` each: a request takes the server that is free first, so depth / latency is the
medium's throughput. Figures are typical ones for 4 KiB random reads at low load, rounded; each preset says where they
come from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmemu.errors import ConfigError

#: The C unit keeps one busy-until time per server (struct store_timing in core.h).
MAX_DEPTH = 64
_MAX_US = 10_000_000


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one request in virtual ns, and how many requests the medium serves at once."""

    name: str
    ns: int
    depth: int
    source: str = ""


PRESETS: dict[str, Latency] = {
    p.name: p
    for p in (
        Latency("none", 0, MAX_DEPTH, "no cost: for tests, and for measuring the emulator itself"),
        Latency(
            "zram", 2_000, 16,
            "lz4, page-cluster 0: 1.7 us mean, 3.6 us p99 ('Zram Performance Analysis', notes.xeome.dev/notes/Zram, "
            "table from u/VenditatioDelendaEst). The faulting CPU decompresses: as many at once as there are CPUs",
        ),
        Latency(
            "rdma", 8_000, 12,
            "kernel page-in over one-sided RDMA is single-digit microseconds, 5 to 10 with a short path (Fastswap, "
            "EuroSys 2020; Leap, arXiv 1911.09829). Depth: 4 KiB take 0.6 us of a 56 Gbit/s link",
        ),
        Latency(
            "network", 40_000, 12,
            "remote memory through the block layer: about 40 us median page-in (Infiniswap, NSDI 2017, as measured by "
            "Leap). Depth: 4 KiB take 3.3 us of a 10 Gbit/s link",
        ),
        Latency(
            "nvme", 85_000, 32,
            "TLC NVMe drives read 4 KiB in 70 to 100 us at queue depth 1 and reach about 400,000 reads a second "
            "(enterprise SSD comparison, AnandTech 13704, 2019): 400,000 / s x 85 us = 34",
        ),
        Latency(
            "sata", 150_000, 14,
            "SATA SSDs are about 40 % slower than NVMe at queue depth 1 (AnandTech 13704): 85 us / 0.6 = 142 us. "
            "Depth: the 6 Gbit/s link ends at about 95,000 reads a second, x 150 us = 14",
        ),
        Latency(
            "disk", 7_000_000, 1,
            "half a turn at 7,200 rpm is 4.2 ms, a short seek inside a swap area about 3 ms; one arm, one request",
        ),
    )
}


def parse_latency(text: str) -> Latency:
    """A preset's name, ``NNNus`` (64 at once) or ``NNNus/DEPTH``."""
    if text in PRESETS:
        return PRESETS[text]
    match = re.fullmatch(r"([0-9]{1,9})us(?:/([0-9]{1,3}))?", text)
    if match is None:
        names = " ".join(PRESETS)
        raise ConfigError(f"--latency {text}: not one of {names}, and not microseconds like 85us or 85us/32")
    micros, depth = int(match[1]), int(match[2] or MAX_DEPTH)
    if micros > _MAX_US:
        raise ConfigError(f"--latency {text}: more than {_MAX_US // 1_000_000} s")
    if not 1 <= depth <= MAX_DEPTH:
        raise ConfigError(f"--latency {text}: the queue depth must be 1 to {MAX_DEPTH}")
    return Latency(text, micros * 1000, depth, "as given")
