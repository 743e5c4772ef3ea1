# SPDX-License-Identifier: GPL-2.0-or-later
"""Images with a multiboot header start without firmware."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.elfmaker import EM_386, make_elf

from vmemu.errors import ConfigError
from vmemu.machine import multiboot
from vmemu.machine.machine import Machine


def header(flags: int = 0, check: int | None = None) -> bytes:
    magic = multiboot.HEADER_MAGIC
    return struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFFFFFF if check is None else check)


def test_header_is_found_only_where_the_specification_allows() -> None:
    assert multiboot.has_header(bytes(64) + header(3))
    assert not multiboot.has_header(bytes(66) + header(3))  # not aligned
    assert not multiboot.has_header(bytes(8192) + header(3))
    assert not multiboot.has_header(bytes(64) + header(3, check=1))
    assert multiboot.has_header(header(check=1) + header())
    assert not multiboot.has_header(header()[:8])


def test_information_structure() -> None:
    blob = multiboot.information([(0, 64 << 20), (4 << 30, 1 << 20)], "image a b", 0x7000)
    words = struct.unpack_from("<13I", blob)
    assert words[0] == 0x45
    assert words[1:3] == (640, 63 << 10)
    assert blob[words[4] - 0x7000 :].startswith(b"image a b\0")
    size, at = words[11], words[12] - 0x7000
    entries = [struct.unpack_from("<IQQI", blob, at + i * 24) for i in range(size // 24)]
    assert entries == [(20, 0, 64 << 20, 1), (20, 4 << 30, 1 << 20, 1)]


def test_long_command_line_is_refused() -> None:
    with pytest.raises(ConfigError):
        multiboot.information([(0, 1 << 20)], "x" * 3000)


def boot(code: bytes, tmp_path: Path, *, base: int = 0x100000, memory: str = "16M", append: str = "") -> int | None:
    """Guest status of a multiboot image that ends through the debug-exit port."""
    image = tmp_path / "image.elf"
    data = header() + code
    image.write_bytes(make_elf(EM_386, bits=32, entry=base + 12, segments=((base, base, data, len(data)),)))
    machine = Machine.boot(str(image), memory=memory, append=append)
    result = machine.run()
    machine.close()
    return result.guest_status


def test_boot_registers_and_information(tmp_path: Path) -> None:
    out = b"\xe7\xf4"  # out 0xf4, eax
    assert boot(out, tmp_path) == multiboot.LOADER_MAGIC
    assert boot(b"\x8b\x43\x08" + out, tmp_path) == 15 << 10  # mem_upper in KiB
    # the last word of the command line's first four bytes: "imag"
    assert boot(b"\x8b\x43\x10\x8b\x00" + out, tmp_path, append="x") == int.from_bytes(b"imag", "little")
    # an image over the usual place moves the information
    assert boot(b"\x8b\x43\x08" + out + bytes(0x3000), tmp_path, base=0x6000) == 15 << 10
