# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmodified kvm-unit-tests images on the pc board: an oracle that nobody here wrote.

Optional: set KVM_UNIT_TESTS to a built tree (./configure --arch=x86_64; make x86/NAME.flat).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmemu.machine.machine import Machine

TREE = os.environ.get("KVM_UNIT_TESTS")
pytestmark = pytest.mark.skipif(TREE is None, reason="KVM_UNIT_TESTS does not name a built kvm-unit-tests tree")

#: Image and the least number of its checks. access_test is one check over a million page-table states: about a minute.
IMAGES = {
    "idt_test": 4, "tsc": 3, "setjmp": 10, "hypercall": 4, "eventinj": 13, "msr": 1800, "memory": 4, "access_test": 1,
}  # fmt: skip


def image(name: str) -> str:
    return str(Path(TREE or "") / "x86" / f"{name}.flat")


@pytest.mark.parametrize("name", IMAGES)
def test_image_passes(name: str) -> None:
    output = bytearray()
    machine = Machine.boot(image(name), isa="x86_64", memory="64M", console=output.extend)
    result = machine.run()
    machine.close()
    text = output.decode(errors="replace")
    assert "FAIL" not in text, text[-2000:]
    assert text.count("PASS:") >= IMAGES[name], text[-2000:]
    assert result.status == 0, result.reason


def asyncpf(*inject: str) -> tuple[str, Machine]:
    """asyncpf.flat with a little less than it touches (1043 MiB); its pages are all zeros, so those must be kept."""
    output = bytearray()
    machine = Machine.boot(
        image("asyncpf"), isa="x86_64", memory="2048M", resident="1024M", keep_zeros=True, apf="kvm", latency="zram",
        inject=inject, console=output.extend,
    )  # fmt: skip
    machine.run()
    machine.close()
    return output.decode(errors="replace"), machine


def test_asyncpf_passes() -> None:
    text, machine = asyncpf()
    result = machine.result
    assert result is not None and result.status == 0, text[-2000:]
    serviced = int(text.split("PASS: Serviced ")[1].split()[0])
    assert serviced == result.extra["tokens"]["ready"] == result.extra["tokens"]["notified"] > 1000
    assert "FAIL" not in text and "SKIP" not in text


@pytest.mark.parametrize(
    ("rule", "seen", "diagnosis"),
    [
        ("apf.token:3:corrupt", "FAIL: unexpected async pf int token", "announced as"),
        ("apf.flag:3:drop", "FAIL: unexpected #PF", "flag dropped"),
        ("apf.ready:3:drop", "", "was never announced as ready"),  # it waits for ever, interrupts on
    ],
)
def test_asyncpf_sees_what_goes_wrong(rule: str, seen: str, diagnosis: str) -> None:
    text, machine = asyncpf(rule)
    result = machine.result
    assert result is not None
    assert seen in text and "PASS: Serviced" not in text
    assert diagnosis in result.reason + "".join(result.lines)
