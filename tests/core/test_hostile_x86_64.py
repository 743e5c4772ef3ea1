# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with garbage in code, IDT, GDT, TSS and page tables end in a reported death or at the limit; the host goes on.

Each batch runs in its own process: an abort inside the library would take the test runner with it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: Instructions with system state behind them, thick among random bytes.
_HEX = (
    "0f00d8 0f0018 0f00d0 0f0010 ff18 ff28 48cf cf cb 48cb 0f0110 0f0118 0f22d8 0f22e0 0f22c0 0f30 0f32 0f05 0f34"
    " 0f07 480f07 0f35 8ed8 8ed0 cd20 cc f1 0f23c0 0f23f8 9d 489d 0fae08 0fae00 dbe3 0fc7f0 0f01d1 0faa 0f01f8 f4"
    " 0f01c8 0f01c9 6c 6e f36c ec ee 0fa2 0f31 4831d2 0f09 0f08 f390 0fc70f f3a4 0f0138 0f0130"
    " b9800000c0 b9820000c0 b828000000"
)
FRAGMENTS = [bytes.fromhex(text) for text in _HEX.split()]


def run_one(seed: int) -> str:
    """One random guest; the last exit's kind."""
    from helpers import x86

    from vmemu.core import ExitKind

    r = random.Random(seed)

    def io(vcpu: Any, kind: int, address: int, size: int, value: Any) -> tuple[int, Any]:
        return (0, (r.getrandbits(32),) * 4) if kind == 6 else (int(r.random() < 0.2), r.getrandbits(64))

    code = bytearray(r.randbytes(8192))
    at = 0
    while at < len(code) - 16:
        piece = r.choice(FRAGMENTS) if r.random() < 0.75 else r.randbytes(r.randrange(1, 6))
        code[at : at + len(piece)] = piece
        at += len(piece)
    pc = x86.Pc64(bytes(code), cpl=r.choice((0, 0, 3)), frames=r.choice((64, 512)), io=io)
    garble(pc, r)
    pc.core.add_mmio(0xFEE00000)
    kind = ExitKind.NONE
    for _ in range(60):
        kind = pc.run(300).kind
        if kind in (ExitKind.FATAL, ExitKind.ERROR):
            break
        if kind == ExitKind.IRQ_WINDOW:
            pc.vcpu.inject_irq(r.randrange(256))
            pc.vcpu.set_irq(0, False)
        pc.vcpu.halted = False
        if r.random() < 0.1:
            pc.vcpu.set_irq(r.choice((0, 1, 2)), True)
    return kind.name


def garble(pc: Any, r: random.Random) -> None:
    from helpers import x86

    if r.random() < 0.5:
        words = (r.getrandbits(64) & ~(0xF << 40) | r.randrange(16) << 40 for _ in range(16))
        pc.put(x86.GDT + 0x38, b"".join(w.to_bytes(8, "little") for w in words))
        pc.vcpu.set("gdt_limit", 0xFF)
    for n in range(32):
        target = x86.CODE + r.randrange(8192)
        gates = (
            x86.gate(target, dpl=3, ist=r.randrange(8)), x86.gate(r.getrandbits(64)), r.randbytes(16),
            x86.gate(target, selector=r.choice((8, 0x20, 0x38, 0))),
        )  # fmt: skip
        pc.put(x86.IDT + 16 * n, r.choice(gates) if r.random() < 0.5 else gates[0])
    if r.random() < 0.3:
        pc.put(x86.TSS, r.randbytes(104))
    if r.random() < 0.3:
        entries = (r.choice((p << 12 | 7, p << 12 | 7, r.getrandbits(64), p << 12 | 3, 0xFEE00007)) for p in range(512))
        pc.put(x86.TABLES + 0x3000, b"".join(e.to_bytes(8, "little") for e in entries))
    for name in ("gdt_base", "idt_base", "tr_base", "cr3"):
        if r.random() < 0.1:
            pc.vcpu.set(name, r.getrandbits(64))
    for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"):
        choices = (r.getrandbits(64), x86.CODE + r.randrange(8192), x86.GDT + 8 * r.randrange(32), r.randrange(256))
        pc.vcpu.set(name, r.choice(choices))


@pytest.mark.parametrize("batch", range(3))
def test_garbage_never_hurts_the_host(batch: int) -> None:
    code = f"import test_hostile_x86_64 as t; print(*(t.run_one(s) for s in range({batch * 40}, {batch * 40 + 40})))"
    paths = (ROOT, ROOT / "tests", Path(__file__).parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    kinds = done.stdout.split()
    assert len(kinds) == 40
    assert "ERROR" not in kinds


def test_code_inside_its_own_page_table() -> None:
    """Every first touch sets accessed bits in the page that is being executed."""
    from helpers import x86

    from vmemu.core import ExitKind

    # mov [rax], cl; add rax, 4096; dec ecx; jnz; hlt
    loop = b"\x88\x08\x48\x05\x00\x10\x00\x00\xff\xc9\x75\xf4\xf4"
    pc = x86.Pc64(b"")
    pc.put(x86.TABLES + 0x3000 + 0xF00, loop)
    pc.vcpu.set("rip", x86.TABLES + 0x3000 + 0xF00)
    pc.vcpu.set("rax", 0x60000)
    pc.vcpu.set("rcx", 300)
    x = pc.run()
    assert (x.kind, x.insns) == (ExitKind.HALT, 1201)
    pc.core.ensure(pc.vcpu, 0x60000 + 299 * 4096)
    assert pc.core.read_resident(0x60000 + 299 * 4096, 1) == bytes([1])
