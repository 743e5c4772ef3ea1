# SPDX-License-Identifier: GPL-2.0-or-later
"""Bare guests: code in an empty machine, without firmware, board or kernel. For benchmarks and tests of the engine."""

from __future__ import annotations

import struct
from typing import Any

from vmemu.clock.inject import Injector
from vmemu.core import NO_LIMIT, PAGE_SIZE, CoreMachine, CoreVcpu, Exit, ExitKind, S2Result
from vmemu.errors import EngineError
from vmemu.lab.assembler import ASSEMBLERS, Assembler
from vmemu.memory.latency import parse_latency
from vmemu.memory.memory import Memory
from vmemu.memory.store import parse_store

ISAS = ("x86_64", "arm64", "ppc64")
CPU_HZ = 2_000_000_000
RAM = {"x86_64": 0, "arm64": 0x40000000, "ppc64": 0}
#: Offsets in RAM. x86 keeps its identity map at TABLES; the stack grows down from STACK.
TABLES, STACK, CODE, DATA = 0x1000, 0x10000, 0x20000, 0x40000


def assembler(isa: str, offset: int = CODE) -> Assembler:
    return ASSEMBLERS[isa](RAM[isa] + offset)


class Guest:
    """One vCPU in the flat mode of its architecture (x86: long mode over an identity map of 1 GiB).

    Args:
        code: bytes for offset CODE of RAM, where the vCPU starts.
        pages: size of RAM. frames: resident limit in pages; None = all of memory.
        store: "c" for the C unit's own, or the text of a --store that Python serves.
        latency: as --latency.
    """

    def __init__(self, isa: str, code: bytes, *, pages: int = 512, frames: int | None = None, store: str = "c",
                 latency: str = "none") -> None:
        self.isa, self.base, self.pages = isa, RAM[isa], pages
        self.machine = CoreMachine(isa, frames or pages, [(self.base, pages * PAGE_SIZE)], self._io)
        self.memory: Memory | None = None
        if store == "c":
            self.machine.use_c_store()
        else:
            spec, delay = parse_store(store), parse_latency(latency)
            self.memory = Memory(self.machine, spec, delay, Injector.parse(()), CPU_HZ)
        self.vcpu: CoreVcpu = self.machine.add_vcpu()
        if isa == "x86_64":
            self._long_mode()
        elif isa == "ppc64":
            self.vcpu.set("msr", 1 << 63 | 1 << 12)  # SF, ME: 64-bit real mode
        self.write(CODE, code)
        self.restart()

    def _io(self, vcpu: CoreVcpu, kind: int, address: int, size: int, value: Any) -> tuple[int, Any]:
        raise EngineError(f"unexpected device access {kind} at {address:#x}")

    def _long_mode(self) -> None:
        self.write(TABLES, struct.pack("<Q", TABLES + 0x1000 | 3))
        self.write(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 | 3))
        self.write(TABLES + 0x2000, b"".join(struct.pack("<Q", i << 21 | 0x83) for i in range(512)))
        v = self.vcpu
        v.set("cr3", TABLES)
        v.set("cr4", 1 << 5 | 1 << 9)  # PAE, OSFXSR
        v.set("efer", 1 << 8 | 1 << 10 | 1 << 11)  # LME, LMA, NXE
        v.set("cr0", 1 << 31 | 1 << 16 | 1 << 4 | 1)  # PG, WP, ET, PE
        for name, flags in (("cs", 0xA09B00), ("ds", 0xC09300), ("es", 0xC09300), ("ss", 0xC09300)):
            v.set(f"{name}_base", 0)
            v.set(f"{name}_limit", 0xFFFFFFFF)
            v.set(f"{name}_flags", flags)
        v.set("rsp", STACK)

    def restart(self) -> None:
        """Back to the first instruction; registers and memory stay."""
        self.vcpu.set("rip" if self.isa == "x86_64" else "pc", self.base + CODE)
        self.vcpu.halted = False

    def write(self, offset: int, data: bytes) -> None:
        """Bytes at an offset of RAM, paged in as needed."""
        done = 0
        while done < len(data):
            self._need(offset + done)
            part = data[done : done + PAGE_SIZE - (offset + done) % PAGE_SIZE]
            done += self.machine.write_resident(self.base + offset + done, part)

    def _need(self, offset: int) -> None:
        gpa = self.base + offset
        if self.memory is not None:
            ok = self.memory.serve(None, gpa)
        else:
            ok = self.machine.ensure(None, gpa, True) is S2Result.OK
        if not ok:
            raise EngineError(f"no page at {gpa:#x}")

    def run(self, insn_limit: int = NO_LIMIT, cycle_limit: int = NO_LIMIT) -> Exit:
        """Until something other than a missing page ends it."""
        while True:
            x = self.vcpu.run(cycle_limit, insn_limit)
            if x.kind != ExitKind.STAGE2:
                return x
            if self.memory is None or not self.memory.serve(self.vcpu, x.gpa):
                raise EngineError(f"page at {x.gpa:#x} is lost")

    def peek(self, index: int) -> bytes | None:
        """Content of page `index` of RAM wherever it lies; None when it is lost."""
        return self.machine.page_bytes_cstore(index) if self.memory is None else self.memory.peek(index)

    def get(self, n: int) -> int:
        """Register `n` of the assembler's."""
        return self.vcpu.get(ASSEMBLERS[self.isa].regs[n])


def ended(x: Exit) -> bool:
    """The code reached the assembler's `halt`."""
    return x.kind in (ExitKind.HALT, ExitKind.HCALL)
