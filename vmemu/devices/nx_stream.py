# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's three kinds of work, a slice at a time: compress, decompress, wrap (UM 5.1, 5.2).

Each `run` takes a slice of the job's source, stores what comes out, and returns the job's Result when that was all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.devices.nx_codec import Inflate, Mode, Status, adler32, crc32
from vmemu.devices.nx_format import (
    CC,
    COMPRESS,
    FC_COUNT,
    FC_ONE_BLOCK,
    WRAP,
    CpbIn,
    Ended,
    Result,
    cpb_compress,
    cpb_decompress,
)

if TYPE_CHECKING:
    from vmemu.devices.nx_job import Job
    from vmemu.devices.nx_memory import Space

WINDOW = 32768
#: Source bytes of a slice of compression or wrapping.
SLICE = 256 << 10
#: Source and most target bytes of a slice of decompression.
INFLATE_SOURCE, INFLATE_TARGET = 128 << 10, 512 << 10
#: No slice is shorter, for the sake of a byte limit, than a block header can be: it would make no progress.
LEAST = 512
#: Bytes behind the stream's end that SPBC may count: SUBC has 16 bits (UM 5.2.5.3; how many is vmemu's choice).
OVERRUN = 64

# SFBT, "source final block type" (UM table 5-3); the low bit is BFINAL
SFBT_STORED, SFBT_FIXED, SFBT_DYNAMIC, SFBT_HEADER = 0x8, 0xA, 0xC, 0xE
_SFBT = {Mode.STORED: SFBT_STORED, Mode.FIXED: SFBT_FIXED, Mode.DYNAMIC: SFBT_DYNAMIC}
_MODE = {SFBT_STORED: Mode.STORED, SFBT_FIXED: Mode.FIXED, SFBT_DYNAMIC: Mode.DYNAMIC}


def run(job: Job, space: Space, limit: int, crowded: bool) -> Result | None:
    """One slice. `limit`: bytes after which a job gives way when `crowded`, 0 for never. Raises Ended, TranslationFault, LostMemory."""
    function = job.function
    if function in COMPRESS:
        return _compress(job, space, limit, crowded)
    if function == WRAP:
        return _wrap(job, space, limit, crowded)
    return _decompress(job, space, limit, crowded)


def resumed(cpb: CpbIn) -> Inflate:
    """A decompression as the CPB input describes it. SFBT 0xxx is a block header like 111x (vmemu's choice)."""
    mode = _MODE.get(cpb.sfbt & ~1, Mode.HEADER)
    state = Inflate(mode, bool(cpb.sfbt & 1) and mode is not Mode.HEADER)
    if mode is Mode.STORED:
        state.remain = cpb.word
    elif mode is Mode.DYNAMIC:
        state.dht_bits, state.dht = cpb.dht_bits, cpb.dht
    return state


def _slice(job: Job, limit: int, crowded: bool, most: int) -> tuple[int, bool]:
    """(source bytes to take now, whether the byte limit ends the job there)."""
    left = job.source.size - job.position
    done = job.position - job.history_size
    size = min(left, most)
    if not limit or done + size < limit:
        return size, False
    if done < limit:
        size = min(left, max(limit - done, LEAST))
    return size, crowded and size < left


# ------------------------------------------------------------------ compression
def _compress(job: Job, space: Space, limit: int, crowded: bool) -> Result | None:
    assert job.deflate is not None
    size, stop = _slice(job, limit, crowded, SLICE)
    data = job.gather(space, job.position, size)
    last = stop or job.position + size == job.source.size
    status, out = job.deflate.run(job.history + data, len(job.history), first=job.position == job.history_size, last=last)
    if status is not Status.OK:
        raise Ended(CC(int(status)))
    _plain(job, data)
    job.position += size
    job.scatter(space, out)
    if not last:
        return None
    if job.source.short and not stop:
        raise Ended(CC.LIST_TOTAL)
    counts = job.deflate.counts if job.function & FC_COUNT else []
    cpb = cpb_compress(job.function, job.crc, job.adler, job.deflate.npending, job.position, counts)
    if stop:
        return job.done(CC.SUSPENDED, cpb, suspended=True)
    return job.done(CC.EXPANDED if job.produced > job.position else CC.OK, cpb)


def _wrap(job: Job, space: Space, limit: int, crowded: bool) -> Result | None:
    size, stop = _slice(job, limit, crowded, SLICE)
    data = job.gather(space, job.position, size)
    _plain(job, data)
    job.position += size
    job.scatter(space, data)
    if not stop and job.position < job.source.size:
        return None
    if job.source.short and not stop:
        raise Ended(CC.LIST_TOTAL)
    cpb = cpb_compress(job.function, job.crc, job.adler, 0, job.position, [])
    return job.done(CC.SUSPENDED if stop else CC.OK, cpb, suspended=stop)


def _plain(job: Job, data: bytes) -> None:
    """Uncompressed data went by: checksums and history."""
    job.crc, job.adler = crc32(data, job.crc), adler32(data, job.adler)
    job.history = data[-WINDOW:] if len(data) >= WINDOW else (job.history + data)[-WINDOW:]


# ---------------------------------------------------------------- decompression
def _decompress(job: Job, space: Space, limit: int, crowded: bool) -> Result | None:
    assert job.inflate is not None
    size, stop = _slice(job, limit, crowded, INFLATE_SOURCE)
    data = job.gather(space, job.position, size)
    room = job.target.size - job.produced
    cap = min(room, INFLATE_TARGET)
    one_block = bool(job.function & FC_ONE_BLOCK)
    status, used, out = job.inflate.run(data, job.skip, job.history, cap, one_block=one_block)
    _plain(job, out)
    job.scatter(space, out)
    if status >= Status.SYMBOL:
        raise Ended(CC(int(status)))
    start = job.position * 8
    job.position, job.skip = job.position + used // 8, used % 8
    if status is Status.FULL:
        if cap == room:
            raise Ended(job.no_room())
        return None
    if status is Status.MORE and not stop:
        if start // 8 + size < job.source.size:
            return None
        if job.source.short:
            raise Ended(CC.LIST_TOTAL)
    return _stopped(job, status, start + used, data[used // 8 :])


def _stopped(job: Job, status: Status, used: int, rest: bytes) -> Result:
    """Regular ends and suspensions. `used`: bits of the source, `rest`: source bytes from there on, as far as they were read."""
    assert job.inflate is not None
    spare = job.source.size * 8 - used
    read = used // 8 + len(rest)  # running out of source, the engine has taken all of it
    spbc = read if status is Status.MORE else min(job.source.size, -(-used // 8) + OVERRUN)
    subc = spbc * 8 - used
    word, dht, sfbt = 0, b"", 0
    if status is not Status.FINAL:
        mode = job.inflate.mode
        if mode is Mode.HEADER:
            begun = status is Status.MORE and spare and rest
            sfbt = SFBT_HEADER | (rest[0] >> used % 8 & 1 if begun else 0)
        else:
            sfbt = _SFBT[mode] | job.inflate.final
            if mode is Mode.STORED:
                word = job.inflate.remain
            elif mode is Mode.DYNAMIC:
                word, dht = job.inflate.dht_bits, job.inflate.dht
    cpb = cpb_decompress(job.crc, job.adler, subc, sfbt, word, dht, spbc)
    whole = status is Status.FINAL and spare <= 7
    return job.done(CC.OK if whole else CC.SUSPENDED, cpb, suspended=not whole)

