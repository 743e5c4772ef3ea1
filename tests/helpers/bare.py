# SPDX-License-Identifier: GPL-2.0-or-later
"""Bare guests: code in an empty machine, without firmware, board or kernel; and the same code on plain Unicorn."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import Any

import unicorn
from helpers.assembler import ASSEMBLERS, Assembler
from unicorn import arm64_const, ppc_const, x86_const

from vmemu.clock.inject import Injector
from vmemu.core import NO_LIMIT, PAGE_SIZE, CoreMachine, CoreVcpu, Exit, ExitKind
from vmemu.memory.latency import parse_latency
from vmemu.memory.memory import Memory
from vmemu.memory.store import parse_store

ISAS = ("x86_64", "arm64", "ppc64")
RAM = {"x86_64": 0, "arm64": 0x40000000, "ppc64": 0}
#: Offsets in RAM. x86 keeps its identity map at TABLES; the stack grows down from STACK.
TABLES, STACK, CODE, DATA = 0x1000, 0x10000, 0x20000, 0x40000


def assembler(isa: str, offset: int = CODE) -> Assembler:
    return ASSEMBLERS[isa](RAM[isa] + offset)


@dataclass(frozen=True)
class State:
    """Everything that must not depend on where a run was stopped."""

    insns: int
    cycles: int
    registers: dict[str, int]
    memory: int
    stats: dict[str, int]


class Guest:
    """One vCPU in the flat mode of its architecture (x86: long mode over an identity map).

    Args:
        frames: resident limit; None = all of memory.
        store: "c" for the C unit's own, or the text of a --store served by Python.
        latency: as --latency.
    """

    def __init__(self, isa: str, code: bytes, *, pages: int = 512, frames: int | None = None, store: str = "c",
                 latency: str = "none", fill: int = 0) -> None:
        self.isa, self.base, self.pages = isa, RAM[isa], pages
        self.machine = CoreMachine(isa, frames or pages, [(self.base, pages * PAGE_SIZE)], self._io)
        self.memory: Memory | None = None
        if store == "c":
            self.machine.use_c_store()
        else:
            spec, delay = parse_store(store), parse_latency(latency)
            self.memory = Memory(self.machine, spec, delay, Injector.parse(()), 2_000_000_000)
        self.vcpu: CoreVcpu = self.machine.add_vcpu()
        if isa == "x86_64":
            self._long_mode()
        elif isa == "ppc64":
            self.vcpu.set("msr", 1 << 63 | 1 << 12)
        self.write(CODE, code)
        rng = random.Random(fill)
        for page in range(fill):
            self.write(DATA + page * PAGE_SIZE, rng.randbytes(64))
        self.vcpu.set("rip" if isa == "x86_64" else "pc", self.base + CODE)

    def _io(self, vcpu: CoreVcpu, kind: int, address: int, size: int, value: Any) -> tuple[int, Any]:
        raise AssertionError(f"unexpected access {kind} at {address:#x}")

    def _long_mode(self) -> None:
        self.write(TABLES, struct.pack("<Q", TABLES + 0x1000 | 3))
        self.write(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 | 3))
        self.write(TABLES + 0x2000, b"".join(struct.pack("<Q", i << 21 | 0x83) for i in range(512)))
        v = self.vcpu
        v.set("cr3", TABLES)
        v.set("cr4", 1 << 5 | 1 << 9)
        v.set("efer", 1 << 8 | 1 << 10 | 1 << 11)
        v.set("cr0", 1 << 31 | 1 << 16 | 1 << 4 | 1)
        for name, flags in (("cs", 0xA09B00), ("ds", 0xC09300), ("es", 0xC09300), ("ss", 0xC09300)):
            v.set(f"{name}_base", 0)
            v.set(f"{name}_limit", 0xFFFFFFFF)
            v.set(f"{name}_flags", flags)
        v.set("rsp", STACK)

    def write(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), PAGE_SIZE):
            self.need(offset + at)
            self.need(offset + min(at + PAGE_SIZE, len(data)) - 1)
            part = data[at : at + PAGE_SIZE]
            assert self.machine.write_resident(self.base + offset + at, part) == len(part)

    def need(self, offset: int) -> None:
        if self.memory is not None:
            assert self.memory.serve(None, self.base + offset)
        else:
            assert self.machine.ensure(None, self.base + offset, True) == 0

    def run(self, insn_limit: int = NO_LIMIT, cycle_limit: int = NO_LIMIT) -> Exit:
        while True:
            x = self.vcpu.run(cycle_limit, insn_limit)
            if x.kind != ExitKind.STAGE2:
                return x
            assert self.memory is not None and self.memory.serve(self.vcpu, x.gpa)

    def peek(self, index: int) -> bytes:
        if self.memory is None:
            return self.machine.page_bytes_cstore(index)
        data = self.memory.peek(index)
        assert data is not None
        return data

    def state(self) -> State:
        stats = {k: n for k, n in self.machine.stats().items() if k != "flushes"}
        memory = hash(tuple(self.peek(i) for i in range(self.pages)))
        return State(self.vcpu.insns, self.vcpu.cycles, self.vcpu.registers(), memory, stats)

    def get(self, n: int) -> int:
        """Register `n` of the assembler's."""
        return self.vcpu.get(ASSEMBLERS[self.isa].regs[n])


def ended(x: Exit) -> bool:
    """The code reached its `halt`."""
    return x.kind in (ExitKind.HALT, ExitKind.HCALL)


@dataclass(frozen=True)
class Trace:
    """What plain Unicorn did: the address of each instruction, the assembler's registers, and memory."""

    pcs: list[int]
    registers: tuple[int, ...]
    memory: bytes


def trace(isa: str, code: bytes, *, pages: int = 512, fill: int = 0) -> Trace:
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
    return Trace(pcs, registers, bytes(uc.mem_read(base, pages * PAGE_SIZE)))
