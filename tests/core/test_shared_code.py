# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that several vCPUs run while one of them changes it: everyone executes what was stored last, from the next instruction on.

The runners' loop also stores into its own page, so that the page is fetched by all and written by all in turns.
"""

from __future__ import annotations

import random

import pytest
from helpers.bare import DATA, ISAS, Guest, assembler, ended

from vmemu.core import CoreVcpu, ExitKind
from vmemu.lab.assembler import ASSEMBLERS, Assembler

NOP = {"arm64": b"\x1f\x20\x03\xd5", "ppc64": b"\x60\x00\x00\x00", "x86_64": b"\x90"}
#: Instructions of the loop: the changing one, a NOP, addi, store, jump.
LENGTH = 5
WORDS = 2048  # where in the code page the runners store


def patch(isa: str, a: Assembler, value: int) -> bytes:
    """Eight bytes: `addi(0, value)` and a NOP."""
    return a.new_addi(value) + NOP[isa]


def machine(isa: str, runners: int) -> tuple[Guest, list[CoreVcpu]]:
    """vCPU 0 stores register 4 at register 2 and halts; the others run the loop at DATA."""
    writer = assembler(isa)
    writer.store(4, 2)
    writer.sync_code(2)
    writer.halt()
    loop = assembler(isa, DATA)
    loop.label("loop")
    loop.raw(patch(isa, loop, 1))
    loop.addi(1, 1)
    loop.store(1, 2)
    loop.jump("loop")
    guest = Guest(isa, writer.code())
    guest.write(DATA, loop.code())
    regs = ASSEMBLERS[isa].regs
    guest.vcpu.set(regs[2], guest.base + DATA)
    mode = guest.vcpu.registers()
    vcpus = []
    for number in range(runners):
        vcpu = guest.machine.add_vcpu()
        for name, value in mode.items():
            if vcpu.get(name) != value and name not in ("hflags", "pir", "stall_insns"):
                vcpu.set(name, value)
        vcpu.set("rip" if isa == "x86_64" else "pc", guest.base + DATA)
        vcpu.set(regs[0], 0)
        vcpu.set(regs[1], 0)
        vcpu.set(regs[2], guest.base + DATA + WORDS + 8 * number)
        vcpus.append(vcpu)
    return guest, vcpus


def rewrite(guest: Guest, value: int) -> None:
    a = assembler(guest.isa)
    word = int.from_bytes(patch(guest.isa, a, value), "big" if guest.isa == "ppc64" else "little")
    guest.vcpu.set(ASSEMBLERS[guest.isa].regs[4], word)
    guest.restart()
    assert ended(guest.run())


@pytest.mark.parametrize("runners", [1, 3])
@pytest.mark.parametrize("isa", ISAS)
def test_everyone_runs_what_was_stored_last(isa: str, runners: int) -> None:
    guest, vcpus = machine(isa, runners)
    rng = random.Random(runners)
    done, sums, value = [0] * runners, [0] * runners, 1
    for _ in range(600):
        if rng.random() < 0.3:
            value = rng.randrange(128, 2048)
            if rng.random() < 0.8:
                rewrite(guest, value)
            else:  # the host, as a page-in or a device does
                guest.write(DATA, patch(isa, assembler(isa), value))
        number = rng.randrange(runners)
        count = rng.choice((1, 2, 3, 7, 100, rng.randrange(1, 3000)))
        vcpu = vcpus[number]
        exit_ = vcpu.run(insn_limit=vcpu.insns + count)
        assert exit_.kind is ExitKind.LIMIT
        first = -done[number] % LENGTH  # instructions before the next changing one
        sums[number] += value * max(0, -(-(count - first) // LENGTH))
        done[number] += count
        assert vcpu.insns == done[number]
        assert vcpu.get(ASSEMBLERS[isa].regs[0]) == sums[number], f"vCPU {vcpu.id} ran old code"


@pytest.mark.parametrize("isa", ISAS)
def test_a_reset_vcpu_starts_over(isa: str) -> None:
    guest, vcpus = machine(isa, 1)
    vcpu = vcpus[0]
    vcpu.run(insn_limit=1003)  # inside a block
    before = vcpu.insns, vcpu.cycles
    vcpu.set_irq(0, True)
    vcpu.reset()
    assert (vcpu.insns, vcpu.cycles) == before and vcpu.settled and not vcpu.halted and vcpu.irq_lines == 1
    fresh = guest.machine.add_vcpu()
    left = {n: (a, b) for (n, a), b in zip(vcpu.registers().items(), fresh.registers().values(), strict=True) if a != b}
    assert set(left) <= {"pir"}  # the processor's own number
