# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64 registers: all that a snapshot or a state hash needs, in the order in which they may be set again.

PSTATE comes before the stack pointers (setting it banks them). The registers from SCTLR_EL1 to MAIR_EL1 decide about
translation and stay together: the C unit drops translations when one of this range is set.
"DDI 0487" is the Arm Architecture Reference Manual for A-profile.
"""

from __future__ import annotations

from vmemu.isa.base import Field, Format, Register, bit

PSTATE = Format(
    "PSTATE",
    (
        Field("M", 3, 0, ((0, "EL0t"), (4, "EL1t"), (5, "EL1h"))), bit("nRW", 4), bit("F", 6), bit("I", 7), bit("A", 8),
        bit("D", 9), bit("IL", 20), bit("SS", 21), bit("V", 28), bit("C", 29), bit("Z", 30), bit("N", 31),
    ),
    "DDI 0487 C5.2.18",
)  # fmt: skip
SCTLR = Format(
    "SCTLR_EL1",
    (
        bit("M", 0), bit("A", 1), bit("C", 2), bit("SA", 3), bit("SA0", 4), bit("UMA", 9), bit("I", 12), bit("DZE", 14),
        bit("UCT", 15), bit("nTWI", 16), bit("nTWE", 18), bit("WXN", 19), bit("E0E", 24), bit("EE", 25), bit("UCI", 26),
    ),
    "DDI 0487 D13.2.118",
)  # fmt: skip
TCR = Format(
    "TCR_EL1",
    (
        Field("T0SZ", 5, 0), bit("EPD0", 7), Field("TG0", 15, 14, ((0, "4K"), (1, "64K"), (2, "16K"))),
        Field("T1SZ", 21, 16), bit("A1", 22), bit("EPD1", 23),
        Field("TG1", 31, 30, ((1, "16K"), (2, "4K"), (3, "64K"))),
        Field("IPS", 34, 32, ((0, "32"), (1, "36"), (2, "40"), (3, "42"), (4, "44"), (5, "48"))), bit("AS", 36),
        bit("TBI0", 37), bit("TBI1", 38),
    ),
    "DDI 0487 D13.2.131",
)  # fmt: skip
DESCRIPTOR = Format(
    "descriptor",
    (
        bit("VALID", 0), bit("TABLE", 1), Field("ATTR", 4, 2), bit("NS", 5), Field("AP", 7, 6), Field("SH", 9, 8),
        bit("AF", 10), bit("nG", 11), Field("ADDR", 47, 12), bit("CONT", 52), bit("PXN", 53), bit("UXN", 54),
        bit("PXNTable", 59), bit("UXNTable", 60), Field("APTable", 62, 61),
    ),
    "DDI 0487 D5.3",
)  # fmt: skip
EXCEPTION_CLASS = (
    (0x00, "UNKNOWN"), (0x01, "WFx"), (0x07, "FP"), (0x0E, "ILLEGAL"), (0x15, "SVC"), (0x18, "SYSREG"),
    (0x20, "IABT_EL0"), (0x21, "IABT_EL1"), (0x22, "PC_ALIGN"), (0x24, "DABT_EL0"), (0x25, "DABT_EL1"),
    (0x26, "SP_ALIGN"), (0x2F, "SERROR"), (0x3C, "BRK"),
)  # fmt: skip
FAULT_STATUS = tuple(
    (base + level, f"{word}_L{level}")
    for base, word in (
        (0x00, "ADDRESS"),
        (0x04, "TRANSLATION"),
        (0x08, "ACCESS_FLAG"),
        (0x0C, "PERMISSION"),
        (0x14, "WALK_ABORT"),
    )
    for level in range(4)
) + ((0x10, "EXTERNAL"), (0x21, "ALIGNMENT"))
ESR = Format(
    "ESR_EL1",
    (Field("EC", 31, 26, EXCEPTION_CLASS), bit("IL", 25), Field("ISS", 24, 0)),
    "DDI 0487 D13.2.37",
)
ABORT_ISS = Format(
    "ISS of an abort",
    (Field("FSC", 5, 0, FAULT_STATUS), bit("WnR", 6), bit("S1PTW", 7), bit("CM", 8), bit("EA", 9), bit("FnV", 10)),
    "DDI 0487 D13.2.37",
)
CPACR = Format("CPACR_EL1", (Field("FPEN", 21, 20, ((0, "trap"), (1, "trap EL0"), (3, "on"))),), "DDI 0487 D13.2.30")
CNTKCTL = Format(
    "CNTKCTL_EL1",
    (bit("EL0PCTEN", 0), bit("EL0VCTEN", 1), bit("EL0VTEN", 8), bit("EL0PTEN", 9)),
    "DDI 0487 D13.8.14",
)


def _general() -> list[Register]:
    return [Register(f"x{i}", uc=f"UC_ARM64_REG_X{i}") for i in range(31)]


def _system(name: str, format: Format | None = None) -> Register:
    """A system register that the C unit finds in the environment by itself."""
    return Register(name, group="system", format=format)


def _vectors() -> list[Register]:
    """V0..V31 in halves; the lower one is D<n>, whose write leaves the upper alone."""
    low = [Register(f"v{i}_lo", uc=f"UC_ARM64_REG_D{i}", group="vector") for i in range(32)]
    return low + [Register(f"v{i}_hi", group="vector") for i in range(32)]


REGISTERS: tuple[Register, ...] = (
    *_general(),
    Register("pc"),
    Register("pstate", 32, "UC_ARM64_REG_PSTATE", format=PSTATE),
    Register("sp_el0"),
    Register("sp_el1"),
    _system("sctlr_el1", SCTLR),
    _system("cpacr_el1", CPACR),
    _system("ttbr0_el1"),
    _system("ttbr1_el1"),
    _system("tcr_el1", TCR),
    _system("mair_el1"),
    _system("vbar_el1"),
    _system("elr_el1"),
    _system("spsr_el1", PSTATE),
    _system("esr_el1", ESR),
    _system("far_el1"),
    _system("par_el1"),
    _system("contextidr_el1"),
    _system("tpidr_el0"),
    _system("tpidrro_el0"),
    _system("tpidr_el1"),
    _system("cntkctl_el1", CNTKCTL),
    _system("cntfrq_el0"),
    _system("csselr_el1"),
    _system("mdscr_el1"),
    _system("oslsr_el1"),
    Register("fpcr", 32, "UC_ARM64_REG_FPCR", "vector"),
    Register("fpsr", 32, "UC_ARM64_REG_FPSR", "vector"),
    *_vectors(),
    Register("exclusive_addr", group="hidden", source="local monitor: address, or all ones"),
    Register("exclusive_val", group="hidden", source="local monitor: value loaded"),
    Register("exclusive_high", group="hidden", source="local monitor: second word of a pair"),
)
