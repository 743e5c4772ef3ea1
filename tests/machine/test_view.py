# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at guest memory changes nothing, and sees what the guest sees."""

from __future__ import annotations

import pytest
from helpers.guest import ISAS

from vmemu.machine.machine import Machine
from vmemu.machine.symbols import Symbols
from vmemu.machine.view import read_physical, read_virtual, translate


@pytest.mark.parametrize("isa", ISAS)
def test_a_view_sees_what_the_guest_sees_and_moves_nothing(isa: str) -> None:
    machine = Machine.boot("walk", isa=isa, memory="16M", resident="2M", append="pages=600 passes=2")
    end = machine.run_to(3_000_000)
    assert end is None
    vcpu, symbols = machine.vcpus[0], Symbols.of(machine)
    before = machine.core.stats(), vcpu.registers()
    for name in ("kmain", "trap_fault"):
        symbol = symbols.find(name)
        assert symbol is not None
        (segment,) = (s for m in symbols.modules if m.name == "kernel" for s in m.image.segments
                      if s.vaddr <= symbol.address < s.vaddr + len(s.data))
        expected = segment.data[symbol.address - segment.vaddr :][:64]
        assert read_virtual(machine, vcpu, symbol.address, 64) == expected
        assert translate(machine, vcpu, symbol.address) == segment.paddr + symbol.address - segment.vaddr
    base, size = machine.board.memory_regions(machine.memory_size)[0]
    for index in range(0, size >> 12, 97):  # swapped or not: the same bytes as a read that pages in
        assert len(read_physical(machine, base + (index << 12), 4096)) == 4096
    assert before == (machine.core.stats(), vcpu.registers())
    gpa = base + (size >> 1)
    assert read_physical(machine, gpa, 5000) == machine.memory.read(gpa, 5000)
    assert read_physical(machine, base + size - 8, 64) == machine.memory.read(base + size - 8, 8)
    assert read_virtual(machine, vcpu, 0x5555_0000_0000, 8) == b"" and translate(machine, vcpu, 0x5555_0000_0000) is None
    machine.close()
