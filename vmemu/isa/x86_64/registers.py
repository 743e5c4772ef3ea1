# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 registers: all that a snapshot or a state hash needs, in the order in which they may be set again.

Control registers come before `hflags`, which is Unicorn's own summary of the mode: setting CR0, CR4, EFER or a segment
recomputes it, and setting it last makes a restored vCPU exact to the bit.
"SDM" is Intel's Software Developer's Manual, volume 3.
"""

from __future__ import annotations

from vmemu.isa.base import Field, Format, Register, bit

RFLAGS = Format(
    "RFLAGS",
    (
        bit("CF", 0), bit("PF", 2), bit("AF", 4), bit("ZF", 6), bit("SF", 7), bit("TF", 8), bit("IF", 9), bit("DF", 10),
        bit("OF", 11), Field("IOPL", 13, 12), bit("NT", 14), bit("RF", 16), bit("VM", 17), bit("AC", 18), bit("ID", 21),
    ),
    "SDM 2.3",
)  # fmt: skip
CR0 = Format(
    "CR0",
    (
        bit("PE", 0), bit("MP", 1), bit("EM", 2), bit("TS", 3), bit("ET", 4), bit("NE", 5), bit("WP", 16),
        bit("AM", 18), bit("NW", 29), bit("CD", 30), bit("PG", 31),
    ),
    "SDM 2.5",
)  # fmt: skip
CR4 = Format(
    "CR4",
    (
        bit("VME", 0), bit("PVI", 1), bit("TSD", 2), bit("DE", 3), bit("PSE", 4), bit("PAE", 5), bit("MCE", 6),
        bit("PGE", 7), bit("PCE", 8), bit("OSFXSR", 9), bit("OSXMMEXCPT", 10), bit("UMIP", 11), bit("FSGSBASE", 16),
        bit("PCIDE", 17), bit("OSXSAVE", 18), bit("SMEP", 20), bit("SMAP", 21),
    ),
    "SDM 2.5",
)  # fmt: skip
EFER = Format("EFER", (bit("SCE", 0), bit("LME", 8), bit("LMA", 10), bit("NXE", 11), bit("SVME", 12)), "SDM 2.2.1")
PF_ERROR = Format(
    "#PF error",
    (bit("P", 0), bit("W", 1), bit("U", 2), bit("RSVD", 3), bit("I", 4)),
    "SDM 4.7",
)
PTE = Format(
    "PTE",
    (
        bit("P", 0), bit("RW", 1), bit("US", 2), bit("PWT", 3), bit("PCD", 4), bit("A", 5), bit("D", 6), bit("PS", 7),
        bit("G", 8), Field("ADDR", 51, 12), bit("NX", 63),
    ),
    "SDM 4.5",
)  # fmt: skip
SEGMENT_FLAGS = Format(
    "segment",
    (
        Field("TYPE", 11, 8), bit("S", 12), Field("DPL", 14, 13), bit("P", 15), bit("AVL", 20), bit("L", 21),
        bit("B", 22), bit("G", 23),
    ),
    "SDM 3.4.5, upper half of the descriptor in place",
)  # fmt: skip

GPRS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{i}" for i in range(8, 16)))
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")


def _general() -> list[Register]:
    regs = [Register(n, 64, f"UC_X86_REG_{n.upper()}") for n in GPRS]
    regs.append(Register("rip", 64, "UC_X86_REG_RIP"))
    regs.append(Register("rflags", 64, "UC_X86_REG_RFLAGS", format=RFLAGS))
    return regs


def _segments() -> list[Register]:
    regs = []
    for name in (*SEGMENTS, "ldt", "tr"):
        regs.append(Register(name, 16, group="segment"))
        regs.append(Register(f"{name}_base", 64, group="segment"))
        regs.append(Register(f"{name}_limit", 32, group="segment"))
        regs.append(Register(f"{name}_flags", 32, group="segment", format=SEGMENT_FLAGS))
    for name in ("gdt", "idt"):
        regs.append(Register(f"{name}_base", 64, group="segment"))
        regs.append(Register(f"{name}_limit", 32, group="segment"))
    return regs


def _control() -> list[Register]:
    return [
        Register("cr0", 64, group="control", format=CR0),
        Register("cr2", 64, group="control"),
        Register("cr3", 64, group="control"),
        Register("cr4", 64, group="control", format=CR4),
        Register("efer", 64, group="control", format=EFER),
        *(Register(f"dr{i}", 64, group="debug") for i in (0, 1, 2, 3, 6, 7)),
    ]


def _model_specific() -> list[Register]:
    names = ("star", "lstar", "cstar", "fmask", "kernel_gs_base", "sysenter_cs", "sysenter_esp", "sysenter_eip")
    others = ("tsc_aux", "tsc_offset", "pat", "xcr0", "mcg_status", "mc0_status", "mc0_addr", "mc0_misc")
    return [Register(n, 32 if n == "sysenter_cs" else 64, group="msr") for n in (*names, *others)]


def _float() -> list[Register]:
    regs = [
        Register("fpcw", 16, "UC_X86_REG_FPCW", group="float"),
        Register("fpsw", 16, "UC_X86_REG_FPSW", group="float"),
        Register("fptag", 16, "UC_X86_REG_FPTAG", group="float"),
        Register("mxcsr", 32, "UC_X86_REG_MXCSR", group="float"),
    ]
    for i in range(8):
        regs.append(Register(f"fp{i}_lo", 64, group="float"))
        regs.append(Register(f"fp{i}_hi", 16, group="float"))
    for i in range(16):
        regs.append(Register(f"xmm{i}_lo", 64, group="simd"))
        regs.append(Register(f"xmm{i}_hi", 64, group="simd"))
    return regs


def _hidden() -> list[Register]:
    return [
        Register("hflags", 32, group="hidden", source="summary of the mode; bits 1:0 are CPL, bit 3 the STI shadow"),
        Register("hflags2", 32, group="hidden", source="bit 0 GIF, bit 2 an NMI is being served"),
    ]


REGISTERS: tuple[Register, ...] = tuple(
    _general() + _segments() + _control() + _model_specific() + _float() + _hidden()
)
