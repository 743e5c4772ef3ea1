# SPDX-License-Identifier: GPL-2.0-or-later
"""What the VAS model reads of programs' memory: where a request may store, and whether what came out is right (by zlib)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from vmemu.isa.ppc64.walker import RadixState, walk
from vmemu.lab.models.base import peek
from vmemu.lab.models.vas_windows import Job

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

CPB_IN, CPB_OUT, CPB_END = 304, 384, 1680
#: Larger requests are not checked byte by byte.
MOST = 1 << 16
COPY, COMPRESS = 0x1E, range(0x00, 0x10, 2)
RESUME = 0x08
MASK = (1 << 64) - 1
Spans = list[tuple[int, int]]


def user_bytes(machine: Machine, pid: int | None, ea: int, size: int) -> bytes | None:
    """Bytes at an effective address of a process (None: real addresses), by a walk of its tree; None: not all of it is mapped."""
    if pid is None:
        return peek(machine, ea & (1 << 60) - 1, size)
    table = machine.vcpus[0].get("prtbl")
    state = RadixState(pid=pid, prtbl=table & ~0xFFF & (1 << 60) - 1, prtbl_size=0 if table == MASK else 1 << (table & 31) + 12)

    def read64(address: int) -> int | None:
        raw = peek(machine, address, 8)
        return None if raw is None else int.from_bytes(raw, "big")

    out = b""
    while len(out) < size:
        at = ea + len(out)
        found = walk(read64, state, at, 0, True)
        data = peek(machine, found.gpa, min(size - len(out), 4096 - at % 4096)) if found.ok else None
        if data is None:
            return None
        out += data
    return out


def _list(machine: Machine, pid: int | None, dde: bytes) -> tuple[Spans, Spans]:
    """A descriptor: the pieces that it names, and where the list of them lies."""
    count, length, address = dde[2], int.from_bytes(dde[4:8], "big"), int.from_bytes(dde[8:16], "big")
    if not count:
        return [(address, length)], []
    raw = user_bytes(machine, pid, address, 16 * count)
    if raw is None:
        return [], [(address, 16 * count)]
    pieces = [(int.from_bytes(raw[i + 8 : i + 16], "big"), int.from_bytes(raw[i + 4 : i + 8], "big")) for i in range(0, len(raw), 16)]
    return pieces, [(address, 16 * count)]


def reach(machine: Machine, pid: int | None, crb: bytes, *, stores: bool) -> Spans:
    """(address, size) of everything that the engine may store to, or touch at all, for a request."""
    csb = int.from_bytes(crb[8:16], "big") & ~15
    target, lists = _list(machine, pid, crb[32:48])
    spans = [*target, (csb, 16), (csb + 16 + CPB_OUT, CPB_END - CPB_OUT)]
    if stores:
        return spans
    source, more = _list(machine, pid, crb[16:32])
    return [*spans, *source, *lists, *more, (csb + 16, CPB_IN)]


def wanted_plain(machine: Machine, pid: int | None, crb: bytes) -> bytes | None:
    """The data that a fresh compression or a copy of one direct buffer works on; None: not such a request."""
    function, size = crb[3] & 0x3E, int.from_bytes(crb[20:24], "big")
    if crb[:3] != bytes(3) or any(crb[4:8]) or crb[18] or crb[34] or size > MOST:
        return None
    if function in COMPRESS and function & RESUME:
        csb = int.from_bytes(crb[8:16], "big") & ~15
        head = user_bytes(machine, pid, csb + 16, 16)
        if head is None or head[8] or head[9] >> 4:
            return None
    elif function != COPY and function not in COMPRESS:
        return None
    return user_bytes(machine, pid, int.from_bytes(crb[24:32], "big"), size)


def wrong_result(machine: Machine, pid: int | None, job: Job, block: bytes) -> str | None:
    """P13: what comes out of the target is what went in, if the program has left its source alone meanwhile."""
    crb, size = job.crb, int.from_bytes(block[4:8], "big")
    if job.plain is None or size > MOST or wanted_plain(machine, pid, crb) != job.plain:
        return None
    out = user_bytes(machine, pid, int.from_bytes(crb[40:48], "big"), size)
    if out is None:
        return None
    if crb[3] & 0x3E == COPY:
        return None if out == job.plain else "a copy's target is not its source"
    try:
        inflate = zlib.decompressobj(-15)
        plain = inflate.decompress(out)
    except zlib.error as error:
        return f"the stream that was stored is none: {error}"
    return None if plain == job.plain else f"{len(plain)} bytes come out of what {len(job.plain)} were compressed to, and others"
