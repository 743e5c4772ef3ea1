# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests made of garbage: whatever an arm64 guest runs or maps, the run comes back with an exit that names why."""

from __future__ import annotations

import random
import struct

import pytest

from vmemu.core import CYC, CoreMachine, CoreVcpu, ExitKind

RAM, PAGES, FRAMES = 0x40000000, 96, 80
VECTORS = RAM + PAGES * 4096 - 0x800
MMIO = 0x09000000
#: mrs x30, elr_el1; add x30, x30, #4; msr elr_el1, x30; eret: go on behind whatever trapped
SKIP = struct.pack("<4I", 0xD538403E, 0x910013DE, 0xD518403E, 0xD69F03E0)

#: (fixed bits, random bits): system and exception instructions, loads and stores, branches and ERET, FP, anything
SHAPES = (
    (0xD5000000, 0x003FFFFF),
    (0xD5100000, 0x002FFFFF),
    (0xD4000000, 0x00FFFFFF),
    (0xD6000000, 0x00FFFFFF),
    (0x08000000, 0xF5FFFFFF),
    (0x1E000000, 0xE1FFFFFF),
    (0x00000000, 0xFFFFFFFF),
)


def garbage(rng: random.Random, words: int) -> bytes:
    shapes = rng.choices(SHAPES, k=words)
    return struct.pack(f"<{words}I", *(fixed | rng.getrandbits(32) & free for fixed, free in shapes))


def tables(rng: random.Random) -> bytes:
    """A page of descriptors, most of them pointing into RAM."""

    def one() -> int:
        address = RAM + rng.randrange(PAGES) * 4096 if rng.random() < 0.9 else rng.getrandbits(48)
        kind = rng.choice((0x403, 0x443, 0x703, 0x7C3, 0x401, 0x3, 0x2, rng.getrandbits(12)))
        return address & ~0xFFF | kind | rng.choice((0, 0, 0, rng.getrandbits(13) << 51))

    return struct.pack("<512Q", *(one() for _ in range(512)))


def identity(rng: random.Random, machine: CoreMachine) -> None:
    """Make the first three pages a walk to every page of RAM at its own address, with attributes of all kinds."""
    machine.write_resident(RAM + 8, (RAM + 0x1000 | 3).to_bytes(8, "little"))
    machine.write_resident(RAM + 0x1000, (RAM + 0x2000 | 3).to_bytes(8, "little"))
    for page in range(PAGES):
        attributes = rng.choice((0x703, 0x703, 0x743, 0x7C3, 0x783, 0x303, 0x703 | 1 << 53, 0x743 | 1 << 54))
        attributes = 0x703 if page == PAGES - 1 else attributes
        machine.write_resident(RAM + 0x2000 + 8 * page, (RAM + page * 4096 | attributes).to_bytes(8, "little"))


def anything(rng: random.Random) -> int:
    near = RAM + rng.randrange(PAGES * 4096)
    return rng.choice((near, near & ~7, rng.getrandbits(64), rng.getrandbits(12), MMIO + rng.randrange(4096)))


def build(rng: random.Random, *, mapped: bool) -> tuple[CoreMachine, CoreVcpu]:
    def io(vcpu: CoreVcpu, kind: int, addr: int, size: int, value: int) -> tuple[int, int]:
        return (1, 0) if addr % 3 == 0 else (0, rng.getrandbits(32))

    machine = CoreMachine("arm64", FRAMES, [(RAM, PAGES * 4096)], io)
    machine.use_c_store()
    machine.add_mmio(MMIO)
    vcpu = machine.add_vcpu()
    for page in range(PAGES):
        gpa = RAM + page * 4096
        machine.ensure(vcpu, gpa, True)
        machine.write_resident(gpa, tables(rng) if mapped and page < 8 else garbage(rng, 1024))
    machine.ensure(vcpu, VECTORS, True)
    machine.write_resident(VECTORS, (SKIP + bytes(112)) * 16)
    for name in (*(f"x{i}" for i in range(31)), "sp_el0", "sp_el1", "elr_el1", "tpidr_el0"):
        vcpu.set(name, anything(rng))
    vcpu.set("vbar_el1", VECTORS if rng.random() < 0.8 else anything(rng))
    vcpu.set("spsr_el1", rng.choice((0, 4, 5, 0x3C5, rng.getrandbits(32))))
    vcpu.set("cpacr_el1", rng.choice((0, 3 << 20)))
    vcpu.set("pstate", rng.choice((0, 0x3C4, 0x3C5)))
    if mapped:
        sizes = rng.choice((16, 25, 34, 39)) | rng.choice((16, 25, 34, 39)) << 16
        vcpu.set("tcr_el1", rng.choice((sizes | 2 << 30 | 5 << 32, sizes | 2 << 30 | 3 << 37, rng.getrandbits(40))))
        vcpu.set("ttbr0_el1", RAM + rng.randrange(8) * 4096)
        vcpu.set("ttbr1_el1", rng.choice((RAM, anything(rng))))
        vcpu.set("sctlr_el1", rng.choice((1, 1, 1 | 1 << 19, 1 | 1 << 25)))
        if rng.random() < 0.7:
            for page in range(3):
                machine.ensure(vcpu, RAM + page * 4096, True)
            identity(rng, machine)
            vcpu.set("tcr_el1", 25 | 25 << 16 | 2 << 30 | rng.choice((0, 3 << 37)))
            vcpu.set("ttbr0_el1", RAM)
            vcpu.set("sctlr_el1", 1)
    vcpu.set("pc", (RAM + rng.randrange(PAGES * 4096)) & ~3 if rng.random() < 0.9 else anything(rng))
    return machine, vcpu


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_garbage_runs_come_back(seed: int, mapped: bool) -> None:
    rng = random.Random(seed)
    _, vcpu = build(rng, mapped=mapped)
    for _ in range(30):
        before = (vcpu.insns, vcpu.cycles)
        ended = vcpu.run(vcpu.cycles + 100_000 * CYC, vcpu.insns + 5_000)
        assert ended.kind != ExitKind.ERROR, ended
        assert (ended.insns, ended.cycles) >= before
        if ended.kind == ExitKind.FATAL:
            assert ended.why
            return
        assert ended.kind in (ExitKind.LIMIT, ExitKind.HALT, ExitKind.HCALL), ended
        vcpu.halted = False
        if rng.random() < 0.3:
            vcpu.set_irq(rng.randrange(3), rng.random() < 0.5)
