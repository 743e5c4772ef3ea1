# SPDX-License-Identifier: GPL-2.0-or-later
"""Flattened device trees, written. Devicetree Specification v0.4, chapter 5.

The trees that boards hand to guests are small and only ever written, so a page of code here spares every user a
C library and its build. The tests read the result back with libfdt.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

MAGIC = 0xD00DFEED  # section 5.2
VERSION, LAST_COMPATIBLE = 17, 16
BEGIN_NODE, END_NODE, PROP, END = 1, 2, 3, 9  # section 5.4.1

#: An int is one cell (u32), a str is NUL-terminated, a list of str is a string list, None is an empty property.
Value = int | str | bytes | Sequence[str] | None


def cells(*values: int) -> bytes:
    """Big-endian 32-bit cells."""
    return b"".join(v.to_bytes(4, "big") for v in values)


def cells64(*values: int) -> bytes:
    """Numbers of two cells each, for #address-cells = #size-cells = 2."""
    return b"".join(v.to_bytes(8, "big") for v in values)


class Node:
    """A node of the tree; the root's name is empty. Order of properties and children is kept."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.properties: dict[str, bytes] = {}
        self.children: list[Node] = []

    def set(self, name: str, value: Value = None) -> Node:
        """Set a property; returns the node, so that calls chain."""
        self.properties[name] = _encode(name, value)
        return self

    def find(self, name: str) -> Node:
        """The child of that name. Raises KeyError."""
        for child in self.children:
            if child.name == name:
                return child
        raise KeyError(name)

    def add(self, name: str) -> Node:
        """Append a child and return it."""
        if any(c.name == name for c in self.children):
            raise ValueError(f"device tree: two nodes {name!r} under {self.name or '/'!r}")
        child = Node(name)
        self.children.append(child)
        return child


def _encode(name: str, value: Value) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        if not 0 <= value < 1 << 32:
            raise ValueError(f"device tree: {name} = {value:#x} does not fit in one cell; use cells64()")
        return cells(value)
    strings = [value] if isinstance(value, str) else list(value)
    if any("\0" in s for s in strings):
        raise ValueError(f"device tree: NUL inside {name}")
    return b"".join(s.encode() + b"\0" for s in strings)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def flatten(root: Node, reserve: Iterable[tuple[int, int]] = (), boot_cpu: int = 0) -> bytes:
    """The blob. `reserve` lists (address, bytes) that the guest must not use (section 5.3)."""
    strings = bytearray()
    offsets: dict[str, int] = {}
    out = bytearray()

    def intern(name: str) -> int:
        if name not in offsets:
            offsets[name] = len(strings)
            strings.extend(name.encode() + b"\0")
        return offsets[name]

    def emit(node: Node) -> None:
        out.extend(cells(BEGIN_NODE) + _pad(node.name.encode() + b"\0"))
        for name, value in node.properties.items():
            out.extend(cells(PROP, len(value), intern(name)) + _pad(value))
        for child in node.children:
            emit(child)
        out.extend(cells(END_NODE))

    emit(root)
    out.extend(cells(END))
    reserved = b"".join(struct.pack(">QQ", a, n) for a, n in (*reserve, (0, 0)))
    header = 40
    structure = header + len(reserved)  # both multiples of 8
    text = structure + len(out)
    total = text + len(strings)
    total += -total % 8
    head = cells(MAGIC, total, structure, text, header, VERSION, LAST_COMPATIBLE, boot_cpu, len(strings), len(out))
    return (head + reserved + bytes(out) + bytes(strings)).ljust(total, b"\0")
