# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line without a guest: usage errors, listings, the status line's arithmetic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmemu.bugs import BUGS
from vmemu.cli.boot import Interrupt
from vmemu.cli.main import cli, run
from vmemu.cli.output import count, duration, open_output, say
from vmemu.errors import ConfigError, StoreError


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["wrong"], "No such command 'wrong'"),
    (["boot"], "Missing argument 'IMAGE'"),
    (["boot", "a", "b"], "unexpected extra argument"),
    (["boot", "hello", "--isa", "mips"], "'mips' is not one of"),
    (["boot", "hello", "--max-cycles", "0"], "'--max-cycles': 0"),
    (["boot", "hello", "--seed", "x"], "'--seed'"),
    (["boot", "hello", "--nonsense"], "--nonsense"),
    (["bench", "engine", "--repeat", "0"], "'--repeat'"),
    (["images", "--bad"], "--bad"),
])
def test_usage_is_status_2_and_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vmemu: ") and err.count("\n") == 1
    assert complaint in err and "--help`" in err


def test_no_arguments_is_help_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["boot"], ["images"], ["bugs"], ["bench"], ["bench", "engine"]])
def test_help_is_status_0(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: vmemu")


def test_boot_help_has_examples_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    run(["boot", "--help"])
    out = capsys.readouterr().out
    assert "vmemu boot walk" in out and "store failure" in out
    for option in (
        "--isa", "--memory", "--resident", "--store", "--latency", "--append",
        "--seed", "--max-cycles", "--pin", "--bug", "--inject", "--json",
    ):
        assert option in out


def test_bugs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bugs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [b["id"] for b in listed] == sorted(BUGS)
    assert run(["bugs"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t")[0] == sorted(BUGS)[0]


@pytest.mark.parametrize(("error", "status"), [
    (ConfigError("bad\nthing"), 2), (StoreError("gone"), 5), (OSError("x"), 5),
])
def test_errors_become_one_line(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    assert run(["bugs"]) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_control_characters_stay_out_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31mb")
    assert capsys.readouterr().err == "vmemu: a\\x1b[31mb\n"


def test_reports_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(ConfigError, match=r"--json .*: cannot write"):
            open_output(str(path), "--json")
    assert open_output("-", "--json") is sys.stdout


def test_numbers_for_people() -> None:
    assert [count(n) for n in (0, 999, 1000, 1234567, 999_999_999)] == ["0", "999", "1k", "1.23M", "1000M"]
    assert [duration(n) for n in (5, 1500, 2e6, 3.21e9, 7.2e12)] == ["5 ns", "1.5 us", "2 ms", "3.21 s", "7200 s"]


def test_interrupt_waits_for_the_next_stop() -> None:
    interrupt = Interrupt()
    with interrupt.installed():
        interrupt.check()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_closed_pipe_is_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m vmemu bugs --json | true", shell=True, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
