# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of a C program, as its debug information describes them, and how values of them lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

#: read(address, bytes) -> the bytes. Raises what the caller of `Type.read` expects.
Read = Callable[[int, int], bytes]
#: A number, a list of values, or a struct's members by name.
Value: TypeAlias = "int | list[Value] | dict[str, Value]"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union; a bit-field has `bits` (width) and `shift` (from the value's least significant bit)."""

    name: str
    offset: int
    type: Type
    bits: int = 0
    shift: int = 0


@dataclass(slots=True, eq=False)
class Type:
    """kind: int, uint, bool, char, float, pointer, array, struct, union, enum, function or void. `size` in bytes.

    `target` is what a pointer points to, an array consists of, a function returns. `count`: of an array. A type may contain
    pointers to itself, so members and target are filled in after it is made.
    """

    name: str
    kind: str
    size: int
    big_endian: bool = False
    target: Type | None = None
    count: int = 0
    members: list[Member] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Type({self.name!r}, {self.kind}, {self.size})"

    @property
    def composite(self) -> bool:
        return self.kind in ("struct", "union")

    def member(self, name: str) -> Member | None:
        """A member by name, looking into unnamed structs and unions; its offset is from this type's start."""
        for member in self.members:
            if member.name == name:
                return member
            if not member.name and (inner := member.type.member(name)) is not None:
                return Member(inner.name, member.offset + inner.offset, inner.type, inner.bits, inner.shift)
        return None

    def names(self) -> Iterator[str]:
        """Names that `member` finds."""
        for member in self.members:
            if member.name:
                yield member.name
            else:
                yield from member.type.names()

    def scalar(self, raw: bytes) -> int:
        """The number that these bytes are."""
        return int.from_bytes(raw, "big" if self.big_endian else "little", signed=self.kind in ("int", "enum"))

    def decode(self, raw: bytes) -> Value:
        """The value that `size` bytes hold. Pointers are not followed."""
        if self.composite:
            return {m.name: _member(m, raw) for m in self._flat()}
        if self.kind == "array" and self.target is not None:
            step = self.target.size
            return [self.target.decode(raw[i * step : (i + 1) * step]) for i in range(self.count)]
        return self.scalar(raw)

    def _flat(self) -> Iterator[Member]:
        for name in self.names():
            member = self.member(name)
            assert member is not None
            yield member

    def read(self, read: Read, address: int) -> Value:
        """The value at an address."""
        return self.decode(read(address, self.size))


def _member(member: Member, raw: bytes) -> Value:
    part = raw[member.offset : member.offset + member.type.size]
    if not member.bits:
        return member.type.decode(part)
    value = member.type.scalar(part) >> member.shift & (1 << member.bits) - 1
    if member.type.kind == "int" and value >> member.bits - 1:
        value -= 1 << member.bits
    return value


VOID = Type("void", "void", 0)
