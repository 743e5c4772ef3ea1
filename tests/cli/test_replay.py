# SPDX-License-Identifier: GPL-2.0-or-later
"""Choices, recordings and snapshots on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.guest import ISAS, run_vmemu

each_isa = pytest.mark.parametrize("isa", ISAS)


def clean(err: str) -> None:
    """One line, and no traceback."""
    assert err.startswith("vmemu: ") and err.count("\n") == 1, err


@each_isa
def test_record_and_replay(isa: str, tmp_path: Path) -> None:
    ran = run_vmemu("boot", "tasks", "--isa", isa, "--smp", "2", "--seed", "7", "--record", "r", "--json", "j", cwd=tmp_path)
    assert (ran.status, ran.err) == (0, "")
    again = run_vmemu("replay", "r", cwd=tmp_path)
    assert again.status == 0 and again.out == ran.out
    assert again.err.startswith("vmemu: same run: ") and ran.json["state_hash"][:16] in again.err
    forced = run_vmemu("boot", "tasks", "--isa", isa, "--smp", "2", "--choices", ran.json["choices"], "--json", "j2", cwd=tmp_path)
    assert forced.json["state_hash"] == ran.json["state_hash"]


def test_replay_to_a_point(tmp_path: Path) -> None:
    run_vmemu("boot", "hello", "--record", "r", cwd=tmp_path)
    ran = run_vmemu("replay", "r", "--to", "50000", cwd=tmp_path)
    assert ran.status == 0
    assert "instruction 50000, " in ran.out and "vCPU 0 running: pc 0x" in ran.out and "rax" in ran.out
    assert "instruction" in run_vmemu("replay", "r", "--to", "syscall:1", cwd=tmp_path).out
    ran = run_vmemu("replay", "r", "--to", "output:hello", cwd=tmp_path)
    assert ran.status == 0 and "hello\ninstruction" in ran.out
    for target in ("99999999999", "5s", "syscall:99999", "output:nonsense"):
        ran = run_vmemu("replay", "r", "--to", target, cwd=tmp_path)
        assert ran.status == 2 and "the run ends before" in ran.err
    for target in ("", "x", "1.5", "syscall:0", "nothing:3", "output:", "-1"):
        ran = run_vmemu("replay", "r", "--to", target, cwd=tmp_path)
        assert ran.status == 2, target
        clean(ran.err)


def test_bad_recordings(tmp_path: Path) -> None:
    run_vmemu("boot", "hello", "--record", "r", cwd=tmp_path)
    data = (tmp_path / "r").read_bytes()
    (tmp_path / "short").write_bytes(data[:-40])
    (tmp_path / "changed").write_bytes(data[:300] + bytes([data[300] ^ 1]) + data[301:])
    (tmp_path / "other").write_bytes(b"something else")
    run_vmemu("boot", "hello", "--snapshot", "snap", cwd=tmp_path)
    for name in ("short", "changed", "other", "snap", "missing", "."):
        ran = run_vmemu("replay", name, cwd=tmp_path)
        assert (ran.status, ran.out) == (2, "")
        clean(ran.err)


@each_isa
def test_snapshot_and_restore(isa: str, tmp_path: Path) -> None:
    whole = run_vmemu("boot", "hello", "--isa", isa, "--snapshot", "s", "--snapshot-at", "50000", "--json", "a", cwd=tmp_path)
    assert (whole.status, whole.err) == (0, "")
    rest = run_vmemu("boot", "--restore", "s", "--json", "b", cwd=tmp_path)
    assert (rest.status, rest.err) == (0, "")
    assert rest.json["state_hash"] == whole.json["state_hash"]
    assert whole.out.endswith(rest.out)
    assert run_vmemu("boot", "hello", "--restore", "s", cwd=tmp_path).status == 0
    for wrong in (["walk"], ["--isa", "ppc64" if isa != "ppc64" else "arm64"], ["--smp", "2"], ["-m", "32M"], ["--record", "r"]):
        ran = run_vmemu("boot", *wrong, "--restore", "s", cwd=tmp_path)
        assert ran.status == 2, wrong
        clean(ran.err)


def test_go_on_after_a_limit(tmp_path: Path) -> None:
    whole = run_vmemu("boot", "tasks", "--json", "a", cwd=tmp_path)
    first = run_vmemu("boot", "tasks", "--max-cycles", "20000000", "--snapshot", "s", cwd=tmp_path)
    assert first.status == 4
    rest = run_vmemu("boot", "--restore", "s", "--json", "b", cwd=tmp_path)
    assert rest.status == 0 and rest.json["state_hash"] == whole.json["state_hash"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["hello", "--seed", "1", "--pct", "3"], ["hello", "--pct", "3", "--choices", "1:"], ["hello", "--pct", "0"],
        ["hello", "--choices", "nonsense"], ["hello", "--snapshot-at", "5"], [], ["hello", "--restore", "missing"],
        ["hello", "--record", "no/such/folder/r"], ["hello", "--snapshot", "."],
        ["hello", "--snapshot", "s", "--snapshot-at", "999999999999"], ["hello", "--smp", "0"], ["hello", "--smp", "17"],
    ],
)  # fmt: skip
def test_usage_errors(arguments: list[str], tmp_path: Path) -> None:
    ran = run_vmemu("boot", *arguments, cwd=tmp_path)
    assert ran.status == 2
    clean(ran.err)
