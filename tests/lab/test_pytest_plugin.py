# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin, as somebody's own test session uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

FAILING = """
def test_it(vmemu):
    machine = vmemu.boot("hello", isa="arm64", smp=2)
    result = machine.run()
    assert result.status == 0 and not vmemu.violations
    assert b"never printed" in result.output
"""


def session(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    plugin = () if "vmemu.lab.pytest_plugin" in _entry_points() else ("-p", "vmemu.lab.pytest_plugin")
    pytester.makeini(f"[pytest]\npythonpath = {Path(__file__).parents[2]}")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugin, *arguments)


def _entry_points() -> list[str]:
    from importlib.metadata import entry_points

    return [e.value for e in entry_points(group="pytest11")]


def test_a_passing_test_leaves_nothing(pytester: pytest.Pytester) -> None:
    session(pytester, FAILING.replace("never printed", "hello")).assert_outcomes(passed=1)
    assert not (pytester.path / ".vmemu").exists()


def test_a_failing_test_leaves_what_reproduces_it(pytester: pytest.Pytester) -> None:
    outcome = session(pytester, FAILING, "--vmemu-seed", "7", "--vmemu-artefacts", "left")
    outcome.assert_outcomes(failed=1)
    text = outcome.stdout.str()
    recording = next((pytester.path / "left").rglob("0.rec"))
    assert "-test_it" in recording.parent.name
    assert "sched" in recording.with_suffix(".txt").read_text() or recording.with_suffix(".txt").stat().st_size > 1000
    command = re.search(r"machine 0: vmemu (boot hello .*)", text)
    assert command is not None and "--smp 2" in command[1] and "--choices" in command[1]
    for words in (command[1].split(), ["replay", str(recording)]):
        done = subprocess.run([sys.executable, "-m", "vmemu", *words], capture_output=True, text=True, timeout=120, check=False,
                              cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr


def test_seeds_and_choices_decide_for_undecided_machines(pytester: pytest.Pytester) -> None:
    source = """
    def test_it(vmemu):
        free, fixed = vmemu.boot("hello", smp=2), vmemu.boot("hello", smp=2, seed=3)
        free.run(), fixed.run()
        print("FREE", free.choices.source.describe(), free.choices.text())
        assert fixed.choices.source.describe() == "seed 3"
    """
    first = session(pytester, source, "--vmemu-seed", "5", "-s")
    first.assert_outcomes(passed=1)
    described, text = re.search(r"FREE (seed 5) (\S+)", first.stdout.str()).groups()  # type: ignore[union-attr]
    assert described == "seed 5"
    again = session(pytester, source, "--vmemu-choices", text, "-s")
    again.assert_outcomes(passed=1)
    assert f"choices {text}" in again.stdout.str()


def test_drawn_choices(pytester: pytest.Pytester) -> None:
    source = """
    from hypothesis import given, settings, strategies as st, HealthCheck

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_it(vmemu, data):
        machine = vmemu.boot("hello", smp=2, draw=lambda kind, n: data.draw(st.integers(0, n - 1), label=kind))
        assert machine.run().status == 0
        vmemu.close()
    """
    session(pytester, source).assert_outcomes(passed=1)
