# SPDX-License-Identifier: GPL-2.0-or-later
"""ppc64 registers: all that a snapshot or a state hash needs, in the order in which they may be set again.

MSR comes last of the architecture's own: writing it recomputes the engine's translation flags. The last group is
state that the processor has but no program can read: reservation, process table location, copy buffer, progress watch of
the interrupt entry.
"ISA" is Power ISA 3.1B. Bits are numbered from the least significant here, as everywhere in vmemu.
"""

from __future__ import annotations

from vmemu.isa.base import Field, Format, Register, bit

MSR = Format(
    "MSR",
    (
        bit("SF", 63), bit("HV", 60), bit("TM", 32), bit("VEC", 25), bit("VSX", 23), bit("EE", 15), bit("PR", 14),
        bit("FP", 13), bit("ME", 12), bit("FE0", 11), Field("TE", 10, 9), bit("FE1", 8), bit("IR", 5), bit("DR", 4),
        bit("PMM", 2), bit("RI", 1), bit("LE", 0),
    ),
    "ISA Book III 4.2.1",
)  # fmt: skip
DSISR = Format(
    "DSISR",
    (
        bit("NOPTE", 30), bit("PROTFAULT", 27), bit("STORE", 25), bit("KEYFAULT", 21), bit("BADCONFIG", 19),
        bit("ATOMIC_RC", 18), bit("PRTABLE", 17), bit("UE_LOADSTORE", 15),
    ),
    "ISA Book III 7.5.3",
)  # fmt: skip
SRR1 = Format(
    "SRR1",
    (
        bit("SF", 63), bit("NOPTE", 30), bit("NOEXEC", 28), bit("PROTFAULT", 27), bit("KEYFAULT", 21),
        bit("FP_EXC", 20), bit("ILLEGAL", 19), bit("PRIVILEGED", 18), bit("TRAP", 17), bit("EE", 15), bit("PR", 14),
        bit("FP", 13), bit("ME", 12), bit("IR", 5), bit("DR", 4), bit("RI", 1), bit("LE", 0),
    ),
    "ISA Book III 7.5; bits of different interrupts share positions",
)  # fmt: skip
LPCR = Format(
    "LPCR",
    (bit("ILE", 25), Field("AIL", 24, 23), bit("UPRT", 22), bit("HR", 20), bit("GTSE", 10)),
    "ISA Book III 2.2",
)
XER = Format("XER", (bit("SO", 31), bit("OV", 30), bit("CA", 29), bit("OV32", 19), bit("CA32", 18)), "ISA Book I 3.2.2")
PROCESS_ENTRY = Format(
    "process table entry, doubleword 0",
    (Field("RTS1", 62, 61), Field("RPDB", 59, 8), Field("RTS2", 7, 5), Field("RPDS", 4, 0)),
    "ISA Book III 6.7.6.2; RPDB is the root's address divided by 256",
)
PDE = Format(
    "radix page directory entry",
    (bit("V", 63), bit("L", 62), Field("NLB", 59, 8), Field("NLS", 4, 0)),
    "ISA Book III 6.7.10.1",
)
PTE = Format(
    "radix page table entry",
    (
        bit("V", 63), bit("L", 62), Field("RPN", 56, 12), bit("R", 8), bit("C", 7), Field("ATT", 5, 4), bit("PRIV", 3),
        bit("READ", 2), bit("WRITE", 1), bit("EXEC", 0),
    ),
    "ISA Book III 6.7.10.2",
)  # fmt: skip

#: Special-purpose registers that are plain doublewords in the engine: name, number, privilege group, layout.
SPRS: tuple[tuple[str, int, str, Format | None], ...] = (
    ("dsisr", 18, "system", DSISR), ("dar", 19, "system", None), ("srr0", 26, "system", None),
    ("srr1", 27, "system", SRR1), ("amr", 29, "system", None), ("pidr", 48, "system", None),
    ("iamr", 61, "system", None), ("dscr", 17, "system", None), ("tfhar", 128, "special", None),
    ("tfiar", 129, "special", None),
    ("texasr", 130, "special", None), ("uctrl", 136, "special", None), ("tidr", 144, "special", None),
    ("ctrl", 152, "system", None), ("fscr", 153, "system", None), ("uamor", 157, "system", None),
    ("pspb", 159, "system", None), ("dawr", 180, "system", None), ("rpr", 186, "system", None),
    ("ciabr", 187, "system", None), ("dawrx", 188, "system", None), ("vrsave", 256, "special", None),
    ("sprg0", 272, "system", None), ("sprg1", 273, "system", None), ("sprg2", 274, "system", None),
    ("sprg3", 275, "system", None), ("lpcr", 318, "hypervisor", LPCR), ("pir", 1023, "system", None),
    ("sier", 784, "pmu", None), ("mmcr2", 785, "pmu", None), ("mmcra", 786, "pmu", None), ("pmc1", 787, "pmu", None),
    ("pmc2", 788, "pmu", None), ("pmc3", 789, "pmu", None), ("pmc4", 790, "pmu", None), ("pmc5", 791, "pmu", None),
    ("pmc6", 792, "pmu", None), ("mmcr0", 795, "pmu", None), ("siar", 796, "pmu", None), ("sdar", 797, "pmu", None),
    ("mmcr1", 798, "pmu", None), ("mmcrc", 851, "pmu", None), ("bescr", 806, "special", None),
    ("ebbhr", 804, "special", None), ("ebbrr", 805, "special", None), ("tar", 815, "special", None),
    ("ppr", 896, "special", None), ("ic", 848, "system", None), ("tacr", 888, "system", None),
    ("tcscr", 889, "system", None), ("csigr", 890, "system", None), ("spmc1", 892, "pmu", None),
    ("spmc2", 893, "pmu", None), ("mmcrs", 894, "pmu", None), ("wort", 895, "system", None),
    ("acop", 31, "system", None),
)  # fmt: skip

REGISTERS: tuple[Register, ...] = (
    *(Register(f"r{i}") for i in range(32)),
    Register("pc"),
    Register("lr"),
    Register("ctr"),
    Register("cr", 32),
    Register("xer", 64, format=XER),
    Register("cfar", group="system"),
    *(Register(name, group=group, format=fmt, source=f"SPR {number}") for name, number, group, fmt in SPRS),
    # VSR n = (hi, lo); hi of the first 32 are the floating-point registers, the last 32 are the vector registers
    *(Register(f"vs{i}_{half}", group="vector") for i in range(64) for half in ("hi", "lo")),
    Register("vscr", 32, group="vector"),
    Register("vscr_sat_hi", group="vector"),
    Register("vscr_sat_lo", group="vector"),
    Register("fpscr", 32, uc="UC_PPC_REG_FPSCR", group="vector"),
    Register("msr", group="system", format=MSR),
    Register("reserve_addr", group="hidden", source="address of the lwarx/ldarx reservation, all ones: none"),
    Register("reserve_val", group="hidden"),
    Register("reserve_val2", group="hidden"),
    Register("prtbl", group="hidden", source="process table base | log2(bytes) - 12; all ones: none"),
    Register("copied", group="hidden", source="1: the buffer of copy and paste. is full (ISA Book II 4.4)"),
    *(Register(f"copy{i}", group="hidden", source=f"its bytes {8 * i} to {8 * i + 7}") for i in range(16)),
    Register("stall_insns", group="hidden", source="instruction count at the last interrupt entry"),
    Register("stalls", group="hidden", source="interrupt entries since then"),
)
#: Register name -> SPR number.
SPR_NUMBER = {name: number for name, number, _, _ in SPRS}
