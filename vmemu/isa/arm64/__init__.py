# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64 as the virt board has it: Armv8.0-A at EL1 and EL0, AArch64 only, 4 KiB granule, 44 physical address bits."""

from __future__ import annotations

from vmemu.isa.arm64.registers import REGISTERS
from vmemu.isa.base import Isa, RegisterFile

ISA = Isa("arm64", RegisterFile(REGISTERS), big_endian=False)
