# SPDX-License-Identifier: GPL-2.0-or-later
"""Trapped instructions are found wherever they stand; and what blocks cost."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from helpers.x86 import CODE, DATA, TABLES, Pc64

from vmemu.core import CYC, ExitKind

RDMSR = b"\x0f\x32"


class Msr:
    """Answers every MSR with its number plus one; counts."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, vcpu: Any, kind: int, address: int, size: int, value: Any) -> tuple[int, Any]:
        self.reads += 1
        return 0, address + 1


@pytest.mark.parametrize("room", range(1, 9))
def test_rdmsr_across_a_page_border(room: int) -> None:
    """Prefix, opcode and ModRM bytes on either side of the border."""
    msr = Msr()
    pc = Pc64(b"", io=msr)
    start = CODE + 4096 - room
    pc.put(start - 5, b"\xb9\x77\x00\x00\x00" + b"\x66\x66\x48" + RDMSR + b"\xf4")
    pc.vcpu.set("rip", start - 5)
    x = pc.run()
    assert (x.kind, x.insns, pc.vcpu.get("rax"), msr.reads) == (ExitKind.HALT, 3, 0x78, 1)


def test_bytes_inside_another_instruction_do_not_trap() -> None:
    msr = Msr()
    pc = Pc64(b"\xb8" + RDMSR + RDMSR + b"\x0f\x31\xf4", io=msr)  # mov eax, imm32; rdtsc; hlt
    assert pc.run().kind == ExitKind.HALT
    assert msr.reads == 0


def test_one_frame_at_two_addresses() -> None:
    msr = Msr()
    pc = Pc64(RDMSR + b"\xf4", io=msr)
    alias = CODE + 0x8000
    pc.put(TABLES + 0x3000 + (alias >> 12) * 8, struct.pack("<Q", CODE | 7))
    for address in (CODE, alias):
        pc.vcpu.set("rip", address)
        pc.vcpu.halted = False
        assert pc.run().pc == address + 3
    assert msr.reads == 2


def test_code_written_by_the_guest_is_looked_at_again() -> None:
    msr = Msr()
    target = CODE + 0x100
    # run the target (nop nop ret), write rdmsr over it, run it again
    call = b"\xe8" + struct.pack("<i", 0x100 - 5)
    write = b"\x66\xc7\x05" + struct.pack("<i", 0x100 - 5 - 9) + RDMSR
    again = b"\xe8" + struct.pack("<i", 0x100 - 5 - 9 - 5)
    pc = Pc64(call + write + again + b"\xf4", io=msr)
    pc.put(target, b"\x90\x90\xc3")
    assert pc.run().kind == ExitKind.HALT
    assert msr.reads == 1


def total(body: bytes, times: int) -> float:
    loop = body + b"\x49\xff\xc8"  # dec r8
    code = b"\x49\xc7\xc0" + struct.pack("<i", times) + loop + b"\x0f\x85" + struct.pack("<i", -len(loop) - 6) + b"\xf4"
    pc = Pc64(code)
    pc.vcpu.set("rcx", 3)
    pc.vcpu.set("rsi", DATA)
    return pc.run().cycles / CYC


def cycles(body: bytes, times: int = 1000) -> float:
    """Cycles a pass of a counted loop over `body`, without what the first touch of its pages costs."""
    return (total(body, 2 * times) - total(body, times)) / times


def test_costs_are_those_of_the_coarse_model() -> None:
    assert 1.0 <= cycles(b"\x90" * 2) < 1.5  # the loop's own chain: dec
    assert 2.9 <= cycles(b"\x90" * 11) < 3.5  # four a cycle
    assert 4.9 <= cycles(b"\x48\x8b\x36" * 1 + b"\x48\x89\xf6") < 6.5  # load latency in a chain
    assert cycles(b"\x48\x0f\xaf\xc9") >= 2.9  # imul chain
    assert cycles(b"\x31\xd2\xb8\x09\x00\x00\x00\xf7\xf1") >= 7.9  # 32-bit divider
    assert cycles(b"\x48\x89\x06" * 6) >= 5.9  # one store a cycle


def test_instruction_count_is_exact_through_calls_and_traps() -> None:
    pc = Pc64(b"\x90\x0f\xa2\x0f\x31\xe8\x01\x00\x00\x00\xf4\x90\xc3", io=lambda *a: (0, (0,) * 4))
    x = pc.run()
    assert (x.kind, x.insns, x.pc) == (ExitKind.HALT, 7, CODE + 11)


@pytest.mark.parametrize("before", [b"\x31\xdb", b"\x48\x39\xdb", b"\x48\xff\xc3", b"\x48\xd1\xe3"])
def test_flags_survive_a_trapped_instruction(before: bytes) -> None:
    """Unicorn evaluates flags lazily; a trap in the middle of a block must not lose them."""
    answers = []
    for middle in (RDMSR, b"\x90\x90"):
        pc = Pc64(before + middle + b"\x9c\xf4", io=Msr())  # ...; pushfq; hlt
        assert pc.run().kind == ExitKind.HALT
        answers.append(pc.get(pc.vcpu.get("rsp"), 1))
    assert answers[0] == answers[1]
    refused = Pc64(before + RDMSR, io=lambda *_: (1, 0))
    refused.run()
    assert refused.get(refused.vcpu.get("rsp"), 4)[3] & 0x8D5 == answers[0][0] & 0x8D5
