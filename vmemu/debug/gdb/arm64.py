# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64 for gdb (GDB manual, G.5.1 "AArch64 Features")."""

from __future__ import annotations

from vmemu.core import CoreVcpu
from vmemu.debug.gdb.slots import Feature, Parts, Port, Slot, whole
from vmemu.debug.gdb.vectors import union128


def _sp(vcpu: CoreVcpu) -> Parts:
    """The one in use: PSTATE.SPSel chooses above EL0 (DDI 0487 D1.6.2)."""
    return (("sp_el1" if vcpu.get("pstate") & 0xD == 5 else "sp_el0", 64),)


PORT = Port(
    "aarch64",
    (
        Feature(
            "org.gnu.gdb.aarch64.core",
            (
                *(whole(f"x{i}", 64, "int") for i in range(31)),
                Slot("sp", 64, "data_ptr", _sp),
                whole("pc", 64, "code_ptr"),
                whole("cpsr", 32, "PSTATE", "pstate"),
            ),
        ),
        Feature(
            "org.gnu.gdb.aarch64.fpu",
            (
                *(Slot(f"v{i}", 128, "vec128", ((f"v{i}_lo", 64), (f"v{i}_hi", 64)), "vector") for i in range(32)),
                whole("fpsr", 32, "int", group="float"),
                whole("fpcr", 32, "int", group="float"),
            ),
            union128("vec128"),
        ),
    ),
    "pc",
    "sp",
    lambda vcpu: vcpu.get("pstate") & 0xC == 0,
    4,
    ("pc", "sp", "x29", "x30"),
)
