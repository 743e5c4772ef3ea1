# SPDX-License-Identifier: GPL-2.0-or-later
"""P14: a job cut into several requests gives what one request gives; and what suspends a job."""

from __future__ import annotations

import random
import zlib

import pytest
from helpers.deflate import STRATEGIES, Bits, flat_table, texts, zlib_raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmemu.devices.nx_job import Limits
from vmemu.lab.vas_rig import CPB, CSB, SOURCE, TARGET, Outcome, Request, Rig, crb, dde

TEXT = b"".join(b"line %d of a text that repeats itself; " % i for i in range(600))
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def request_() -> Request:
    return Request(Rig())


def history(out: bytes) -> bytes:
    """The end of the plain data as the next request's history: whole quadwords, so something may have to stand in front."""
    return (bytes(-len(out) % 16) + out)[-32768:]


class Inflater:
    """A program that decompresses a stream in pieces, by the arithmetic of the UM (consumed bytes, SUBC, copied CPB)."""

    def __init__(self, request: Request) -> None:
        self.request, self.out, self.at, self.got = request, b"", 0, None
        self.fed = 0

    def feed(self, stream: bytes, end: int, function: int = 0x10) -> Outcome:
        request, before = self.request, self.got
        self.fed += 1
        assert self.fed < 500, "no progress"
        past = history(self.out) if before else b""
        if before:
            request.cpb_in(
                crc=before.crc, adler=before.adler, history=len(past), subc=before.subc % 8, sfbt=before.sfbt, word=before.word,
                dht=before.dht,
            )  # fmt: skip
        self.got = got = request.run(function | 4 if before else function, past + stream[self.at : end])
        assert got.cc in (0, 3), got.cc
        assert (got.cc, got.ce) in ((0, 0x20), (3, 0xA0))
        self.out += got.data
        left = got.subc // 8 if got.sfbt == 0 else -(-got.subc // 8)
        self.at += got.spbc_inflate - len(past) - left
        return got


@QUICK
@given(texts(), st.integers(0, 9), st.sampled_from(STRATEGIES), st.data())
def test_p14_decompression_in_pieces(request_: Request, data: bytes, level: int, strategy: int, choose: st.DataObject) -> None:
    stream = zlib_raw(data, level, strategy)
    program = Inflater(request_)
    for end in sorted(choose.draw(st.lists(st.integers(1, len(stream)), max_size=5, unique=True))):
        if end > program.at and program.feed(stream, end).cc == 0:
            break
    while program.got is None or program.got.cc != 0:
        program.feed(stream, len(stream))
    assert program.out == data
    assert (program.got.crc, program.got.adler) == (zlib.crc32(data), zlib.adler32(data))


@QUICK
@given(texts(), st.integers(1, 9))
def test_p14_block_by_block(request_: Request, data: bytes, level: int) -> None:
    """The single-block functions stop behind every block: SFBT E."""
    made = zlib.compressobj(level, zlib.DEFLATED, -15)
    third = len(data) // 3
    stream = made.compress(data[:third]) + made.flush(zlib.Z_FULL_FLUSH) + made.compress(data[third:]) + made.flush()
    program, blocks = Inflater(request_), 0
    while program.got is None or program.got.cc != 0:
        got = program.feed(stream, len(stream), 0x12)
        blocks += 1
        assert got.cc == 0 or (got.sfbt == 0xE and got.subc > 0)
    assert program.out == data and blocks >= 2


@QUICK
@given(st.lists(texts(1500), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_p14_compression_in_pieces(request_: Request, parts: list[bytes], dynamic: bool, counted: bool) -> None:
    """Each piece with the plain data before it as history; BFINAL cleared and an empty stored block in between, as libraries do."""
    table, bits = flat_table()
    plain, stream, crc, adler = b"", b"", 0, 1
    for i, part in enumerate(parts):
        past = plain[len(plain) % 16 :][-32768:]  # whole quadwords
        request_.cpb_in(crc=crc, adler=adler, history=len(past), word=bits, dht=table)
        got = request_.run(0x08 | 2 * dynamic | 4 * counted, past + part)
        assert got.cc in (0, 64) and (got.cc == 64) == (got.tpbc > len(past) + len(part))
        assert (got.spbc_counts if counted else got.spbc) == len(past) + len(part)
        crc, adler, plain = got.crc, got.adler, plain + part
        if i == len(parts) - 1:
            stream += got.data
            break
        bits_used = Bits().put(int.from_bytes(got.data, "little") & ~1, 8 * got.tpbc - -got.tebc % 8)
        bits_used.put(0, 3).put(0, -bits_used.size % 8).put(0xFFFF0000, 32)  # stored, empty: a byte boundary
        stream += bits_used.bytes()
    assert zlib.decompress(stream, -15) == plain
    assert (crc, adler) == (zlib.crc32(plain), zlib.adler32(plain))


def test_history_shortens_the_output(request_: Request) -> None:
    noise = random.Random(3).randbytes(8000)
    request_.cpb_in(history=8000)
    assert request_.run(0x08, noise + noise).tpbc < 200


def test_h16_resume_nonsense(request_: Request) -> None:
    """H16: any SFBT, SUBC and length word ends in a CSB."""
    rng, table = random.Random(4), flat_table()
    stream = zlib_raw(TEXT, 9)
    seen = set()
    for _ in range(150):
        word = rng.choice((0, 1, 41, table[1], 2284, 4095, 65535))
        request_.cpb_in(history=16 * rng.randrange(3), subc=rng.randrange(256), sfbt=rng.randrange(16), word=word, dht=table[0])
        got = request_.run(0x14, stream[: rng.randrange(1, 400)])
        assert got.valid and got.cc in (0, 3, 66, 67, 68)
        seen.add(got.cc)
    assert {3, 68} <= seen


def test_h16_sfbt_without_its_high_bit_is_a_header(request_: Request) -> None:
    stream = zlib_raw(TEXT)
    for sfbt in range(8):
        request_.cpb_in(sfbt=sfbt)
        assert request_.run(0x14, stream).cc == 0


def test_h16_no_progress(request_: Request) -> None:
    """H16: a dynamic header that lacks its last bit: suspended, nothing used, the same again; with the bit it goes on."""
    table, bits = flat_table()
    raw = Bits().put(5, 3).put(int.from_bytes(table, "little"), bits)
    cut = raw.value & (1 << raw.size - 1) - 1
    whole = raw.size - 1 >> 3
    source = cut.to_bytes(raw.size // 8 + 1, "little")[:whole]
    for _ in range(2):
        got = request_.run(0x10, source)
        assert (got.cc, got.ce, got.sfbt, got.subc, got.tpbc) == (3, 0xA0, 0xF, 8 * whole, 0)
    request_.cpb_in(sfbt=0xF)
    end = f"{226 * 2 + 256 - 226:09b}"[::-1]  # end of block is the 31st of the codes of nine bits
    raw.put(int(end, 2), 9)
    assert request_.run(0x14, raw.bytes()).cc == 0


def test_suspended_states_of_the_table(request_: Request) -> None:
    """UM table 5-3: SFBT and SUBC for a source that ends in each kind of block, before one, and inside a header."""
    stored = b"\x00\x05\x00\xfa\xffab"
    got = request_.run(0x10, stored)
    assert (got.sfbt, got.subc, got.word, got.data) == (0x8, 0, 3, b"ab")
    got = request_.run(0x10, b"\x01" + stored[1:])
    assert (got.sfbt, got.subc, got.word) == (0x9, 0, 3)
    got = request_.run(0x10, b"\x4b\x4c\x4a")  # "abc" without its end: fixed, BFINAL
    assert got.sfbt == 0xB and 0 <= got.subc <= 30 and got.data.startswith(b"a")
    got = request_.run(0x10, b"\x00\x01\x00\xfe\xffa")  # exactly before a header
    assert (got.sfbt, got.subc, got.data) == (0xE, 0, b"a")
    got = request_.run(0x10, b"\x01\x05\x00")  # inside the header of a stored block
    assert (got.sfbt, got.subc) == (0xF, 24)


# ------------------------------------------------------------------- byte limits
def test_byte_limits_give_way_only_to_a_waiting_job() -> None:
    """UM 4.4: at the limit, and when another job waits; odd function codes take the low limit."""
    data = TEXT * 8
    for function, waiting, done in ((0x00, True, 128 << 10), (0x01, True, 64 << 10), (0x00, False, len(data))):
        rig = Rig()
        rig.vas.engine._limits = Limits(high=128 << 10, low=64 << 10)
        request = Request(rig, most=1 << 18)
        rig.map(0x7FFE_0000_0000, 4096)
        request.start(function, data)
        if waiting:
            assert rig.paste(crb(0x1E, 0x7FFE_0000_00F0, dde(SOURCE, 10), dde(TARGET + (1 << 17), 10)))
        rig.settle()
        got = request.outcome()
        assert (got.cc, got.ce, got.spbc) == ((3, 0xA0, done) if waiting else (0, 0x20, done))
        assert zlib.decompress(got.data, -15) == data[:done]
        if waiting:
            assert rig.user_read(0x7FFE_0000_00F0, 1) == b"\x80"


def test_byte_limit_of_a_decompression() -> None:
    rig = Rig()
    rig.vas.engine._limits = Limits(high=1000)
    request = Request(rig)
    stream = zlib_raw(random.Random(5).randbytes(6000), 9)
    request.start(0x10, stream)
    rig.map(0x7FFE_0000_0000, 4096)
    assert rig.paste(crb(0x1E, 0x7FFE_0000_00F0, dde(SOURCE, 10), dde(TARGET + 0x8000, 10)))
    rig.settle()
    got = request.outcome()
    assert (got.cc, got.ce) == (3, 0xA0) and 900 <= got.tpbc <= 1000
    assert got.data == zlib.decompress(stream, -15)[: got.tpbc]


def test_long_jobs_go_slice_by_slice() -> None:
    """More than one slice on either side, and the same bytes as in one."""
    rig = Rig()
    request = Request(rig, most=1 << 20)
    data = (TEXT * 50)[: 1 << 20]
    made = request.run(0x00, data)
    assert made.cc == 0 and zlib.decompress(made.data, -15) == data
    back = request.run(0x10, zlib_raw(data, 9))
    assert (back.cc, back.tpbc, back.crc) == (0, len(data), zlib.crc32(data)) and back.data == data
    noise = random.Random(6).randbytes(700_000)
    assert request.run(0x10, zlib_raw(noise, 1)).data == noise
    assert CPB == CSB + 16
