# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 for gdb (GDB manual, G.5.19 "i386 Features"): names and order are gdb's, not the processor's."""

from __future__ import annotations

from vmemu.core import CoreVcpu
from vmemu.debug.gdb.slots import Feature, Parts, Port, Slot, whole
from vmemu.debug.gdb.vectors import union128

_GPRS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{i}" for i in range(8, 16)))
_POINTERS = {"rbp": "data_ptr", "rsp": "data_ptr"}


def _stack(i: int) -> Slot:
    """ST(i): the physical register depends on TOP, bits 13:11 of the status word (SDM 1, 8.1.2 and 8.1.3)."""

    def parts(vcpu: CoreVcpu) -> Parts:
        place = (vcpu.get("fpsw") >> 11) + i & 7
        return (f"fp{place}_lo", 64), (f"fp{place}_hi", 16)

    return Slot(f"st{i}", 80, "i387_ext", parts, "float")


def _x87(name: str, own: str | None) -> Slot:
    return Slot(name, 32, "int", ((own, 16),) if own else (), "float")


PORT = Port(
    "i386:x86-64",
    (
        Feature(
            "org.gnu.gdb.i386.core",
            (
                *(whole(name, 64, _POINTERS.get(name, "int64")) for name in _GPRS),
                whole("rip", 64, "code_ptr"),
                Slot("eflags", 32, "RFLAGS", (("rflags", 32),)),
                *(Slot(name, 32, "int32", ((name, 16),)) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
                *(_stack(i) for i in range(8)),
                _x87("fctrl", "fpcw"), _x87("fstat", "fpsw"), _x87("ftag", "fptag"),
                *(_x87(name, None) for name in ("fiseg", "fioff", "foseg", "fooff", "fop")),
            ),
        ),
        Feature(
            "org.gnu.gdb.i386.sse",
            (
                *(Slot(f"xmm{i}", 128, "vec128", ((f"xmm{i}_lo", 64), (f"xmm{i}_hi", 64)), "vector") for i in range(16)),
                whole("mxcsr", 32, "int", group="vector"),
            ),
            union128("vec128"),
        ),
        Feature("org.gnu.gdb.i386.segments", tuple(whole(name, 64, "int") for name in ("fs_base", "gs_base"))),
    ),
    "rip",
    "rsp",
    lambda vcpu: vcpu.get("cs") & 3 == 3,
    2,
    ("rip", "rsp", "rbp"),
    after_write=True,
)  # fmt: skip
