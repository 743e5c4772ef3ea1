# SPDX-License-Identifier: GPL-2.0-or-later
"""A small ELF writer for tests: both classes, both byte orders, one symbol table, one vmemu note."""

from __future__ import annotations

import struct

EM_386, EM_PPC64, EM_X86_64, EM_AARCH64, EM_RISCV = 3, 21, 62, 183, 243
ISA_MACHINE = {"x86_64": (EM_X86_64, False), "arm64": (EM_AARCH64, False), "ppc64": (EM_PPC64, True)}


def note(pairs: list[tuple[int, int]], big: bool, name: bytes = b"vmemu\0", kind: int = 1) -> bytes:
    mark = ">" if big else "<"
    desc = b"".join(struct.pack(f"{mark}QQ", lo, hi) for lo, hi in pairs)
    return struct.pack(f"{mark}III", len(name), len(desc), kind) + name + bytes(-len(name) % 4) + desc


def wants(text: str, big: bool = False) -> bytes:
    """A note of a boot option."""
    desc = text.encode() + b"\0"
    head = struct.pack(">3I" if big else "<3I", 6, len(desc), 4)
    return head + b"vmemu\0\0\0" + desc.ljust(len(desc) + 3 & ~3, b"\0")


def make_elf(
    machine: int = EM_X86_64,
    big: bool = False,
    bits: int = 64,
    entry: int = 0x100000,
    segments: tuple[tuple[int, int, bytes, int], ...] = ((0xFFFF8000_00100000, 0x100000, b"\xf4" * 64, 8192),),
    notes: bytes = b"",
    symbols: tuple[tuple[str, int], ...] = (),
    e_type: int = 2,
) -> bytes:
    """segments: (vaddr, paddr, data, memsz)."""
    mark = ">" if big else "<"
    wide = bits == 64
    mask = (1 << bits) - 1
    ehsize, phsize, shsize = (64, 56, 64) if wide else (52, 32, 40)
    programs = [(1, 7, v, p, d, m) for v, p, d, m in segments]
    if notes:
        programs.append((4, 4, 0, 0, notes, len(notes)))
    body = b""
    base = ehsize + phsize * len(programs)
    headers = b""
    for kind, flags, v, p, data, memsz in programs:
        off = base + len(body)
        if wide:
            headers += struct.pack(f"{mark}IIQQQQQQ", kind, flags, off, v, p, len(data), memsz, 1)
        else:
            headers += struct.pack(f"{mark}IIIIIIII", kind, off, v & mask, p, len(data), memsz, flags, 1)
        body += data
    strings, table = b"\0", bytes(24 if wide else 16)
    for name, value in symbols:
        if wide:
            table += struct.pack(f"{mark}IBBHQQ", len(strings), 0x10, 0, 1, value, 0)
        else:
            table += struct.pack(f"{mark}IIIBBH", len(strings), value & mask, 0, 0x10, 0, 1)
        strings += name.encode() + b"\0"
    section_names = b"\0.symtab\0.strtab\0.shstrtab\0"
    sections = b""

    def section(name: int, kind: int, data: bytes, link: int, entsize: int) -> None:
        nonlocal sections, body
        form = f"{mark}IIQQQQIIQQ" if wide else f"{mark}IIIIIIIIII"
        sections += struct.pack(form, name, kind, 0, 0, base + len(body), len(data), link, 1, 1, entsize)
        body += data

    section(0, 0, b"", 0, 0)
    section(1, 2, table, 2, 24 if wide else 16)
    section(9, 3, strings, 0, 0)
    section(17, 3, section_names, 0, 0)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if big else 1, 1]) + bytes(9)
    form = f"{mark}HHIQQQIHHHHHH" if wide else f"{mark}HHIIIIIHHHHHH"
    shoff = base + len(body)
    header = struct.pack(
        form, e_type, machine, 1, entry & mask, ehsize, shoff, 0, ehsize, phsize, len(programs), shsize, 4, 3
    )
    return ident + header + headers + body + sections
