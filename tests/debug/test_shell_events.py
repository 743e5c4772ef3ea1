# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell and what happens around the guest: events of tokens, firmware's events in a backtrace, code of the host that fails."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from helpers.guest import ISAS
from helpers.shell import Shell

from vmemu.core.observe import What
from vmemu.debug.shell.registry import CommandError, UsageError
from vmemu.debug.shell.running import event_kind, event_names
from vmemu.errors import VmemuError

APF = {"x86_64": "kvm", "arm64": "sdei", "ppc64": "papr"}
PRESSURE = {"resident": "4M", "latency": "nvme", "append": "tasks=8 pages=128 passes=1"}


@pytest.mark.parametrize("isa", ISAS)
def test_the_life_of_a_token_forwards_and_backwards(isa: str) -> None:
    with Shell("storm", isa=isa, apf=APF[isa], **PRESSURE) as shell:
        told = re.search(r"\(not_present (0x[0-9a-f]+)", shell("until event not_present"))
        assert told is not None
        token, at = told[1], shell.machine.insns
        assert token in shell("faults")
        ready = shell(f"until event ready {token}")
        assert f"(ready {token}; " in ready and shell.machine.insns > at
        shell(f"back event told {token}")
        assert shell.machine.insns == at and token in shell("faults")
        with pytest.raises(CommandError, match="ended before"):
            shell("until event not_present 0x12345678")


def test_kinds_of_events() -> None:
    for name in event_names():
        event_kind(name, 2)
        event_kind(f"{name} 0x5 vcpu 1", 2)
    for wrong in ("", "nothing", "fault 1 2", "fault vcpu", "fault vcpu 2", "FAULT"):
        with pytest.raises(UsageError):
            event_kind(wrong, 2)
    assert {w.name.lower() for w in What} - {"note"} <= set(event_names())


def test_from_firmwares_event_back_to_the_program() -> None:
    with Shell("storm", isa="arm64", apf="sdei", **PRESSURE) as shell:
        told = shell("until event not_present")
        place = re.search(r"at (0x[0-9a-f]+)", told)
        assert place is not None
        program = shell("where").splitlines()
        for command in ("stepi", "stepi 4", "until sdei_taken"):
            shell(command)
            where = shell("where").splitlines()
            mark = next(i for i, line in enumerate(where) if "(SDEI) interrupted user mode" in line)
            assert place[1].removeprefix("0x") in where[mark + 1]
            # the same callers, however far the handler has come
            assert [line.split()[1:] for line in where[mark + 1 :]] == [line.split()[1:] for line in program]


HANDLER = '''
def answer(vcpu):
    {body}
'''


def test_a_handler_that_raises_is_edited_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "shell_test_handler.py"
    source.write_text(HANDLER.format(body="raise ValueError('not thought of')"))
    handler = importlib.import_module("shell_test_handler")
    try:
        with Shell("hello", isa="arm64") as shell:
            board, real = shell.machine.board, shell.machine.board.on_hcall
            monkeypatch.setattr(board, "on_hcall", lambda vcpu, number: handler.answer(vcpu) or real(vcpu, number))
            text = shell("continue")
            assert "ValueError: not thought of" in text and "shell_test_handler.py:3 in answer" in text
            at = shell.machine.insns
            with pytest.raises(VmemuError):
                shell("retry no_such_module")
            assert shell("print $insns").startswith(f"{at} ")
            assert "not thought of" in shell("retry shell_test_handler") and shell.machine.insns == at
            source.write_text(HANDLER.format(body="return None"))
            assert "the run is over: the guest powered off" in shell("retry shell_test_handler")
            assert b"hello from arm64" in shell.guest
            with pytest.raises(CommandError, match="nothing has failed"):
                shell("retry")
    finally:
        sys.modules.pop("shell_test_handler", None)
