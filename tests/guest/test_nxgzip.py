# SPDX-License-Identifier: GPL-2.0-or-later
"""nxgzip on the ppc64 kernel: round trips through the NX engine under memory pressure, natively and under PowerVM."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest

from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult
from vmemu.protocols.vas.facility import VasFacility
from vmemu.protocols.vas.native import NativeVas


def run(append: str, **options: Any) -> tuple[Machine, RunResult, str]:
    """Boot nxgzip to its end: it must pass, with all credits home and the FIFO empty."""
    machine = Machine.boot("nxgzip", isa="ppc64", append=append, **({"memory": "64M", "resident": "8M"} | options))
    result = machine.run()
    text = result.output.decode()
    assert result.status == 0 and "nxgzip: PASS" in text, text
    facility = machine.facilities["vas"]
    assert isinstance(facility, VasFacility)
    assert result.extra["vas"]["credits_home"] and facility.invariants() == []
    assert facility.vas.engine.job is None and not any(w.waiting or w.unread for w in facility.vas.windows.values())
    if isinstance(facility, NativeVas):
        fifo = next(w for w in facility.vas.windows.values() if w.kind == "fault")
        assert fifo.fifo is not None
        for at in range(0, fifo.entries * 128, 4096):
            page = machine.read_guest(fifo.fifo + at, 4096)
            assert all(page[i + 76 : i + 80] == b"\xff" * 4 or page[i + 3] & 1 for i in range(0, 4096, 128)), "the FIFO is empty"
    for taken, home in re.findall(r"credits: (\d+) taken, \d+ refused, (\d+) home", text):
        assert taken == home
    return machine, result, text


@pytest.mark.parametrize("owner", ["auto", "powervm"])
def test_round_trip_under_pressure(owner: str) -> None:
    """Faults > 0, all credits home, FIFO empty, output verified by the program."""
    machine, result, text = run("size=4M", vas=owner)
    figures = result.extra["vas"]
    assert sum(figures["faults"].values()) > 0
    assert str(sum(figures["faults"].values())) + " faults" in text
    assert figures["jobs"] == figures["pastes"] == sum(figures["faults"].values()) + sum(figures["completions"].values())
    machine.close()


@pytest.mark.parametrize(("owner", "kind"), [("native", 0), ("powervm", 0), ("native", 1), ("native", 2)])
def test_the_host_s_zlib_accepts_the_stream(owner: str, kind: int) -> None:
    machine, _, text = run(f"size=150K chunk=32K dump=1 kind={kind}", vas=owner, resident="4M")
    stream = bytes.fromhex("".join(line.split()[1] for line in text.splitlines() if line.startswith("stream ")))
    plain = gzip.decompress(stream)
    assert len(plain) == 150 << 10
    if kind == 2:
        assert plain == bytes(150 << 10)
    machine.close()


def test_pages_that_the_host_took_away_are_faults() -> None:
    """With too little memory for the buffers, some faults are the host's doing: FS 1, absent."""
    machine, result, _ = run("size=2M", resident="3M")
    assert result.extra["vas"]["faults"]["absent"] > 0
    machine.close()


@pytest.mark.parametrize("owner", ["native", "powervm"])
def test_tasks_share_the_engine(owner: str) -> None:
    machine, result, text = run("tasks=4 size=256K chunk=16K", vas=owner, smp=2, resident="4M")
    assert text.count("bytes in") == 8 and result.extra["vas"]["pastes"] > 4 * 16
    machine.close()


def test_the_same_run_twice() -> None:
    first, second = (run("size=512K", resident="4M", latency="nvme")[1] for _ in range(2))
    assert first.state_hash == second.state_hash and first.virtual_ns == second.virtual_ns


def test_off() -> None:
    machine = Machine.boot("nxgzip", isa="ppc64", append="size=64K", vas="off")
    result = machine.run()
    assert result.status == 1 and b"no window" in result.output and "vas" not in result.extra
    machine.close()
