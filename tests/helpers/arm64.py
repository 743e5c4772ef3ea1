# SPDX-License-Identifier: GPL-2.0-or-later
"""As much of an arm64 assembler as bare guests need (encodings: DDI 0487, C6.2). 64-bit registers unless the name says W."""

from __future__ import annotations

import struct

from vmemu.isa.arm64.sensitive import sysreg

VBAR_EL1, ELR_EL1, SPSR_EL1, ESR_EL1 = sysreg(3, 0, 12, 0, 0), sysreg(3, 0, 4, 0, 1), sysreg(3, 0, 4, 0, 0), sysreg(3, 0, 5, 2, 0)
HVC, SVC, WFI, ERET, ISB, NOP = 0xD4000002, 0xD4000001, 0xD503207F, 0xD69F03E0, 0xD5033FDF, 0xD503201F
IRQ_OPEN, IRQ_CLOSED = 0xD50342FF, 0xD50342DF  # msr daifclr, #2; msr daifset, #2


class Asm:
    """Words at `base`, with labels; branches may go forwards."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.words: list[int] = []
        self.labels: dict[str, int] = {}
        self._open: list[tuple[int, str, int]] = []

    def label(self, name: str) -> None:
        self.labels[name] = self.base + 4 * len(self.words)

    def to(self, address: int) -> None:
        """Fill with UDF up to an address."""
        assert address >= self.base + 4 * len(self.words)
        self.words += [0] * ((address - self.base) // 4 - len(self.words))

    def put(self, *words: int) -> None:
        self.words += words

    def mov(self, d: int, value: int) -> None:
        self.put(0xD2800000 | (value & 0xFFFF) << 5 | d, *(0xF2800000 | s << 21 | (value >> 16 * s & 0xFFFF) << 5 | d for s in (1, 2, 3)))

    def copy(self, d: int, s: int) -> None:
        self.put(0xAA0003E0 | s << 16 | d)

    def add(self, d: int, n: int, m: int, shift: int = 0) -> None:
        self.put(0x8B000000 | m << 16 | shift << 10 | n << 5 | d)

    def sub(self, d: int, n: int, m: int) -> None:
        self.put(0xCB000000 | m << 16 | n << 5 | d)

    def shift_right(self, d: int, n: int, by: int) -> None:
        self.put(0xD340FC00 | by << 16 | n << 5 | d)

    def load(self, t: int, n: int) -> None:
        self.put(0xF9400000 | n << 5 | t)

    def store(self, t: int, n: int) -> None:
        self.put(0xF9000000 | n << 5 | t)

    def load_w(self, t: int, n: int, offset: int = 0) -> None:
        self.put(0xB9400000 | offset // 4 << 10 | n << 5 | t)

    def store_w(self, t: int, n: int, offset: int = 0) -> None:
        self.put(0xB9000000 | offset // 4 << 10 | n << 5 | t)

    def pop(self, a: int, b: int, n: int) -> None:
        self.put(0xA8C10000 | b << 10 | n << 5 | a)  # ldp a, b, [n], #16

    def push(self, a: int, b: int, n: int) -> None:
        self.put(0xA8810000 | b << 10 | n << 5 | a)  # stp a, b, [n], #16

    def mrs(self, t: int, register: int) -> None:
        self.put(0xD5200000 | register << 5 | t)

    def msr(self, register: int, t: int) -> None:
        self.put(0xD5000000 | register << 5 | t)

    def adr(self, d: int, name: str) -> None:
        self._branch(0x10000000 | d, name, 19)

    def b(self, name: str) -> None:
        self._branch(0x14000000, name, 26)

    def b_lower(self, name: str) -> None:
        self._branch(0x54000003, name, 19)

    def cbz(self, t: int, name: str) -> None:
        self._branch(0xB4000000 | t, name, 19)

    def tbz(self, t: int, bit: int, name: str) -> None:
        self._branch(0x36000000 | bit << 19 | t, name, 14)

    def cmp(self, n: int, value: int) -> None:
        self.put(0xF1000000 | value << 10 | n << 5 | 31)

    def br(self, n: int) -> None:
        self.put(0xD61F0000 | n << 5)

    def _branch(self, word: int, name: str, bits: int) -> None:
        self._open.append((len(self.words), name, bits))
        self.put(word)

    def code(self) -> bytes:
        for at, name, bits in self._open:
            away = (self.labels[name] - self.base) // 4 - at
            field = away & (1 << bits) - 1
            self.words[at] |= field if bits == 26 else field << 5
            if self.words[at] >> 24 & 0x9F == 0x10:  # ADR counts bytes: the lowest two bits are apart, and zero here
                assert away >= 0
        self._open.clear()
        return b"".join(struct.pack("<I", w) for w in self.words)
