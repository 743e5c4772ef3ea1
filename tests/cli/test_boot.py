# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole boots through the command line, for every architecture."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.guest import ISAS, environment, run_vmemu, walk_checksum

each_isa = pytest.mark.parametrize("isa", ISAS)
STORES = ("ram:", "file:swap")

#: Keys that later versions keep under these names.
STABLE = {
    "status", "isa", "instructions", "cycles", "virtual_ns", "wall_s", "state_hash", "resident_peak", "swap_ins",
    "swap_outs", "faults", "exits",
}
FAULTS = {"guest", "zero", "swap", "mem_error"}


def repeatable(report: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one command must agree on."""
    return {key: value for key, value in report.items() if key != "wall_s"}


@each_isa
def test_hello(isa: str, tmp_path: Path) -> None:
    ran = run_vmemu("boot", "hello", "--isa", isa, "--append", "one two", cwd=tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert f"hello from {isa}, 64 MiB RAM" in ran.out
    assert "argument 1: one" in ran.out and "argument 2: two" in ran.out


@each_isa
@pytest.mark.parametrize("store", STORES)
def test_walk_under_pressure(isa: str, store: str, tmp_path: Path) -> None:
    """32 MiB of data twice through 8 MiB of frames."""
    ran = run_vmemu(
        "boot", "walk", "--isa", isa, "-m", "64M", "--resident", "8M", "--store", store,
        "--append", "pages=8192 passes=2", "--json", "run.json", cwd=tmp_path,
    )
    assert ran.status == 0, ran.err
    assert walk_checksum(8192, 2) in ran.out
    report = ran.json
    assert set(report) >= STABLE
    assert set(report["faults"]) >= FAULTS
    assert (report["status"], report["isa"]) == (0, isa)
    assert report["swap_ins"] > 0 and report["swap_outs"] > 0
    assert 0 < report["resident_peak"] <= 8 * 256
    assert report["instructions"] > 8192 * 512 * 2 * 2
    assert re.fullmatch("[0-9a-f]{64}", report["state_hash"])


@each_isa
def test_two_runs_agree(isa: str, tmp_path: Path) -> None:
    line = ("boot", "tasks", "--isa", isa, "-m", "16M", "--resident", "4M", "--latency", "nvme", "--seed", "3")
    first = run_vmemu(*line, "--json", "a.json", cwd=tmp_path)
    second = run_vmemu(*line, "--json", "b.json", cwd=tmp_path)
    assert first.status == 0, first.err
    assert first.out == second.out
    assert repeatable(first.json) == repeatable(second.json)


@each_isa
def test_ram_and_file_agree(isa: str, tmp_path: Path) -> None:
    """Wherever a page lies, it is the same page; and the store is no part of virtual time."""
    reports = [
        run_vmemu(
            "boot", "walk", "--isa", isa, "-m", "16M", "--resident", "4M", "--store", store, "--latency", "zram",
            "--append", "pages=2048 passes=1", "--json", "run.json", cwd=tmp_path,
        ).json
        for store in STORES
    ]
    assert reports[0]["swap_ins"] > 0
    for key in ("state_hash", "instructions", "cycles", "virtual_ns", "swap_ins", "swap_outs", "resident_peak"):
        assert reports[0][key] == reports[1][key], key


@each_isa
def test_usertests_pass(isa: str, tmp_path: Path) -> None:
    ran = run_vmemu("boot", "usertests", "--isa", isa, "-m", "32M", "--resident", "6M", cwd=tmp_path)
    assert ran.status == 0, ran.out[-2000:] + ran.err
    assert "PASS" in ran.out and "FAIL" not in ran.out


@each_isa
def test_latency_costs_virtual_time_only(isa: str, tmp_path: Path) -> None:
    def run(latency: str) -> dict[str, Any]:
        return run_vmemu(
            "boot", "walk", "--isa", isa, "-m", "16M", "--resident", "4M", "--latency", latency,
            "--append", "pages=2048 passes=1 quiet", "--json", "run.json", cwd=tmp_path,
        ).json

    free, disk = run("none"), run("disk")
    assert (free["status"], disk["status"]) == (0, 0)
    # 7 ms for each page-in; a timer tick more or less may shift which pages are away.
    assert disk["virtual_ns"] - free["virtual_ns"] >= 0.9 * disk["swap_ins"] * 7_000_000
    assert disk["blocked_cycles"] > 0


@each_isa
def test_cycle_limit_is_status_4(isa: str, tmp_path: Path) -> None:
    ran = run_vmemu("boot", "walk", "--isa", isa, "--max-cycles", "500000", "--json", "run.json", cwd=tmp_path)
    assert ran.status == 4
    assert "limit of 500000 cycles" in ran.err and ran.err.count("\n") == 1
    assert ran.json["status"] == 4 and ran.json["cycles"] >= 500_000


@each_isa
@pytest.mark.parametrize("how", ["fail", "corrupt"])
def test_store_failures_reach_the_guest(isa: str, how: str, tmp_path: Path) -> None:
    """The guest's program is told with SIGBUS; the host neither crashes nor retries for ever."""
    ran = run_vmemu(
        "boot", "walk", "--isa", isa, "-m", "16M", "--resident", "4M", "--store", "file:swap",
        "--inject", f"store.read:5:{how}", "--append", "pages=2048 passes=1", "--json", "run.json", cwd=tmp_path,
    )
    assert ran.status == 1, ran.err
    assert ran.json["faults"]["mem_error"] >= 1
    assert "Traceback" not in ran.err and "checksum=" not in ran.out


def test_full_store_is_status_5(tmp_path: Path) -> None:
    """The file may not grow past 1 MiB: the page cannot be written, so the run cannot go on."""
    script = (
        "import resource, sys; from vmemu.cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); sys.argv[0] = 'vmemu'; main()"
    )
    line = ["boot", "walk", "-m", "16M", "--resident", "4M", "--store", "file:swap", "--append", "pages=2048 passes=1"]
    command = [sys.executable, "-c", script, *line]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 5
    assert "cannot write slot" in done.stderr and done.stderr.count("\n") == 1


def test_console_and_json_can_share_stdout(tmp_path: Path) -> None:
    ran = run_vmemu("boot", "hello", "--append", "quiet", "--json", "-", cwd=tmp_path)
    assert ran.status == 0
    assert ran.out.index("hello from") < ran.out.index('"state_hash"')


def test_library_gives_the_same_run(tmp_path: Path) -> None:
    from vmemu import Machine

    output = bytearray()
    machine = Machine.boot("walk", isa="arm64", memory="16M", resident="4M", append="pages=2048 passes=1",
                           console=output.extend)
    result = machine.run()
    machine.close()
    ran = run_vmemu(
        "boot", "walk", "--isa", "arm64", "-m", "16M", "--resident", "4M", "--append", "pages=2048 passes=1",
        "--json", "run.json", cwd=tmp_path,
    )
    assert bytes(output).decode() == ran.out
    assert repeatable(result.to_json()) == repeatable(ran.json)


def test_ctrl_c_ends_the_run_cleanly(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "vmemu", "boot", "walk", "--resident", "8M", "--append", "pages=8192 passes=1000000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=environment(),
    )
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.startswith("vmemu: interrupted after ") and err.count("\n") == 1


def test_status_line_on_a_terminal_only(tmp_path: Path) -> None:
    """A pseudo-terminal as stderr gets the line and a summary; a pipe gets nothing."""
    master, slave = os.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "vmemu", "boot", "walk", "--resident", "8M", "--append", "pages=8192 passes=6 quiet"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, text=True,
        env=environment(TERM="xterm", COLUMNS="150"),
    )
    os.close(slave)
    seen = b""
    try:
        while chunk := os.read(master, 4096):
            seen += chunk
    except OSError:  # EIO: the other side is closed
        pass
    os.close(master)
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    assert walk_checksum(8192, 6) in out
    assert b"status 0, x86_64" in seen
