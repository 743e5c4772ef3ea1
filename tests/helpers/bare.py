# SPDX-License-Identifier: GPL-2.0-or-later
"""Bare guests for tests (vmemu.lab.bare), and the same code on plain Unicorn."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import Any

import unicorn
from unicorn import arm64_const, ppc_const, x86_const

from vmemu.core import PAGE_SIZE
from vmemu.lab import bare
from vmemu.lab.assembler import ASSEMBLERS
from vmemu.lab.bare import CODE, DATA, ISAS, RAM, STACK, TABLES, assembler, ended

__all__ = [
    "CODE", "DATA", "ISAS", "PAGE_SIZE", "RAM", "Guest", "State", "Trace", "assembler", "ended", "trace",
]


@dataclass(frozen=True)
class State:
    """Everything that must not depend on where a run was stopped."""

    insns: int
    cycles: int
    registers: dict[str, int]
    memory: int
    stats: dict[str, int]


class Guest(bare.Guest):
    """With `fill` data pages that hold a pattern from the start."""

    def __init__(self, isa: str, code: bytes, *, fill: int = 0, **options: Any) -> None:
        super().__init__(isa, code, **options)
        rng = random.Random(fill)
        for page in range(fill):
            self.write(DATA + page * PAGE_SIZE, rng.randbytes(64))

    def state(self) -> State:
        stats = {k: n for k, n in self.machine.stats().items() if k != "flushes"}
        memory = hash(tuple(self.peek(i) for i in range(self.pages)))
        return State(self.vcpu.insns, self.vcpu.cycles, self.vcpu.registers(), memory, stats)


@dataclass(frozen=True)
class Trace:
    """What plain Unicorn did: the address of each instruction, the assembler's registers, memory, and with `accesses` each access:
    index of its instruction, "r" or "w", address, size."""

    pcs: list[int]
    registers: tuple[int, ...]
    memory: bytes
    accesses: list[tuple[int, str, int, int]] = field(default_factory=list)


def trace(isa: str, code: bytes, *, pages: int = 512, fill: int = 0, accesses: bool = False) -> Trace:
    """Run on Unicorn's own Python binding with a hook on every instruction: an independent count."""
    arch, mode = {
        "x86_64": (unicorn.UC_ARCH_X86, unicorn.UC_MODE_64),
        "arm64": (unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM),
        "ppc64": (unicorn.UC_ARCH_PPC, unicorn.UC_MODE_PPC64 | unicorn.UC_MODE_BIG_ENDIAN),
    }[isa]
    uc = unicorn.Uc(arch, mode)
    base = RAM[isa]
    if isa == "ppc64":  # the only way its 64-bit model works
        uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
    uc.mem_map(base, pages * PAGE_SIZE)
    if isa == "x86_64":
        uc.mem_write(TABLES, struct.pack("<Q", TABLES + 0x1000 | 3))
        uc.mem_write(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 | 3))
        uc.mem_write(TABLES + 0x2000, b"".join(struct.pack("<Q", i << 21 | 0x83) for i in range(512)))
    uc.mem_write(base + CODE, code)
    rng = random.Random(fill)
    for page in range(fill):
        uc.mem_write(base + DATA + page * PAGE_SIZE, rng.randbytes(64))
    pcs: list[int] = []

    def on_insn(_: Any, address: int, size: int, user: object) -> None:
        pcs.append(address)

    uc.hook_add(unicorn.UC_HOOK_CODE, on_insn)
    seen: list[tuple[int, str, int, int]] = []

    def on_access(_: Any, kind: int, address: int, size: int, value: int, user: object) -> None:
        seen.append((len(pcs) - 1, "w" if kind == unicorn.UC_MEM_WRITE else "r", address, size))

    if accesses:
        uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, on_access)
    if isa == "ppc64":

        def on_intr(engine: Any, number: int, user: object) -> None:
            engine.emu_stop()

        uc.hook_add(unicorn.UC_HOOK_INTR, on_intr)
        uc.reg_write(ppc_const.UC_PPC_REG_MSR, 1 << 63 | 1 << 12)
    elif isa == "x86_64":
        uc.reg_write(x86_const.UC_X86_REG_RSP, STACK)
    uc.emu_start(base + CODE, 0)
    const, prefix = {"x86_64": (x86_const, "X86"), "arm64": (arm64_const, "ARM64"), "ppc64": (ppc_const, "PPC")}[isa]
    names = ASSEMBLERS[isa].regs if isa != "ppc64" else [r[1:] for r in ASSEMBLERS[isa].regs]
    registers = tuple(uc.reg_read(getattr(const, f"UC_{prefix}_REG_{n.upper()}")) for n in names)
    return Trace(pcs, registers, bytes(uc.mem_read(base, pages * PAGE_SIZE)), seen)
