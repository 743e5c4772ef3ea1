# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu debug`` as a command: scripts, pipes, statuses, recordings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.guest import environment, run_vmemu


def test_commands_and_status(tmp_path: Path) -> None:
    ran = run_vmemu("debug", "hello", "--isa", "arm64", "-c", "break kmain", "-c", "continue", "-c", "print 6 * 7", cwd=tmp_path)
    assert (ran.status, ran.err) == (0, "") and ran.out.endswith("42 = 0x2a\n") and "\x1b" not in ran.out and "(vmemu)" not in ran.out
    ran = run_vmemu("debug", "hello", "-c", "echo first", "-c", "print nosuch", "-c", "echo never", cwd=tmp_path)
    assert (ran.status, ran.out, ran.err) == (2, "first\n", "vmemu: no symbol 'nosuch'\n")
    ran = run_vmemu("debug", "hello", "-c", "assert 1 == 2", cwd=tmp_path)
    assert (ran.status, ran.err) == (1, "vmemu: assert 1 == 2: it is not so\n")
    ran = run_vmemu("debug", "hello", "-c", "continue", cwd=tmp_path)
    assert ran.status == 0 and "hello from x86_64" in ran.out and "the run is over: the guest powered off" in ran.out
    ran = run_vmemu("debug", "walk", "--max-cycles", "300000", "-c", "continue", cwd=tmp_path)
    assert ran.status == 4


def test_scripts_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("echo inner\nquit\n")
    (tmp_path / "outer").write_text("# a remark\n\necho outer\nsource inner\necho never\n")
    ran = run_vmemu("debug", "hello", "--script", "outer", "-c", "echo never", cwd=tmp_path)
    assert (ran.status, ran.out, ran.err) == (0, "outer\ninner\n", "")
    (tmp_path / "wrong").write_text("echo one\nprint (\necho never\n")
    ran = run_vmemu("debug", "hello", "--script", "wrong", cwd=tmp_path)
    assert ran.status == 2 and ran.out == "one\n" and ran.err.startswith("vmemu: wrong:2: ") and ran.err.count("\n") == 1
    (tmp_path / "self").write_text("source self\n")
    ran = run_vmemu("debug", "hello", "--script", "self", cwd=tmp_path)
    assert ran.status == 1 and "scripts call each other" in ran.err
    piped = subprocess.run([sys.executable, "-m", "vmemu", "debug", "hello"], input="echo a\nhelp time\nnonsense\necho b\n", text=True,
                           capture_output=True, check=False, cwd=tmp_path, env=environment())
    assert piped.returncode == 2 and piped.stdout.startswith("a\ntime: ") and "echo" not in piped.stdout
    assert piped.stderr == "vmemu: no command 'nonsense'; `help` lists them\n"


@pytest.mark.parametrize("arguments", [
    [], ["nosuchimage"], ["hello", "--script", "missing"], ["hello", "--replay", "x"], ["--replay", "missing"], ["hello", "--smp", "99"],
    ["--restore", "missing"], ["hello", "--record", "x", "--restore", "y"],
])
def test_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    ran = run_vmemu("debug", *arguments, cwd=tmp_path)
    assert ran.status == 2 and ran.err.startswith("vmemu: ") and ran.err.count("\n") == 1 and "Traceback" not in ran.err


def test_a_session_is_recorded_and_debugged_again(tmp_path: Path) -> None:
    ran = run_vmemu("debug", "storm", "--isa", "x86_64", "--resident", "8M", "--record", "r", "-c", "until vm_fault", "-c", "stepi 100",
                    "-c", "write tasks[40].sig_addr = 0x1234", "-c", "bookmark b", "-c", "goto start", "-c", "continue", cwd=tmp_path)
    assert ran.status == 0, ran.err
    again = run_vmemu("replay", "r", cwd=tmp_path)
    assert again.status == 0 and "same run" in again.err
    debugged = run_vmemu("debug", "--replay", "r", "-c", "until output:PASS", "-c", "print/x tasks[40].sig_addr", cwd=tmp_path)
    assert debugged.status == 0 and debugged.out.endswith("0x1234\n")


def test_the_prompt_on_a_terminal(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(environment(XDG_STATE_HOME=str(tmp_path), TERM="dumb"))
        os.execv(sys.executable, [sys.executable, "-m", "vmemu", "debug", "hello", "--isa", "arm64"])
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            more = os.read(terminal, 65536)
            if b"\x1b[6n" in more:  # a terminal answers where its cursor is
                os.write(terminal, b"\x1b[1;1R")
            seen += more
        seen = seen[seen.index(text) + len(text) :]

    until(b"`help` lists the commands")
    for line, answer in ((b"print 6*7\r", b"42"), (b"nonsense\r", b"no command 'nonsense'"), (b"until kmain\r", b"vCPU 0 at"),
                         (b"si\r", b"kmain"), (b"\r", b"kmain"), (b"history\r", b"until kmain")):
        os.write(terminal, line)
        until(answer)
    os.write(terminal, b"quit\r")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "vmemu" / "debug-history").exists()
    os.close(terminal)
