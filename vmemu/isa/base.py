# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers and bit-fields as declared data that print themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """Bits ``hi`` down to ``lo`` (0 = least significant) of a register."""

    name: str
    hi: int
    lo: int
    values: tuple[tuple[int, str], ...] = ()

    @property
    def mask(self) -> int:
        return ((1 << (self.hi - self.lo + 1)) - 1) << self.lo

    def get(self, value: int) -> int:
        return (value & self.mask) >> self.lo

    def set(self, value: int, field: int) -> int:
        if field < 0 or field << self.lo & ~self.mask:
            raise ValueError(f"{self.name}: {field:#x} does not fit in bits {self.hi}:{self.lo}")
        return value & ~self.mask | field << self.lo

    def show(self, value: int) -> str:
        raw = self.get(value)
        for number, word in self.values:
            if number == raw:
                return f"{self.name}={word}"
        return self.name if self.hi == self.lo else f"{self.name}={raw:#x}"


def bit(name: str, position: int) -> Field:
    """A one-bit field."""
    return Field(name, position, position)


@dataclass(frozen=True, slots=True)
class Format:
    """Layout of a value: a register, a page-table entry, an error code."""

    name: str
    fields: tuple[Field, ...]
    source: str = ""

    def field(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name}")

    def get(self, value: int, name: str) -> int:
        return self.field(name).get(value)

    def set(self, value: int, **fields: int) -> int:
        for name, field in fields.items():
            value = self.field(name).set(value, field)
        return value

    def show(self, value: int) -> str:
        """``0x23 (WRITE, WIDTH=0x3)``: fields that are zero and have no word for zero are left out."""
        words = [f.show(value) for f in self.fields if f.get(value) or any(n == 0 for n, _ in f.values)]
        return f"{value:#x}" + (f" ({', '.join(words)})" if words else "")


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a vCPU.

    ``uc`` names Unicorn's constant, or is None where the C unit serves the register itself (by index in
    the architecture's REGISTERS tuple). ``bits`` is 64 at most; wider registers are declared in halves.
    """

    name: str
    bits: int = 64
    uc: str | None = None
    group: str = "general"
    format: Format | None = None
    source: str = ""

    def show(self, value: int) -> str:
        if self.format is not None:
            return self.format.show(value)
        return f"{value:#0{self.bits // 4 + 2}x}"


class _Numbers(dict[str, int]):
    """Register name -> index."""

    def __missing__(self, name: str) -> int:
        raise KeyError(f"no register {name!r}")


class RegisterFile:
    """Registers of one architecture by name and by index. `index(name)` raises KeyError; it is on the path of every register access."""

    def __init__(self, registers: tuple[Register, ...]) -> None:
        self.registers = registers
        numbers = _Numbers((r.name, i) for i, r in enumerate(registers))
        self.index = numbers.__getitem__
        if len(numbers) != len(registers):
            raise ValueError("two registers share a name")

    def __iter__(self) -> Iterator[Register]:
        return iter(self.registers)

    def __len__(self) -> int:
        return len(self.registers)

    def __getitem__(self, name: str) -> Register:
        return self.registers[self.index(name)]


@dataclass(frozen=True, slots=True)
class WalkResult:
    """Outcome of a stage-1 walk: ``gpa`` and rights, or the architecture's fault code."""

    ok: bool
    gpa: int = 0
    read: bool = False
    write: bool = False
    execute: bool = False
    fault: int = 0
    table_error: bool = False


@dataclass(frozen=True, slots=True)
class Isa:
    """What the rooms above need to know of an architecture."""

    name: str
    registers: RegisterFile
    big_endian: bool
    page_shift: int = 12
    extra: Any = None
