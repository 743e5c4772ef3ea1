# SPDX-License-Identifier: GPL-2.0-or-later
"""Multiboot 1: start of images that carry its header (Multiboot Specification 0.6.96, sections 3.1 to 3.3).

The loader has put the ELF segments in place; here the information structure is built and the boot CPU's registers set.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError
from vmemu.machine.elf import ElfImage

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

HEADER_MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
SEARCH = 8192  # the header lies in the first 8 KiB of the file, 4-byte aligned
INFO = 0x7000  # below the firmware's place; the images load at 0x4000 or from 1 MiB
MEMORY, COMMAND_LINE, MAP = 1 << 0, 1 << 2, 1 << 6  # flags
MAX_COMMAND_LINE = 2048


def has_header(raw: bytes) -> bool:
    """Is there a header whose checksum is right?"""
    at = -1
    while (at := raw.find(struct.pack("<I", HEADER_MAGIC), at + 1, SEARCH)) >= 0:
        if at % 4 == 0 and at + 12 <= len(raw):
            magic, flags, check = struct.unpack_from("<III", raw, at)
            if (magic + flags + check) & 0xFFFFFFFF == 0:
                return True
    return False


def information(regions: list[tuple[int, int]], command_line: str, at: int = INFO) -> bytes:
    """The structure and what it points to, for loading at guest-physical `at`."""
    words = command_line.encode() + b"\0"
    if len(words) > MAX_COMMAND_LINE:
        raise ConfigError(f"the command line is longer than {MAX_COMMAND_LINE - 1} bytes")
    text = at + 128
    table = text + (len(words) + 7 & ~7)
    # one entry: size of the rest, base, length, type 1 = RAM
    entries = b"".join(struct.pack("<IQQI", 20, base, size, 1) for base, size in regions)
    upper = max(regions[0][1] - (1 << 20), 0) >> 10
    head = struct.pack("<11I", MEMORY | COMMAND_LINE | MAP, 640, upper, 0, text, 0, 0, 0, 0, 0, 0)
    head += struct.pack("<II", len(entries), table)
    return head.ljust(128, b"\0") + words.ljust(table - text, b"\0") + entries


def start(machine: Machine, vcpu: CoreVcpu, image: ElfImage, command_line: str) -> None:
    """Write the structure and set EAX, EBX and EIP; the reset state is otherwise what the specification asks for."""
    regions, words = machine.board.memory_regions(machine.memory_size), f"{image.name} {command_line}".strip()
    lo, hi = image.span()
    overlaps = lo < INFO + len(information(regions, words)) and hi > INFO
    place = hi + 15 & ~15 if overlaps else INFO
    blob = information(regions, words, place)
    if not machine.is_ram(place, len(blob)):
        raise ConfigError(f"{image.name}: no memory for the multiboot information: use more -m")
    machine.write_guest(place, blob)
    vcpu.set("rax", LOADER_MAGIC)
    vcpu.set("rbx", place)
    vcpu.set("rip", image.entry_paddr)
