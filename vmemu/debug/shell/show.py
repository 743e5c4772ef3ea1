# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of C types as text."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.machine.symbols import Symbols
from vmemu.machine.types import Type

#: Longest value that is printed on one line; most elements of an array that are printed.
WIDTH, ELEMENTS = 100, 64


def show(symbols: Symbols, type: Type | None, number: int, raw: bytes | None, format: str = "") -> str:
    """A value: `raw` bytes of a struct or array, else a number. `format`: one of x d u o t c a, or "" as suits the type."""
    if type is not None and raw is not None and (type.composite or type.kind == "array"):
        return _composite(symbols, type, raw, format, 0)
    return scalar(symbols, type, number, format)


def scalar(symbols: Symbols, type: Type | None, number: int, format: str = "") -> str:
    bits = 64 if type is None or not type.size else 8 * type.size
    if format:
        return _FORMATS[format](symbols, number, bits)
    kind = "" if type is None else type.kind
    if kind == "bool":
        return "true" if number else "false"
    if kind == "enum" and type is not None:
        return type.values.get(number, str(number))
    if kind == "pointer":
        name = symbols.name(number)
        return "NULL" if not number else f"{number:#x}" + ("" if name.startswith("0x") else f" <{name}>")
    if kind == "char":
        return f"{number} {chr(number)!r}" if 32 <= number < 127 else str(number)
    if kind == "function":
        return f"{number:#x} <{symbols.name(number)}>"
    if kind == "uint" and type is not None:
        return str(number) if number < 1 << 20 else f"{number:#x}" if number != (1 << bits) - 1 else f"{number:#x} (all ones)"
    if kind == "int":
        return str(number)
    name = symbols.name(number & (1 << 64) - 1)
    text = f"{number:#x}" if number >= 0 else str(number)
    return f"{number} = {text}" if -10 < number < 1 << 20 and not name.strip().endswith(">") and name.startswith("0x") else (
        text if name.startswith("0x") else f"{text} <{name}>")


def _composite(symbols: Symbols, type: Type, raw: bytes, format: str, depth: int) -> str:
    if type.kind == "array" and type.target is not None:
        target = type.target
        if target.kind == "char" and target.size == 1:
            return _text(raw)
        parts = [_part(symbols, target, raw[i * target.size : (i + 1) * target.size], format, depth)
                 for i in range(min(type.count, ELEMENTS))]
        parts = _runs(parts)
        if type.count > ELEMENTS:
            parts.append(f"... {type.count - ELEMENTS} more")
    else:
        parts = []
        for member in type.members:
            piece = raw[member.offset : member.offset + member.type.size]
            if member.bits:
                text = str(member.type.scalar(piece) >> member.shift & (1 << member.bits) - 1)
            else:
                text = _part(symbols, member.type, piece, format, depth + 1)
            parts.append(f"{member.name} = {text}" if member.name else text)
    line = "{" + ", ".join(parts) + "}"
    if len(line) + 2 * depth <= WIDTH and "\n" not in line:
        return line
    pad = "  " * (depth + 1)
    return "{\n" + "".join(f"{pad}{part}\n" for part in parts) + "  " * depth + "}"


def _part(symbols: Symbols, type: Type, raw: bytes, format: str, depth: int) -> str:
    if type.composite or type.kind == "array":
        return _composite(symbols, type, raw, format, depth)
    return scalar(symbols, type, type.scalar(raw), format)


def _runs(parts: list[str]) -> list[str]:
    """Equal neighbours once, with how often."""
    out: list[tuple[str, int]] = []
    for part in parts:
        if out and out[-1][0] == part:
            out[-1] = part, out[-1][1] + 1
        else:
            out.append((part, 1))
    return [part if count == 1 else f"{part} <{count} times>" for part, count in out]


def _text(raw: bytes) -> str:
    text = raw.split(b"\0")[0].decode("latin-1")
    return '"' + "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else f"\\x{ord(c):02x}" for c in text) + '"'


def _unsigned(number: int, bits: int) -> int:
    return number & (1 << bits) - 1


def _signed(number: int, bits: int) -> int:
    number = _unsigned(number, bits)
    return number - (1 << bits) if number >> bits - 1 else number


_FORMATS: dict[str, Callable[[Symbols, int, int], str]] = {
    "x": lambda s, n, bits: f"{_unsigned(n, bits):#x}",
    "d": lambda s, n, bits: str(_signed(n, bits)),
    "u": lambda s, n, bits: str(_unsigned(n, bits)),
    "o": lambda s, n, bits: f"{_unsigned(n, bits):#o}",
    "t": lambda s, n, bits: f"{_unsigned(n, bits):#b}",
    "c": lambda s, n, bits: repr(chr(_unsigned(n, 8))),
    "a": lambda s, n, bits: f"{_unsigned(n, bits):#x} <{s.name(_unsigned(n, bits))}>",
}
FORMATS = "".join(_FORMATS)
