# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmodified kvm-unit-tests images on the pc board: an oracle that nobody here wrote.

Optional: set VMEMU_KVM_UNIT_TESTS to a built tree's x86/ folder (./configure --arch=x86_64; make x86/NAME.flat).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmemu.machine.machine import Machine

FOLDER = os.environ.get("VMEMU_KVM_UNIT_TESTS")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="VMEMU_KVM_UNIT_TESTS is not set")

#: Image and the least number of its checks. access_test is one check over a million page-table states: about a minute.
IMAGES = {
    "idt_test": 4, "tsc": 3, "setjmp": 10, "hypercall": 4, "eventinj": 13, "msr": 1800, "memory": 4, "access_test": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_image_passes(name: str) -> None:
    output = bytearray()
    machine = Machine.boot(str(Path(FOLDER or "") / f"{name}.flat"), isa="x86_64", memory="64M", console=output.extend)
    result = machine.run()
    machine.close()
    text = output.decode(errors="replace")
    assert "FAIL" not in text, text[-2000:]
    assert text.count("PASS:") >= IMAGES[name], text[-2000:]
    assert result.status == 0, result.reason
