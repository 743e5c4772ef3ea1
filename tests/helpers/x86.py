# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare long-mode machine with descriptor tables, for tests of x86-64 exceptions.

Handler of vector n is one HLT at HANDLERS + 16 n, so the PC of the halt tells the vector.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from vmemu.core import CoreMachine, CoreVcpu, Exit

TABLES, GDT, IDT, TSS, HANDLERS = 0x1000, 0x5000, 0x6000, 0x7000, 0x8000
STACK, RSP0, IST1 = 0x10000, 0x12000, 0x14000
CODE, DATA = 0x20000, 0x40000
PAGES = 512
KCODE, KDATA, UDATA, UCODE, TSS_SELECTOR = 0x08, 0x10, 0x18, 0x20, 0x28
DESCRIPTORS = (0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF)

Io = Callable[[CoreVcpu, int, int, int, Any], tuple[int, Any]]


def gate(
    address: int, *, selector: int = KCODE, kind: int = 0xE, dpl: int = 0, ist: int = 0, present: int = 1
) -> bytes:
    """A 64-bit interrupt (0xE) or trap (0xF) gate (SDM 3, figure 6-8)."""
    low = address & 0xFFFF | selector << 16 | (address >> 16 & 0xFFFF) << 48
    return struct.pack("<QQ", low | ist << 32 | kind << 40 | dpl << 45 | present << 47, address >> 32)


class Pc64:
    """Identity-mapped first 2 MiB in 4 KiB pages, all user accessible; page DATA + 0x10000 is not present."""

    def __init__(self, code: bytes, *, cpl: int = 0, frames: int = PAGES, io: Io = lambda *_: (0, 0)) -> None:
        self.core = CoreMachine("x86_64", frames, [(0, PAGES * 4096)], io)
        self.core.use_c_store()
        self.vcpu = self.core.add_vcpu()
        self._tables()
        self._segments(cpl)
        self.put(CODE, code)
        v = self.vcpu
        v.set("rip", CODE)
        v.set("rsp", STACK)
        v.set("rflags", 2)

    def put(self, address: int, data: bytes) -> None:
        while data:
            part = data[: 4096 - address % 4096]
            self.core.ensure(self.vcpu, address, True)
            assert self.core.write_resident(address, part) == len(part)
            address, data = address + len(part), data[len(part) :]

    def get(self, address: int, words: int) -> tuple[int, ...]:
        """Quadwords inside one page."""
        self.core.ensure(self.vcpu, address, False)
        return struct.unpack(f"<{words}Q", self.core.read_resident(address, 8 * words))

    def _tables(self) -> None:
        self.put(TABLES, struct.pack("<Q", TABLES + 0x1000 | 7))
        self.put(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 | 7))
        self.put(TABLES + 0x2000, struct.pack("<Q", TABLES + 0x3000 | 7))
        entries = [page << 12 | 7 for page in range(PAGES)]
        entries[(DATA + 0x10000) >> 12] = 0
        self.put(TABLES + 0x3000, struct.pack(f"<{PAGES}Q", *entries))
        for name, value in (("cr3", TABLES), ("cr4", 1 << 5 | 1 << 6 | 1 << 9), ("efer", 0xD01), ("cr0", 0x80010011)):
            self.vcpu.set(name, value)

    def _segments(self, cpl: int) -> None:
        v = self.vcpu
        tss = bytearray(104)
        struct.pack_into("<Q", tss, 4, RSP0)
        struct.pack_into("<Q", tss, 36, IST1)
        self.put(TSS, bytes(tss))
        self.put(GDT, struct.pack("<7Q", *DESCRIPTORS, 103 | TSS << 16 | 0x8B << 40, 0))
        self.put(IDT, b"".join(gate(HANDLERS + 16 * n, dpl=3 if n >= 0x80 else 0) for n in range(256)))
        self.put(HANDLERS, b"".join(b"\xf4".ljust(16, b"\xf4") for _ in range(256)))
        code, data = (UCODE | 3, UDATA | 3) if cpl == 3 else (KCODE, KDATA)
        for name, value in (("cs", code), ("ss", data), ("ds", data), ("es", data)):
            descriptor = DESCRIPTORS[value >> 3]
            v.set(name, value)
            v.set(f"{name}_base", 0)
            v.set(f"{name}_limit", 0xFFFFFFFF)
            v.set(f"{name}_flags", descriptor >> 32 & 0xF0FF00)
        for name, value in (("tr", TSS_SELECTOR), ("tr_base", TSS), ("tr_limit", 103), ("tr_flags", 0x8B00)):
            v.set(name, value)
        for name, base, limit in (("gdt", GDT, 7 * 8 - 1), ("idt", IDT, 0xFFF)):
            v.set(f"{name}_base", base)
            v.set(f"{name}_limit", limit)
        v.set("hflags", v.get("hflags") & ~3 | cpl)

    def run(self, limit: int = 100_000) -> Exit:
        return self.vcpu.run(insn_limit=self.vcpu.insns + limit)

    def vector(self, exit: Exit) -> int:
        """The vector whose handler halted."""
        assert HANDLERS < exit.pc <= HANDLERS + 0x1000, exit
        return (exit.pc - 1 - HANDLERS) // 16
