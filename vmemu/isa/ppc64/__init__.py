# SPDX-License-Identifier: GPL-2.0-or-later
"""ppc64 as the pseries board has it: big-endian POWER10-like partition, radix translation."""

from __future__ import annotations

from vmemu.isa.base import Isa, RegisterFile
from vmemu.isa.ppc64.registers import REGISTERS

ISA = Isa("ppc64", RegisterFile(REGISTERS), big_endian=True)
