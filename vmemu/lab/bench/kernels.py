# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest code of the benchmarks that need no image."""

from __future__ import annotations

from vmemu.lab.bare import DATA, RAM, assembler


def loop(isa: str, rounds: int) -> bytes:
    """Eight instructions with a load and a store."""
    a = assembler(isa)
    a.li(2, RAM[isa] + DATA)
    a.li(3, rounds)
    a.label("loop")
    a.addi(0, 1)
    a.load(4, 2, 8)
    a.store(0, 2, 8)
    a.add(1, 0)
    a.xor(1, 4)
    a.addi(5, 3)
    a.dec_jnz(3, "loop")
    a.halt()
    return a.code()
