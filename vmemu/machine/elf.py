# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF images: segments, entry, symbols, and vmemu's notes about pinned memory, running tasks and sleepers.

An image is input from outside: whatever is wrong with it, the answer is a ConfigError of one line. pyelftools answers
broken headers with whatever exception its parsers meet, so all of it is caught in one place, `_guard`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from vmemu.errors import ConfigError

#: e_machine (System V gABI) -> architecture, and the byte orders that its engine runs.
MACHINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "EM_X86_64": ("x86_64", ("little",)),
    "EM_386": ("x86_64", ("little",)),  # multiboot images start in 32-bit mode
    "EM_AARCH64": ("arm64", ("little",)),
    "EM_PPC64": ("ppc64", ("big", "little")),
}
NOTE_NAME, NOTE_PINNED, NOTE_TASKS, NOTE_SLEEPERS, NOTE_WANTS = b"vmemu\0", 1, 2, 3, 4
#: What the words of the note of sleepers count, in order (guest_images/kernel/apf.h, struct apf_counters). More may follow.
SLEEPER_WORDS = ("sleeping", "markers", "waits", "wakes", "early", "halts", "broadcasts", "spins", "asleep_ns")
MAX_FILE = 1 << 30
MAX_SEGMENTS = 256
MAX_PINNED = 64
MAX_CPUS = 64
MAX_SLEEPER_WORDS = 64
MAX_WANTS = 1024
MAX_SYMBOLS = 1_000_000
_TOP = 1 << 64


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD segment: `data`, then zeros up to `memsz` bytes."""

    vaddr: int
    paddr: int
    data: bytes
    memsz: int
    flags: int  # PF_X 1, PF_W 2, PF_R 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A symbol. kind: STT_FUNC, STT_OBJECT, STT_NOTYPE and so on; "STT_ABS" for a number that is no address.

    local: bytes from a function's address to where calls from inside the image enter it (64-bit ELF V2 ABI, 3.4.1).
    """

    name: str
    address: int
    size: int
    kind: str
    local: int


@dataclass(frozen=True)
class ElfImage:
    """A checked image. Addresses are the guest's; `pinned` lists [lo, hi) ranges of guest-physical bytes.

    `tasks` = (gpa, n): n words of 64 bits in which the kernel keeps the number of each CPU's running task, 0 for none.
    `sleepers` = (gpa, n): n words of 64 bits in which it counts tasks that sleep on tokens and the like (SLEEPER_WORDS).
    `wants`: boot options that it needs where the user leaves them to the image, as name -> value.
    All words are in the kernel's byte order.
    """

    name: str
    raw: bytes
    isa: str
    bits: int
    big_endian: bool
    entry: int
    segments: tuple[Segment, ...]
    pinned: tuple[tuple[int, int], ...]
    tasks: tuple[int, int] | None = None
    sleepers: tuple[int, int] | None = None
    wants: tuple[tuple[str, str], ...] = ()

    @property
    def entry_paddr(self) -> int:
        """The entry point as a physical address: entries are virtual in some kernels and physical in others."""
        return physical(self.segments, self.entry)

    def span(self) -> tuple[int, int]:
        """[lo, hi) of physical memory that the segments occupy."""
        return min(s.paddr for s in self.segments), max(s.paddr + s.memsz for s in self.segments)

    @property
    def loadable(self) -> bytes:
        """The file up to its debug information, which nobody loads: what a guest gets that loads the file itself."""
        with _guard(self.name):
            elf = ELFFile(io.BytesIO(self.raw))
            headers = [elf._get_segment_header(number) for number in range(elf.num_segments())]
            end = max(h["p_offset"] + h["p_filesz"] for h in headers if h["p_type"] in ("PT_LOAD", "PT_NOTE"))
            debug = [int(s["sh_offset"]) for s in elf.iter_sections() if s.name.startswith((".debug_", ".zdebug_"))]
            if not debug or min(debug) < max(end, elf["e_phoff"] + elf["e_phentsize"] * elf["e_phnum"]):
                return self.raw
            kept = bytearray(self.raw[: min(debug)])
            offset, rest = (40, 60) if self.bits == 64 else (32, 48)  # e_shoff; e_shnum and e_shstrndx (gABI figure 4-3)
            kept[offset : offset + self.bits // 8] = bytes(self.bits // 8)
            kept[rest : rest + 4] = bytes(4)
            return bytes(kept)

    @cached_property
    def symbol_table(self) -> tuple[Entry, ...]:
        """Every named symbol that is defined, in the file's order; empty for a stripped image."""
        with _guard(self.name):
            return tuple(self._entries())

    def _entries(self) -> Iterator[Entry]:
        for section in ELFFile(io.BytesIO(self.raw)).iter_sections():
            if not isinstance(section, SymbolTableSection):
                continue
            if section["sh_entsize"] == 0 or section["sh_size"] > len(self.raw):
                raise ConfigError(f"{self.name}: bad symbol table")
            for number, symbol in enumerate(section.iter_symbols()):
                if number >= MAX_SYMBOLS:
                    break
                kind = "STT_ABS" if symbol["st_shndx"] == "SHN_ABS" else str(symbol["st_info"]["type"])
                if not symbol.name or kind in ("STT_FILE", "STT_SECTION") or symbol["st_shndx"] == "SHN_UNDEF":
                    continue
                local = int(symbol["st_other"]["local"]) if self.isa == "ppc64" else 0
                yield Entry(
                    str(symbol.name), int(symbol["st_value"]), int(symbol["st_size"]), kind, (1 << local >> 2) << 2 if local < 7 else 0
                )

    @cached_property
    def symbols(self) -> dict[str, int]:
        """Name -> address of every named symbol; empty for a stripped image."""
        found: dict[str, int] = {}
        for entry in self.symbol_table:
            found.setdefault(entry.name, entry.address)
        return found


@contextmanager
def _guard(name: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:100]
        raise ConfigError(f"{name}: malformed ELF image: {text or type(error).__name__}") from None


def read_image(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file, or a ConfigError that says why not."""
    name = os.fspath(path)
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            raise ConfigError(f"{name}: is a directory")
        if not stat.S_ISREG(info.st_mode):  # reading a pipe could wait for ever
            raise ConfigError(f"{name}: is not a regular file")
        if info.st_size > MAX_FILE:
            raise ConfigError(f"{name}: larger than {MAX_FILE >> 20} MiB, surely no guest image")
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot read: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{name!r}: not a file name") from None


def load_elf(path: str | os.PathLike[str], isa: str | None = None) -> ElfImage:
    """Read and check an image file. With `isa`, an image of another architecture is refused."""
    return parse_elf(Path(path).name, read_image(path), isa)


def parse_elf(name: str, raw: bytes, isa: str | None = None) -> ElfImage:
    """Check an image's bytes; `name` is for messages."""
    if not raw:
        raise ConfigError(f"{name}: empty file")
    if not raw.startswith(b"\x7fELF"):
        raise ConfigError(f"{name}: not an ELF image")
    with _guard(name):
        image = _parse(name, raw)
    if isa is not None and image.isa != isa:
        raise ConfigError(f"{name}: an image for {image.isa}, not {isa}; use --isa {image.isa}")
    return image


def _parse(name: str, raw: bytes) -> ElfImage:
    elf = ELFFile(io.BytesIO(raw))
    header = elf.header
    machine = MACHINES.get(header["e_machine"])
    order = "little" if elf.little_endian else "big"
    if machine is None or order not in machine[1]:
        raise ConfigError(f"{name}: a {order}-endian image for {header['e_machine']}, which vmemu does not run")
    if header["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise ConfigError(f"{name}: not an executable ({header['e_type']})")
    if elf.num_segments() > MAX_SEGMENTS:
        raise ConfigError(f"{name}: {elf.num_segments()} program headers, at most {MAX_SEGMENTS} make sense")
    # Linkers write the section headers last: a file cut anywhere lacks them, also where only debug information is lost.
    end = header["e_shoff"] + header["e_shnum"] * header["e_shentsize"]
    if header["e_shoff"] and end > len(raw):
        raise ConfigError(f"{name}: truncated: the section headers end at byte {end} of {len(raw)}")
    segments: list[Segment] = []
    notes: list[tuple[int, tuple[int, int]]] = []
    wants: list[tuple[str, str]] = []
    for number in range(elf.num_segments()):
        # The header alone: pyelftools' segment objects would interpret types that do not concern us.
        h = elf._get_segment_header(number)
        kind, offset, filesz = h["p_type"], h["p_offset"], h["p_filesz"]
        if kind not in ("PT_LOAD", "PT_NOTE"):
            continue
        if offset + filesz > len(raw):
            raise ConfigError(f"{name}: truncated: segment {number} ends at byte {offset + filesz} of {len(raw)}")
        data = raw[offset : offset + filesz]
        if kind == "PT_NOTE":
            for what, desc in _notes(name, data, order):
                if what == NOTE_WANTS:
                    wants.append(_want(name, desc))
                else:
                    notes += [(what, pair) for pair in _pairs(name, what, desc, order)]
        elif h["p_memsz"]:
            if filesz > h["p_memsz"]:
                raise ConfigError(f"{name}: segment {number} has more bytes in the file than in memory")
            segments.append(Segment(h["p_vaddr"], h["p_paddr"], data, h["p_memsz"], h["p_flags"]))
    _check_segments(name, segments)
    pinned = tuple(pair for kind, pair in notes if kind == NOTE_PINNED)
    arrays = {kind: (physical(tuple(segments), at), n) for kind, (at, n) in reversed(notes) if kind != NOTE_PINNED}
    image = ElfImage(
        name, raw, machine[0], elf.elfclass, order == "big", header["e_entry"], tuple(segments), pinned,
        arrays.get(NOTE_TASKS), arrays.get(NOTE_SLEEPERS), tuple(wants),
    )
    if not any(s.paddr <= image.entry_paddr < s.paddr + s.memsz for s in segments):
        raise ConfigError(f"{name}: entry point {image.entry:#x} lies outside every segment")
    return image


def _check_segments(name: str, segments: list[Segment]) -> None:
    if not segments:
        raise ConfigError(f"{name}: nothing to load")
    end = 0
    for s in sorted(segments, key=lambda s: s.paddr):
        if max(s.paddr, s.vaddr) + s.memsz > _TOP:
            raise ConfigError(f"{name}: segment at {s.paddr:#x} wraps around the end of memory")
        if s.paddr < end:
            raise ConfigError(f"{name}: segments overlap at {s.paddr:#x}")
        end = s.paddr + s.memsz


def physical(segments: tuple[Segment, ...], address: int) -> int:
    """The physical address of a virtual one; what no segment maps is taken as it is."""
    for s in segments:
        if s.vaddr <= address < s.vaddr + s.memsz:
            return s.paddr + address - s.vaddr
    return address


#: Notes of arrays: what they hold, and how many words make sense.
_ARRAYS = {NOTE_TASKS: ("running tasks", MAX_CPUS), NOTE_SLEEPERS: ("sleepers", MAX_SLEEPER_WORDS)}


def _notes(name: str, data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(kind, descriptor) of vmemu's notes in a PT_NOTE segment (gABI: three words, name and desc padded to 4 bytes)."""
    mark = ">" if order == "big" else "<"
    at = 0
    while at + 12 <= len(data):
        name_size, desc_size, kind = struct.unpack_from(f"{mark}III", data, at)
        begin = at + 12 + (name_size + 3 & ~3)
        at = begin + (desc_size + 3 & ~3)
        if begin + desc_size > len(data):
            raise ConfigError(f"{name}: malformed ELF note")
        if kind in (NOTE_PINNED, NOTE_WANTS, *_ARRAYS) and data[begin - (name_size + 3 & ~3) :][:name_size] == NOTE_NAME:
            yield kind, data[begin : begin + desc_size]


def _pairs(name: str, kind: int, desc: bytes, order: str) -> Iterator[tuple[int, int]]:
    """The pairs of 64-bit words of a note: ranges, or an array's address and length."""
    if kind == NOTE_PINNED and (len(desc) % 16 or len(desc) // 16 > MAX_PINNED):
        raise ConfigError(f"{name}: the note of pinned memory must hold up to {MAX_PINNED} pairs of addresses")
    if kind in _ARRAYS and len(desc) != 16:
        raise ConfigError(f"{name}: the note of {_ARRAYS[kind][0]} must hold an address and a number of words")
    for lo, hi in struct.iter_unpack(">QQ" if order == "big" else "<QQ", desc):
        if kind == NOTE_PINNED and lo >= hi:
            raise ConfigError(f"{name}: pinned range {lo:#x} to {hi:#x} is empty")
        if kind in _ARRAYS and (lo % 8 or not 1 <= hi <= _ARRAYS[kind][1]):
            what, most = _ARRAYS[kind]
            raise ConfigError(f"{name}: {hi} words of {what} at {lo:#x}: must be 1 to {most} aligned words")
        yield lo, hi


def _want(name: str, desc: bytes) -> tuple[str, str]:
    """``tce=papr``."""
    option, equals, value = desc.rstrip(b"\0").decode("ascii", "replace").partition("=")
    if len(desc) > MAX_WANTS or not equals or not option.isidentifier() or not value.isprintable():
        raise ConfigError(f"{name}: the note of a boot option must hold OPTION=VALUE")
    return option, value
