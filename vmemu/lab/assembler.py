# SPDX-License-Identifier: GPL-2.0-or-later
"""A small assembler with one face for three architectures, so that a test writes its guest code once.

Seven registers, 0 to 6. A subclass knows one instruction set; encodings are from the manuals (SDM volume 2, DDI 0487,
Power ISA Book I). `code()` resolves labels; x86 branches are always of the long form.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod


class Assembler(ABC):
    """Collects machine code that starts at address `base`."""

    regs: tuple[str, ...]

    def __init__(self, base: int) -> None:
        self.base = base
        self.out = bytearray()
        self.labels: dict[str, int] = {}
        self.fixups: list[tuple[int, str]] = []

    @property
    def here(self) -> int:
        """Address of the next instruction."""
        return self.base + len(self.out)

    def label(self, name: str) -> None:
        self.labels[name] = len(self.out)

    def raw(self, data: bytes) -> None:
        self.out += data

    def code(self) -> bytes:
        for at, name in self.fixups:
            self._patch(at, self.labels[name])
        self.fixups.clear()
        return bytes(self.out)

    @abstractmethod
    def _patch(self, at: int, target: int) -> None: ...
    @abstractmethod
    def li(self, d: int, value: int) -> None: ...
    @abstractmethod
    def addi(self, d: int, value: int) -> None:
        """d += value, 0 <= value < 2048."""

    @abstractmethod
    def add(self, d: int, s: int) -> None: ...
    @abstractmethod
    def xor(self, d: int, s: int) -> None: ...
    @abstractmethod
    def mul(self, d: int, s: int) -> None: ...
    @abstractmethod
    def load(self, d: int, base: int, off: int = 0) -> None: ...
    @abstractmethod
    def store(self, s: int, base: int, off: int = 0) -> None: ...
    @abstractmethod
    def dec_jnz(self, d: int, label: str) -> None: ...
    @abstractmethod
    def jump_if_odd(self, s: int, label: str) -> None: ...
    @abstractmethod
    def jump(self, label: str) -> None: ...
    @abstractmethod
    def call(self, label: str) -> None: ...
    @abstractmethod
    def ret(self) -> None: ...
    @abstractmethod
    def halt(self) -> None:
        """Ends the run: HLT, WFI, or a hypercall on ppc64."""

    @abstractmethod
    def new_addi(self, value: int) -> bytes:
        """Bytes of `addi(0, value)`, of one length whatever the value: for code that rewrites itself."""

    @abstractmethod
    def sync_code(self, base: int) -> None:
        """The architecture's ritual after code at the address in register `base` was written."""


class X86(Assembler):
    """Registers 0 to 6 are r8 to r11 and r13 to r15 (r12 would need a SIB byte); rsp is the stack of `call`."""

    regs = ("r8", "r9", "r10", "r11", "r13", "r14", "r15")
    _n = (0, 1, 2, 3, 5, 6, 7)

    def _patch(self, at: int, target: int) -> None:
        struct.pack_into("<i", self.out, at, target - at - 4)

    def _branch(self, opcode: bytes, label: str) -> None:
        self.out += opcode + bytes(4)
        self.fixups.append((len(self.out) - 4, label))

    def _rr(self, opcode: bytes, reg: int, rm: int) -> None:
        self.out += b"\x4d" + opcode + bytes([0xC0 | self._n[reg] << 3 | self._n[rm]])

    def li(self, d: int, value: int) -> None:
        self.out += bytes([0x49, 0xB8 | self._n[d]]) + struct.pack("<Q", value & (1 << 64) - 1)

    def new_addi(self, value: int) -> bytes:
        return bytes([0x49, 0x81, 0xC0 | self._n[0]]) + struct.pack("<i", value)

    def addi(self, d: int, value: int) -> None:
        self.out += bytes([0x49, 0x81, 0xC0 | self._n[d]]) + struct.pack("<i", value)

    def add(self, d: int, s: int) -> None:
        self._rr(b"\x01", s, d)

    def xor(self, d: int, s: int) -> None:
        self._rr(b"\x31", s, d)

    def mul(self, d: int, s: int) -> None:
        self._rr(b"\x0f\xaf", d, s)

    def load(self, d: int, base: int, off: int = 0) -> None:
        self.out += bytes([0x4D, 0x8B, 0x80 | self._n[d] << 3 | self._n[base]]) + struct.pack("<i", off)

    def store(self, s: int, base: int, off: int = 0) -> None:
        self.out += bytes([0x4D, 0x89, 0x80 | self._n[s] << 3 | self._n[base]]) + struct.pack("<i", off)

    def dec_jnz(self, d: int, label: str) -> None:
        self.out += bytes([0x49, 0xFF, 0xC8 | self._n[d]])
        self._branch(b"\x0f\x85", label)

    def jump_if_odd(self, s: int, label: str) -> None:
        self.out += bytes([0x41, 0xF6, 0xC0 | self._n[s], 1])
        self._branch(b"\x0f\x85", label)

    def jump(self, label: str) -> None:
        self._branch(b"\xe9", label)

    def call(self, label: str) -> None:
        self._branch(b"\xe8", label)

    def ret(self) -> None:
        self.out += b"\xc3"

    def halt(self) -> None:
        self.out += b"\xf4"

    def sync_code(self, base: int) -> None:
        self.out += b"\xeb\x00"  # a jump is enough (SDM 11.6)


class _Fixed(Assembler):
    order = "<"

    def word(self, value: int) -> None:
        self.out += struct.pack(self.order + "I", value)

    def _to(self, value: int, label: str) -> None:
        self.fixups.append((len(self.out), label))
        self.word(value)

    def _patch(self, at: int, target: int) -> None:
        (word,) = struct.unpack_from(self.order + "I", self.out, at)
        struct.pack_into(self.order + "I", self.out, at, self._displace(word, target - at))

    @abstractmethod
    def _displace(self, word: int, delta: int) -> int: ...


class Arm64(_Fixed):
    """Registers 0 to 6 are x1 to x7."""

    regs = tuple(f"x{i}" for i in range(1, 8))

    def _displace(self, word: int, delta: int) -> int:
        if word >> 26 & 0x1F == 5:  # B, BL
            return word | delta >> 2 & 0x3FFFFFF
        if word >> 24 == 0x37:  # TBNZ
            return word | (delta >> 2 & 0x3FFF) << 5
        return word | (delta >> 2 & 0x7FFFF) << 5

    def li(self, d: int, value: int) -> None:
        for i in range(4):
            self.word((0xF2800000 if i else 0xD2800000) | i << 21 | (value >> 16 * i & 0xFFFF) << 5 | d + 1)

    def new_addi(self, value: int) -> bytes:
        return struct.pack("<I", 0x91000000 | value << 10 | 1 << 5 | 1)

    def addi(self, d: int, value: int) -> None:
        self.word(0x91000000 | value << 10 | (d + 1) << 5 | d + 1)

    def _rrr(self, op: int, d: int, s: int) -> None:
        self.word(op | (s + 1) << 16 | (d + 1) << 5 | d + 1)

    def add(self, d: int, s: int) -> None:
        self._rrr(0x8B000000, d, s)

    def xor(self, d: int, s: int) -> None:
        self._rrr(0xCA000000, d, s)

    def mul(self, d: int, s: int) -> None:
        self._rrr(0x9B007C00, d, s)

    def load(self, d: int, base: int, off: int = 0) -> None:
        self.word(0xF9400000 | off // 8 << 10 | (base + 1) << 5 | d + 1)

    def store(self, s: int, base: int, off: int = 0) -> None:
        self.word(0xF9000000 | off // 8 << 10 | (base + 1) << 5 | s + 1)

    def dec_jnz(self, d: int, label: str) -> None:
        self.word(0xF1000400 | (d + 1) << 5 | d + 1)
        self._to(0x54000001, label)

    def jump_if_odd(self, s: int, label: str) -> None:
        self._to(0x37000000 | s + 1, label)

    def jump(self, label: str) -> None:
        self._to(0x14000000, label)

    def call(self, label: str) -> None:
        self._to(0x94000000, label)

    def ret(self) -> None:
        self.word(0xD65F03C0)

    def halt(self) -> None:
        self.word(0xD503207F)

    def sync_code(self, base: int) -> None:
        for word in (0xD50B7520 | base + 1, 0xD5033F9F, 0xD5033FDF):  # IC IVAU; DSB SY; ISB
            self.word(word)


class Ppc64(_Fixed):
    """Registers 0 to 6 are r14 to r20; r0 is scratch."""

    order = ">"
    regs = tuple(f"r{i}" for i in range(14, 21))

    def _displace(self, word: int, delta: int) -> int:
        return word | delta & (0x3FFFFFC if word >> 26 == 18 else 0xFFFC)

    def li(self, d: int, value: int) -> None:
        r = d + 14
        self.word(0x3C000000 | r << 21 | value >> 48 & 0xFFFF)  # lis, ori, sldi 32, oris, ori
        self.word(0x60000000 | r << 21 | r << 16 | value >> 32 & 0xFFFF)
        self.word(0x780007C6 | r << 21 | r << 16)
        self.word(0x64000000 | r << 21 | r << 16 | value >> 16 & 0xFFFF)
        self.word(0x60000000 | r << 21 | r << 16 | value & 0xFFFF)

    def new_addi(self, value: int) -> bytes:
        return struct.pack(">I", 0x38000000 | 14 << 21 | 14 << 16 | value)

    def addi(self, d: int, value: int) -> None:
        self.word(0x38000000 | (d + 14) << 21 | (d + 14) << 16 | value)

    def add(self, d: int, s: int) -> None:
        self.word(0x7C000214 | (d + 14) << 21 | (d + 14) << 16 | (s + 14) << 11)

    def xor(self, d: int, s: int) -> None:
        self.word(0x7C000278 | (d + 14) << 21 | (d + 14) << 16 | (s + 14) << 11)

    def mul(self, d: int, s: int) -> None:
        self.word(0x7C0001D2 | (d + 14) << 21 | (d + 14) << 16 | (s + 14) << 11)

    def load(self, d: int, base: int, off: int = 0) -> None:
        self.word(0xE8000000 | (d + 14) << 21 | (base + 14) << 16 | off)

    def store(self, s: int, base: int, off: int = 0) -> None:
        self.word(0xF8000000 | (s + 14) << 21 | (base + 14) << 16 | off)

    def dec_jnz(self, d: int, label: str) -> None:
        self.word(0x34000000 | (d + 14) << 21 | (d + 14) << 16 | 0xFFFF)  # addic.
        self._to(0x40820000, label)

    def jump_if_odd(self, s: int, label: str) -> None:
        self.word(0x70000001 | (s + 14) << 21)  # andi. r0, s, 1
        self._to(0x40820000, label)

    def jump(self, label: str) -> None:
        self._to(0x48000000, label)

    def call(self, label: str) -> None:
        self._to(0x48000001, label)

    def ret(self) -> None:
        self.word(0x4E800020)

    def halt(self) -> None:
        self.word(0x44000022)

    def sync_code(self, base: int) -> None:
        for word in (0x7C00006C | base + 14 << 11, 0x7C0004AC, 0x7C0007AC | base + 14 << 11, 0x4C00012C):
            self.word(word)  # dcbst; sync; icbi; isync


ASSEMBLERS: dict[str, type[Assembler]] = {"x86_64": X86, "arm64": Arm64, "ppc64": Ppc64}
