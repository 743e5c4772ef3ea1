# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples: a guest and a variant of a protocol that are not vmemu's, explored by the same command."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vmemu.cli.main import run as vmemu
from vmemu.lab.explore.execution import Explorer
from vmemu.lab.explore.scenario import find
from vmemu.machine.facility import OPTIONS, extend

EXAMPLES = Path(__file__).parents[2] / "examples"
GUEST, VARIANT = str(EXAMPLES / "guest" / "sleeper.py"), str(EXAMPLES / "protocol" / "batch.py")
needs_compiler = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the guest is built by ziglang")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLEEPER_BUILD", str(tmp_path_factory.mktemp("sleeper")))
        yield


@needs_compiler
def test_a_guest_from_outside(capsys: pytest.CaptureFixture[str]) -> None:
    """The careless handler works in the default execution, and misses a page that comes at once; the careful one does not."""
    explorer = Explorer(find(f"{GUEST}:sleeper"))
    assert explorer.run(()).status == 0 and explorer.machine.console.output.endswith(b"all pages are as they were\n")
    explorer.close()
    assert vmemu(["explore", f"{GUEST}:sleeper", "--budget", "200"]) == 1
    out = capsys.readouterr()
    assert "violated: LIVE: stalled" in out.out and "--schedule 'latency#1'" in out.err
    assert vmemu(["explore", f"{GUEST}:careful", "--budget", "200"]) == 0


def test_a_variant_from_outside(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its mistake needs a move to another host with pages under way; what is right stays right."""
    explorer = Explorer(find(f"{VARIANT}:forgetful"))
    assert not explorer.run(()).violations
    explorer.close()
    record = tmp_path / "found.rec"
    assert vmemu(["explore", f"{VARIANT}:forgetful", "--budget", "500", "--record", str(record)]) == 1
    out = capsys.readouterr()
    assert "violated: BATCH: vCPU 0 counts" in out.out and "the environment acts: migrate" in out.out
    assert vmemu(["replay", str(record)]) == 0
    assert vmemu(["explore", f"{VARIANT}:batch", "--budget", "60"]) == 0


def test_which_scenario_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmemu(["explore", VARIANT]) == 2
    assert "has batch, forgetful; name one" in capsys.readouterr().err
    assert vmemu(["explore", f"{VARIANT}:other"]) == 2
    (broken := tmp_path / "broken.py").write_text("import nonsense\n")
    assert vmemu(["explore", str(broken)]) == 2
    assert "ModuleNotFoundError" in capsys.readouterr().err


def test_a_value_is_added_once() -> None:
    find(f"{VARIANT}:batch")
    assert "batch" in OPTIONS["apf"].values and "kvm" in OPTIONS["apf"].values
    with pytest.raises(ValueError, match="has a value kvm already"):
        extend("apf", "kvm", ("x86_64",), "", lambda machine, value, options: None)
