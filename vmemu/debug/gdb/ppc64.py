# SPDX-License-Identifier: GPL-2.0-or-later
"""ppc64 for gdb (GDB manual, G.5.12 "PowerPC Features")."""

from __future__ import annotations

from vmemu.debug.gdb.slots import Feature, Port, Slot, whole
from vmemu.debug.gdb.vectors import union128
from vmemu.isa.ppc64.registers import MSR

PORT = Port(
    "powerpc:common64",
    (
        Feature(
            "org.gnu.gdb.power.core",
            (
                *(whole(f"r{i}", 64, "uint64") for i in range(32)),
                whole("pc", 64, "code_ptr"),
                whole("msr", 64, "MSR"),
                whole("cr", 32, "uint32"),
                whole("lr", 64, "code_ptr"),
                whole("ctr", 64, "uint64"),
                Slot("xer", 32, "uint32", (("xer", 32),)),
            ),
        ),
        Feature(
            "org.gnu.gdb.power.fpu",
            (
                *(whole(f"f{i}", 64, "ieee_double", f"vs{i}_hi", "float") for i in range(32)),
                Slot("fpscr", 64, "int", (("fpscr", 32),), "float"),
            ),
        ),
        Feature(
            "org.gnu.gdb.power.altivec",
            (
                # VSRs 32 to 63 (Power ISA 3.1B, Book I 7.2.1)
                *(Slot(f"vr{i}", 128, "vec128", ((f"vs{i + 32}_lo", 64), (f"vs{i + 32}_hi", 64)), "vector") for i in range(32)),
                whole("vscr", 32, "int", group="vector"),
                Slot("vrsave", 32, "int", (("vrsave", 32),), "vector"),
            ),
            union128("vec128"),
        ),
        Feature(
            "org.gnu.gdb.power.vsx",
            tuple(whole(f"vs{i}h", 64, "uint64", f"vs{i}_lo", "vector") for i in range(32)),
        ),
    ),
    "pc",
    "r1",
    lambda vcpu: bool(MSR.get(vcpu.get("msr"), "PR")),
    4,
    ("pc", "r1", "lr"),
)
