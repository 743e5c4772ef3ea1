# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of VAS and its engine: silent on real runs, and known bugs are called by the right name."""

from __future__ import annotations

from typing import Any

import pytest

from vmemu.devices.nx_job import Job
from vmemu.lab.models.vas import VasModel
from vmemu.lab.models.watch import Watch
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult

SECOND = 2_000_000_000  # cycles
ZIP = "size=128K tasks=2 chunk=32K"


def watched(program: str, append: str, model: type[VasModel] = VasModel, **options: Any) -> tuple[Watch, RunResult]:
    shared: dict[str, Any] = {"isa": "ppc64", "console": lambda data: None, "max_cycles": 20 * SECOND}
    machine = Machine.boot(program, append=f"quiet {append}", **{**shared, **options})
    watch = Watch(machine, [model(machine)], keep=0)
    result = machine.run()
    watch.at_end(result)
    machine.close()
    return watch, result


@pytest.mark.parametrize("owner", ["native", "powervm"])
@pytest.mark.parametrize("seed", [0, 3])
def test_no_false_alarm(owner: str, seed: int) -> None:
    watch, result = watched("nxgzip", ZIP, vas=owner, resident="6M", latency="zram", smp=2, seed=seed)
    assert (result.status, [str(v) for v in watch.violations]) == (0, [])


@pytest.mark.parametrize("owner", ["native", "powervm"])
@pytest.mark.parametrize("group", [0, 2, 3, 4])
def test_no_false_alarm_at_the_edges(owner: str, group: int) -> None:
    watch, result = watched("vas-edge", f"only={group}", vas=owner, smp=2, seed=4)
    assert (result.status, [str(v) for v in watch.violations]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 12))
def test_no_false_alarm_with_many_seeds(seed: int) -> None:
    owner = ("native", "powervm")[seed % 2]
    for program, append in (("nxgzip", "size=512K tasks=3 chunk=64K"), ("vas-edge", "")):
        watch, result = watched(program, append, vas=owner, resident="6M", latency="zram", smp=1 + seed % 3, seed=seed)
        assert (result.status, [str(v) for v in watch.violations]) == (0, [])


@pytest.mark.parametrize(
    ("bug", "invariant"), [("vas-cc-5", "P11"), ("vas-csb-unmasked", "P11"), ("vas-csb-at-once", "P6"), ("vas-ccw-kept", "P10")]
)
def test_known_bugs_have_names(bug: str, invariant: str) -> None:
    watch, _ = watched("vas-edge", "only=3", bugs=(bug,), max_cycles=SECOND // 20)
    assert invariant in {v.invariant for v in watch.violations}


class Forgetful(VasModel):
    """A model that is wrong itself: credits of faults never come home."""

    def _send_credits(self, window: Any, n: int) -> None:
        super()._send_credits(window, n)
        if window is not None:
            window.home -= n


def test_a_wrong_model_is_noticed() -> None:
    watch, _ = watched("nxgzip", ZIP, Forgetful, resident="6M", latency="zram")
    assert "P2" in {v.invariant for v in watch.violations}


def test_a_wrong_engine_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """P13, and what is stored beyond the target."""
    real = Job.scatter
    monkeypatch.setattr(Job, "scatter", lambda self, space, data: real(self, space, bytes([data[0] ^ 0x10]) + data[1:]))
    watch, _ = watched("nxgzip", ZIP)
    assert "P13" in {v.invariant for v in watch.violations}
    monkeypatch.setattr(Job, "scatter", lambda self, space, data: space.write(self.source.segments[0][0], data))
    watch, _ = watched("nxgzip", ZIP, max_cycles=SECOND // 10)
    assert "P7" in {v.invariant for v in watch.violations}
