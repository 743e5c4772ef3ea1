# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions that the host must see: Unicorn runs them wrongly for a guest, or not at all.

`how` names the mechanism: "code" = an address hook set when a page is translated (sense_x86_64.c), "insn" = Unicorn's
own instruction hooks (insn_x86_64.c), "invalid" = undefined on Unicorn's CPU model, served in trap (entry_x86_64.c).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """Opcode bytes after any prefixes; `reg` is the ModRM reg field where it belongs to the opcode."""

    name: str
    opcode: bytes
    how: str
    why: str
    reg: int | None = None


SENSITIVE: tuple[Pattern, ...] = (
    Pattern("wrmsr", b"\x0f\x30", "code", "unknown MSRs are ignored, reserved bits never fault"),
    Pattern("rdmsr", b"\x0f\x32", "code", "unknown MSRs read zero"),
    Pattern("mov_from_cr", b"\x0f\x20", "code", "CR8 reads zero: there is no local APIC inside"),
    Pattern("mov_to_cr", b"\x0f\x22", "code", "reserved bits of CR0, CR3, CR4 never fault; CR8 goes nowhere"),
    Pattern("rdrand", b"\x0f\xc7", "code", "host randomness", 6),
    Pattern("ltr", b"\x0f\x00", "code", "a null selector makes a later far call abort the process", 3),
    Pattern("syscall", b"\x0f\x05", "insn", "does nothing by itself"),
    Pattern("sysenter", b"\x0f\x34", "insn", "does nothing by itself"),
    Pattern("cpuid", b"\x0f\xa2", "insn", "the board decides"),
    Pattern("rdtsc", b"\x0f\x31", "insn", "host time"),
    Pattern("rdtscp", b"\x0f\x01\xf9", "insn", "host time"),
    Pattern("in", b"\xec", "insn", "devices"),
    Pattern("out", b"\xee", "insn", "devices"),
    Pattern("vmcall", b"\x0f\x01\xc1", "invalid", "hypercall"),
    Pattern("vmmcall", b"\x0f\x01\xd9", "invalid", "hypercall"),
)
