# SPDX-License-Identifier: GPL-2.0-or-later
"""What exceptions are called, by architecture."""

from __future__ import annotations

from vmemu.core import Event
from vmemu.core.events import EventKind

#: SDM 3A, table 6-1.
X86 = (
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "vector 9", "#TS", "#NP", "#SS", "#GP", "#PF", "vector 15",
    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
)  # fmt: skip
#: ESR_ELx.EC (DDI 0487 D24.2.40).
ARM64 = {
    0x00: "undefined", 0x01: "WFx", 0x07: "FP access", 0x0E: "illegal state", 0x15: "syscall", 0x16: "HVC", 0x17: "SMC",
    0x18: "system register",
    0x20: "instruction abort", 0x21: "instruction abort", 0x22: "PC alignment", 0x24: "data abort", 0x25: "data abort",
    0x26: "SP alignment", 0x2F: "SError", 0x3C: "BRK",
}  # fmt: skip
#: Power ISA 3.0B, Book III, figure 65.
PPC64 = {
    0x100: "system reset", 0x200: "machine check", 0x300: "data storage", 0x380: "data segment", 0x400: "instruction storage",
    0x480: "instruction segment", 0x500: "external", 0x600: "alignment", 0x700: "program", 0x800: "FP unavailable",
    0x900: "decrementer", 0xA00: "doorbell", 0xC00: "syscall", 0xD00: "trace", 0xF20: "vector unavailable", 0xF40: "VSX unavailable",
    0xF60: "facility unavailable",
}  # fmt: skip
_ARM_LINES = {1: "IRQ", 2: "FIQ", 3: "SError"}


def entry_name(isa: str, event: Event) -> str:
    """Name of the handler that an EXCEPTION, IRQ, SYSCALL or FIRMWARE_EVENT event enters."""
    if event.kind == EventKind.SYSCALL:
        return "syscall"
    if event.kind == EventKind.FIRMWARE_EVENT:
        return f"firmware event {event.a:#x}"
    if isa == "x86_64":
        if event.kind == EventKind.IRQ and event.a != 2:
            return f"IRQ {event.a:#x}"
        return X86[event.a] if event.a < len(X86) else f"vector {event.a:#x}"
    if isa == "arm64":
        if event.kind == EventKind.IRQ:
            return _ARM_LINES.get(event.a & 3, "IRQ")
        return ARM64.get(event.c >> 26 & 0x3F, f"exception class {event.c >> 26 & 0x3F:#x}")
    return PPC64.get(event.a, f"vector {event.a:#x}")
