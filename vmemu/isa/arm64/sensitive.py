# SPDX-License-Identifier: GPL-2.0-or-later
"""What of arm64 the machine must see, and by which way the C unit sees it. Data for people, the debugger and tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sensitive:
    """Instructions with ``word & mask == value``."""

    name: str
    mask: int
    value: int
    way: str

    def matches(self, word: int) -> bool:
        return word & self.mask == self.value


def sysreg(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """Number of a system register in IO_REG_* accesses: op0:op1:crn:crm:op2 (2, 3, 4, 4, 3 bits)."""
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


SENSITIVE: tuple[Sensitive, ...] = (
    Sensitive("HVC", 0xFFE0001F, 0xD4000002, "arrives undefined (no EL2), decoded at PC"),
    Sensitive("SMC", 0xFFE0001F, 0xD4000003, "exception 13, PC behind it"),
    Sensitive("SVC", 0xFFE0001F, 0xD4000001, "exception 2, PC behind it"),
    Sensitive("BRK", 0xFFE0001F, 0xD4200000, "exception 7, PC on it"),
    Sensitive("WFI", 0xFFFFFFFF, 0xD503207F, "ends the run, PC behind it"),
    Sensitive("MRS, MSR, TLBI", 0xFFC00000, 0xD5000000, "entries in the core's register table (sysreg_arm64.c)"),
)

CNTPCT_EL0 = sysreg(3, 3, 14, 0, 1)
CNTVCT_EL0 = sysreg(3, 3, 14, 0, 2)
CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0 = (sysreg(3, 3, 14, 2, i) for i in range(3))
CNTV_TVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0 = (sysreg(3, 3, 14, 3, i) for i in range(3))
ICC_PMR_EL1 = sysreg(3, 0, 4, 6, 0)
ICC_IAR0_EL1 = sysreg(3, 0, 12, 8, 0)
ICC_EOIR0_EL1 = sysreg(3, 0, 12, 8, 1)
ICC_HPPIR0_EL1 = sysreg(3, 0, 12, 8, 2)
ICC_BPR0_EL1 = sysreg(3, 0, 12, 8, 3)
ICC_AP0R0_EL1 = sysreg(3, 0, 12, 8, 4)
ICC_AP1R0_EL1 = sysreg(3, 0, 12, 9, 0)
ICC_DIR_EL1 = sysreg(3, 0, 12, 11, 1)
ICC_RPR_EL1 = sysreg(3, 0, 12, 11, 3)
ICC_SGI1R_EL1 = sysreg(3, 0, 12, 11, 5)
ICC_IAR1_EL1 = sysreg(3, 0, 12, 12, 0)
ICC_EOIR1_EL1 = sysreg(3, 0, 12, 12, 1)
ICC_HPPIR1_EL1 = sysreg(3, 0, 12, 12, 2)
ICC_BPR1_EL1 = sysreg(3, 0, 12, 12, 3)
ICC_CTLR_EL1 = sysreg(3, 0, 12, 12, 4)
ICC_SRE_EL1 = sysreg(3, 0, 12, 12, 5)
ICC_IGRPEN0_EL1 = sysreg(3, 0, 12, 12, 6)
ICC_IGRPEN1_EL1 = sysreg(3, 0, 12, 12, 7)
