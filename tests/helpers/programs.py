# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest code for tests of the engine, written once for three architectures (vmemu.lab.assembler)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from helpers.bare import CODE, DATA, RAM, assembler

from vmemu.lab.assembler import X86, Assembler

PAGE = 4096


@dataclass(frozen=True)
class Program:
    """Code for CODE, how many data pages hold a pattern from the start, and how few frames make it swap."""

    code: bytes
    fill: int = 0
    frames: int | None = None
    pages: int = 512


def mixed(isa: str) -> Program:
    """Nested loops, calls, loads, stores and branches that depend on data."""
    a = assembler(isa)
    a.li(0, 0)
    a.li(1, 0x9E3779B97F4A7C15)
    a.li(2, RAM[isa] + DATA)
    a.li(6, 60)
    a.label("outer")
    a.li(3, 40)
    a.label("inner")
    a.add(0, 1)
    a.mul(0, 1)
    a.store(0, 2, 64)
    a.load(4, 2, 64)
    a.jump_if_odd(4, "odd")
    a.addi(5, 7)
    a.call("leaf")
    a.label("odd")
    a.dec_jnz(3, "inner")
    a.call("leaf")
    a.dec_jnz(6, "outer")
    a.halt()
    a.label("leaf")
    a.load(4, 2, 128)
    a.addi(4, 1)
    a.store(4, 2, 128)
    a.ret()
    return Program(a.code(), fill=1)


def long_blocks(isa: str) -> Program:
    """Straight-line code longer than Unicorn's translator takes in one block (512 instructions), over several pages."""
    rng = random.Random(3)
    a = assembler(isa)
    a.li(0, 1)
    a.li(1, 3)
    a.li(2, RAM[isa] + DATA)
    a.li(3, 12)
    a.label("loop")
    for i in range(1700):
        kind = rng.randrange(6)
        if kind == 0:
            a.store(rng.choice((0, 1, 4)), 2, 8 * rng.randrange(200))
        elif kind == 1:
            a.load(rng.choice((0, 4, 5)), 2, 8 * rng.randrange(200))
        elif kind == 2:
            a.mul(0, 1)
        else:
            (a.add, a.xor)[i & 1](rng.choice((0, 4, 5)), rng.choice((0, 1, 4)))
    a.dec_jnz(3, "loop")
    a.halt()
    return Program(a.code(), fill=1)


def swapping(isa: str) -> Program:
    """Walks 90 pages with 64 frames: loads and stores fault in the middle of blocks, some twice in one block."""
    a = assembler(isa)
    a.li(0, 0)
    a.li(6, 6)
    a.li(5, PAGE)
    a.label("pass")
    a.li(2, RAM[isa] + DATA)
    a.li(1, RAM[isa] + DATA + 45 * PAGE)
    a.li(3, 45)
    a.label("page")
    a.addi(0, 1)
    a.load(4, 2, 16)
    a.add(0, 4)
    a.store(0, 1, 24)
    a.addi(4, 5)
    a.load(4, 1, 16)
    a.xor(0, 4)
    a.jump_if_odd(0, "clean")
    a.store(0, 2, 32)
    a.label("clean")
    a.add(2, 5)
    a.add(1, 5)
    a.dec_jnz(3, "page")
    a.dec_jnz(6, "pass")
    a.halt()
    return Program(a.code(), fill=90, frames=64)


def swapping_code(isa: str) -> Program:
    """As `swapping`, and the code is swapped too: a chain of 40 code pages, each with calls and a block to its end."""
    a = assembler(isa)
    base = DATA + 100 * PAGE
    chain = assembler(isa, base)
    last = 39
    a.li(0, 0)
    a.li(2, RAM[isa] + DATA)
    a.li(5, PAGE)
    a.li(6, 4)
    a.label("pass")
    a.li(2, RAM[isa] + DATA)
    a.labels["chain"] = base - CODE
    a.jump("chain")
    a.label("back")
    a.dec_jnz(6, "pass")
    a.halt()
    for i in range(last + 1):
        while len(chain.out) % PAGE:
            if isinstance(chain, X86) and len(chain.out) % PAGE > PAGE - 3:
                chain.raw(b"\x90")
            else:
                chain.xor(0, 2)
        chain.load(4, 2, 8)
        chain.add(0, 4)
        chain.store(0, 2, 40)
        chain.add(2, 5)
        chain.jump(f"over{i}")
        chain.raw(bytes(0 if isinstance(chain, X86) else 64))
        chain.label(f"over{i}")
        for _ in range(700 if i % 3 == 0 else 5):
            chain.xor(0, 4) if i & 1 else chain.addi(0, 3)
        if i < last:
            chain.jump(f"next{i}")
            if i % 3:  # skip to the next page; the others run into it
                chain.labels[f"next{i}"] = (len(chain.out) | PAGE - 1) + 1
            else:
                chain.label(f"next{i}")
    chain.labels["back"] = CODE - base + a.labels["back"]
    chain.jump("back")
    code = bytearray(a.code())
    code += bytes(base - CODE - len(code)) + chain.code()
    return Program(bytes(code), frames=72)


def self_modifying(isa: str) -> Program:
    """A loop whose body is rewritten between rounds: `addi(0, n)` with n = 1, 1024, 5."""
    a = assembler(isa)
    patch = a.new_addi(0)
    a.li(0, 0)
    a.li(6, 30)
    a.label("again")
    for value in (1, 1024, 5):
        a.li(2, RAM[isa] + DATA)
        _store_code(a, value, len(patch))
        a.li(3, 5)
        a.label(f"loop{value}")
        a.jump(f"out{value}")
        a.label(f"back{value}")
        a.dec_jnz(3, f"loop{value}")
    a.dec_jnz(6, "again")
    a.halt()
    for value in (1, 1024, 5):
        a.labels[f"out{value}"] = DATA - CODE
    # The patched code: it jumps back to where the round is told by register 5, through a chain of tests.
    body = assembler(isa, DATA)
    body.raw(patch)
    body.raw(bytes(-len(patch) % 8) if not isinstance(a, X86) else b"\x90" * (-len(patch) % 8))
    if not isinstance(a, X86):
        body.out[4:8] = _nop(isa)
    body.jump_if_odd(5, "first")
    body.jump_if_odd(4, "second")
    for name, value in (("", 5), ("first", 1), ("second", 1024)):
        if name:
            body.label(name)
        body.labels[f"back{value}"] = CODE - DATA + a.labels[f"back{value}"]
        body.jump(f"back{value}")
    code = bytearray(a.code())
    code += bytes(DATA - CODE - len(code)) + body.code()
    return Program(bytes(code))


def _nop(isa: str) -> bytes:
    return {"arm64": b"\x1f\x20\x03\xd5", "ppc64": b"\x60\x00\x00\x00", "x86_64": b"\x90" * 4}[isa]


def _store_code(a: Assembler, value: int, size: int) -> None:
    """Write `addi(0, value)` over the code at register 2, and set registers 5 and 4 for its way back."""
    insn = a.new_addi(value)
    isa = {"X86": "x86_64", "Arm64": "arm64", "Ppc64": "ppc64"}[type(a).__name__]
    if isa == "x86_64" and value < 128:  # the short form: as many bytes with its padding, more instructions
        insn, size = bytes([0x49, 0x83, insn[2], value]), 4
    padded = insn + (b"\x90" * (8 - size) if isa == "x86_64" else _nop(isa))
    a.li(4, int.from_bytes(padded, "big" if isa == "ppc64" else "little"))
    a.store(4, 2, 0)
    a.sync_code(2)
    a.li(5, 1 if value == 1 else 0)
    a.li(4, 1 if value == 1024 else 0)


def straddling(isa: str) -> Program:
    """x86 only: instructions and blocks across page borders, `rep movsq`, push and pop, locked read-modify-write."""
    assert isa == "x86_64"
    a = assembler(isa)
    a.li(0, 0)
    a.li(2, DATA)
    a.li(3, 14)
    a.li(1, 7)
    a.li(5, 5 * PAGE)
    a.label("loop")
    for border in range(3):
        while PAGE - len(a.out) % PAGE > 32:
            a.raw(b"\x90")
        for _ in range(9):
            a.add(0, 1)  # three bytes each: at one of the three borders one of them straddles
        a.raw(b"\x90" * border)
        a.store(0, 2, 8 * border)
        a.addi(0, 5)
        a.li(4, 0x1122334455667788)  # ten bytes
        a.add(0, 4)
    a.raw(b"\x49\x8d\xb2" + (100).to_bytes(4, "little"))  # lea rsi, [r10+100]
    a.raw(b"\x49\x8d\xba" + (3 * PAGE + 8).to_bytes(4, "little"))  # lea rdi, [r10+0x3008]
    a.raw(b"\x48\xc7\xc1" + (700).to_bytes(4, "little"))  # mov rcx, 700
    a.raw(b"\xf3\x48\xa5")  # rep movsq, over a page border
    a.raw(b"\x41\x50\x41\x59\x41\xff\xc0")  # push r8; pop r9; inc r8d
    a.li(1, 7)
    a.raw(b"\xf0\x4d\x0f\xc1\x42\x40")  # lock xadd [r10+0x40], r8
    a.add(2, 5)
    a.dec_jnz(3, "loop")
    a.halt()
    return Program(a.code(), fill=90, frames=64)


def pairs(isa: str) -> Program:
    """arm64 and ppc64: write-back forms and multiple transfers, over page borders while pages are swapped."""
    a = assembler(isa)
    a.li(0, 1)
    a.li(3, 8)
    a.label("pass")
    a.li(2, RAM[isa] + DATA + 4096 - 24)
    a.li(6, 80)
    a.li(5, PAGE - 16)
    a.label("page")
    if isa == "arm64":  # x1 = 0, x3 = 2, x4 = 3, x5 = 4, x6 = 5
        for word in (0xA9BF1461, 0xF8408465, 0xA8C11865):  # stp x1,x5,[x3,#-16]!; ldr x5,[x3],#8; ldp x5,x6,[x3],#16
            a.raw(word.to_bytes(4, "little"))
        a.li(5, PAGE - 16)
    else:  # r14 = 0, r16 = 2, r18 = 4
        for word in (0xFA500009, 0xF9D0FFF9, 0xEA500009):  # stdu r18,8(r16); stdu r14,-8(r16); ldu r18,8(r16)
            a.raw(word.to_bytes(4, "big"))
    a.add(0, 4)
    a.add(2, 5)
    a.dec_jnz(6, "page")
    a.dec_jnz(3, "pass")
    a.halt()
    return Program(a.code(), fill=90, frames=64)


def random_program(isa: str, seed: int) -> Program:
    """Blocks of random length and content, forward branches, calls and counted loops, over swapped data."""
    rng = random.Random(seed)
    a = assembler(isa)
    frames = rng.choice((56, 80, 512))
    a.li(0, seed)
    a.li(1, 0xD1B54A32D192ED03)
    a.li(5, PAGE)
    a.li(2, RAM[isa] + DATA)
    for part in range(rng.randrange(2, 7)):
        a.li(2, RAM[isa] + DATA + rng.randrange(20) * PAGE)
        a.li(3, rng.randrange(1, 60))
        a.label(f"loop{part}")
        for block in range(rng.randrange(1, 5)):
            for _ in range(rng.choice((1, 3, 8, 30, 90))):
                kind = rng.randrange(10)
                d, s = rng.choice((0, 4, 6)), rng.choice((0, 1, 4, 6))
                if kind < 2:
                    a.load(d, 2, 8 * rng.randrange(250))
                elif kind < 4:
                    a.store(s, 2, 8 * rng.randrange(250))
                elif kind == 4:
                    a.mul(d, s)
                elif kind == 5:
                    a.call("leaf")
                else:
                    (a.add, a.xor)[kind & 1](d, s)
            if rng.random() < 0.6:
                a.jump_if_odd(rng.choice((0, 4)), f"skip{part}.{block}")
                a.addi(0, rng.randrange(2000))
            a.label(f"skip{part}.{block}")
        if rng.random() < 0.7:
            a.add(2, 5)
        if rng.random() < 0.3:  # jump over unused bytes to another page
            a.jump(f"far{part}")
            while len(a.out) % PAGE:
                a.raw(b"\0\0\0\0"[: PAGE - len(a.out) % PAGE])
            a.label(f"far{part}")
        a.dec_jnz(3, f"loop{part}")
    a.halt()
    a.label("leaf")
    a.addi(0, 3)
    a.store(0, 2, 8)
    a.ret()
    return Program(a.code(), fill=90, frames=frames)


PROGRAMS: dict[str, Callable[[str], Program]] = {
    f.__name__: f for f in (mixed, long_blocks, swapping, swapping_code, self_modifying, straddling, pairs)
}
ONLY = {"straddling": ("x86_64",), "pairs": ("arm64", "ppc64")}
