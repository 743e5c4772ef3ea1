# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 as the pc board has it: 4-level paging, 40 physical address bits."""

from __future__ import annotations

from vmemu.isa.base import Isa, RegisterFile
from vmemu.isa.x86_64.registers import REGISTERS

ISA = Isa("x86_64", RegisterFile(REGISTERS), big_endian=False)
