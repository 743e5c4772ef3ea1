# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine as a program sees it: golden vectors, completion codes, DDEs, CPB fields, checks in their order."""

from __future__ import annotations

import struct
import zlib

import pytest
from helpers.deflate import flat_table, header, texts, zlib_raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmemu.devices.nx_codec import COUNTS
from vmemu.devices.nx_engine import BYTES_PER_US, STARTUP_NS
from vmemu.lab.vas_rig import BLOCK, CPB, CSB, PAGE, SOURCE, TARGET, Request, Rig, crb, dde

TEXT = b"".join(b"line %d of a text that repeats itself; " % i for i in range(600))
LIST = BLOCK + 0x800


@pytest.fixture(scope="module")
def request_() -> Request:
    return Request(Rig())


# ---------------------------------------------------------------- golden vectors
@pytest.mark.parametrize(
    ("source", "cc", "crc", "adler"),
    [
        (b"abc", 64, "c2412435", "024d0127"),
        (b"a" * 100, 0, "647a70af", "7a4725e5"),
        (b"hello hello hello hello\n" * 8, 0, "cf2cf152", "6fb645d1"),
    ],
)
def test_golden_vectors(request_: Request, source: bytes, cc: int, crc: str, adler: str) -> None:
    got = request_.run(0x00, source)
    assert got.valid and (got.cc, got.ce, got.spbc) == (cc, 0x20, len(source))
    assert got.raw_sums.hex() == adler + crc
    assert zlib.decompress(got.data, -15) == source


def test_golden_abc_bit_for_bit(request_: Request) -> None:
    got = request_.run(0x00, b"abc")
    assert (got.data.hex(), got.tpbc, got.tebc) == ("4b4c4a0600", 5, 2)


def test_golden_fault() -> None:
    """The fault example: window 5, source page absent, CSB at 0x7fff000100f0."""
    rig = Rig()
    assert rig.open_send(5)
    request = Request(rig, window=5)
    rig.map(0x7FFF_0003_0000, PAGE)
    rig.user_write(0x7FFF_0003_0000, b"x" * 100)
    rig.away(0x7FFF_0003_0000)
    assert rig.paste(crb(0, CSB, dde(0x7FFF_0003_0000, 100), dde(TARGET, request.room)), 5)
    rig.settle()
    assert rig.user_read(CSB, 16) == bytes(16)
    assert (rig.credits(1), rig.credits(5)) == (32767, 1023)
    entry = rig.serve_fault()
    assert entry is not None
    assert entry[64:72].hex() == "00007fff00030000" and entry[76:80].hex() == "00000005"
    assert rig.user_read(CSB, 16).hex() == "8000fa400000000000007fff00030000"
    raw = rig.read(0x100000, 128)
    assert raw[76:80] == b"\xff" * 4 and raw[3] & 1
    assert (rig.credits(1), rig.credits(5)) == (32768, 1024)


# ------------------------------------------------------------------ all functions
@pytest.mark.parametrize("function", [0x00, 0x02, 0x04, 0x06, 0x08, 0x0A, 0x0C, 0x0E])
def test_compress(request_: Request, function: int) -> None:
    table, bits = flat_table()
    request_.cpb_in(crc=zlib.crc32(b"before"), adler=zlib.adler32(b"before"), word=bits, dht=table)
    got = request_.run(function, TEXT)
    assert got.valid and (got.cc, got.ce) == (0, 0x20)
    assert zlib.decompress(got.data, -15) == TEXT
    assert got.data[0] & 7 == (5 if function & 2 else 3)
    first = (zlib.crc32(b"before"), zlib.adler32(b"before")) if function & 8 else (0, 1)
    assert (got.crc, got.adler) == (zlib.crc32(TEXT, first[0]), zlib.adler32(TEXT, first[1]))
    if function & 4:
        assert got.spbc_counts == len(TEXT) and len(got.counts) == COUNTS
        assert got.counts[256] == 1 and sum(got.counts[257:286]) == sum(got.counts[286:]) > 0
    else:
        assert got.spbc == len(TEXT)


@pytest.mark.parametrize("function", [0x10, 0x12, 0x14, 0x16])
def test_decompress(request_: Request, function: int) -> None:
    request_.cpb_in(crc=7, adler=9)
    got = request_.run(function, zlib_raw(TEXT, 9, zlib.Z_FIXED))
    assert got.valid and (got.cc, got.ce, got.sfbt) == (0, 0x20, 0) and got.data == TEXT
    first = (7, 9) if function & 4 else (0, 1)
    assert (got.crc, got.adler) == (zlib.crc32(TEXT, first[0]), zlib.adler32(TEXT, first[1]))


def test_wrap(request_: Request) -> None:
    request_.cpb_in(crc=7, adler=9)  # not an input of wrap
    got = request_.run(0x1E, TEXT)
    assert (got.cc, got.ce, got.data, got.spbc) == (0, 0x20, TEXT, len(TEXT))
    assert (got.crc, got.adler) == (zlib.crc32(TEXT), zlib.adler32(TEXT))


@pytest.mark.parametrize("function", sorted(set(range(0, 64, 2)) - set(range(0, 0x18, 2)) - {0x1E}))
def test_unknown_functions(request_: Request, function: int) -> None:
    got = request_.run(function, TEXT)
    assert (got.valid, got.cc, got.ce, got.tpbc) == (True, 17, 0x60, 0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts(), st.booleans())
def test_p13_inflate_of_deflate(request_: Request, data: bytes, dynamic: bool) -> None:
    """P13: through the device and against the host's zlib; checksums; TEBC."""
    table, bits = flat_table()
    request_.cpb_in(word=bits, dht=table)
    made = request_.run(0x02 if dynamic else 0x00, data)
    assert made.cc in (0, 64) and zlib.decompress(made.data, -15) == data
    assert (made.cc == 64) == (made.tpbc > len(data))
    assert (made.crc, made.adler) == (zlib.crc32(data), zlib.adler32(data))
    back = request_.run(0x10, made.data)
    assert (back.cc, back.data, back.crc, back.adler) == (0, data, made.crc, made.adler)
    assert back.subc == -made.tebc % 8  # the bits behind the end in the last byte


# ------------------------------------------------------------------ outcomes
def test_trailing_bytes(request_: Request) -> None:
    """More than seven bits behind the end: CC 3, SFBT 0, SUBC counts them (a gzip trailer: 64 to 71)."""
    stream = zlib_raw(TEXT)
    got = request_.run(0x10, stream + bytes(8))
    assert (got.cc, got.ce, got.sfbt, got.data) == (3, 0xA0, 0, TEXT)
    assert 64 <= got.subc <= 71 and got.spbc_inflate - got.subc // 8 == len(stream)


def test_h17_long_tail(request_: Request) -> None:
    """H17: SUBC has 16 bits; SPBC stops 64 bytes behind the end."""
    stream = zlib_raw(TEXT)
    got = request_.run(0x10, stream + bytes(9 << 10))
    assert (got.cc, got.sfbt, got.data) == (3, 0, TEXT)
    assert got.spbc_inflate == len(stream) + 64 and got.spbc_inflate - got.subc // 8 == len(stream)


def test_h17_room(request_: Request) -> None:
    """H17: exactly filling, one byte short; both ways."""
    made = request_.run(0x00, TEXT)
    size = made.tpbc
    assert request_.run(0x00, TEXT, target=size).cc == 0
    short = request_.run(0x00, TEXT, target=size - 1)
    assert (short.cc, short.ce) == (13, 0x60)
    assert request_.run(0x10, made.data, target=len(TEXT)).cc == 0
    assert request_.run(0x10, made.data, target=len(TEXT) - 1).cc == 13
    assert request_.run(0x1E, TEXT, target=len(TEXT) - 1).cc == 13


def test_compress_errors(request_: Request) -> None:
    table, bits = header([1] + [0] * 255 + [1], [1])
    request_.cpb_in(word=bits, dht=table)
    assert request_.run(0x02, bytes(2)).cc in (0, 64)
    assert (got := request_.run(0x02, b"ab")).cc == 66 and got.ce == 0x60
    for word in (0, 41, bits - 1, bits + 1, 2284):
        request_.cpb_in(word=word, dht=table)
        assert request_.run(0x02, bytes(2)).cc == 68, word
    request_.cpb_in(history=32)
    assert (got := request_.run(0x08, bytes(32))).cc == 3 and got.ce == 0x60  # H16: history as long as the source
    assert request_.run(0x08, bytes(33)).cc in (0, 64)


@pytest.mark.parametrize(
    ("stream", "cc"),
    [(b"\x07", 66), (b"\x01\x05\x00\xfa\xfe" + bytes(9), 66), (b"\x03\x02" + bytes(9), 67), (b"\xf5\xff" + bytes(9), 68)],
)
def test_decompress_errors(request_: Request, stream: bytes, cc: int) -> None:
    got = request_.run(0x10, stream)
    assert (got.valid, got.cc, got.ce, got.tpbc) == (True, cc, 0x60, 0)


# ------------------------------------------------------------------------- CRBs
def post(request: Request, block: bytes) -> tuple[int, int, int]:
    """(CC, CE, address) of a CRB made by hand."""
    request.rig.user_write(CSB, bytes(16))
    assert request.rig.paste(block)
    request.rig.settle()
    got = request.outcome()
    assert got.valid
    return got.cc, got.ce, got.address


def test_crb_checks_and_their_order(request_: Request) -> None:
    request_.rig.user_write(SOURCE, b"abc")
    source, target = dde(SOURCE, 3), dde(TARGET, 100)
    assert post(request_, crb(0, CSB, source, target))[:2] == (64, 0x20)
    for block in (
        crb(0x40, CSB, source, target), crb(0x8000_0000, CSB, source, target), crb(0, CSB, source, target, ccb=bytes(15) + b"\x01"),
        crb(0, CSB, source, target, flags=8), crb(0, CSB, source, target, flags=8, ccb=bytes(15) + b"\x07"),
        crb(0, CSB, source, target)[:4] + b"\0\0\0\1" + crb(0, CSB, source, target)[8:], crb(0, CSB, dde(SOURCE, 3, reserved=1), target),
        crb(0x58, CSB, dde(SOURCE, 0), target),  # 21 before 17 before 14
    ):  # fmt: skip
        assert post(request_, block)[:2] == (21, 0x60)
    assert post(request_, crb(0x18, CSB, dde(SOURCE, 0), target))[:2] == (17, 0x60)
    assert post(request_, crb(0, CSB, dde(SOURCE, 0), dde(TARGET, 0)))[:2] == (14, 0x60)
    assert post(request_, crb(0, CSB, source, dde(TARGET, 0)))[:2] == (13, 0x60)
    assert post(request_, crb(0, CSB, dde(LIST + 8, 3, 1), target)) == (1, 0x60, LIST + 8)


def test_h2_flag_bits(request_: Request) -> None:
    """H2: AT and M are ignored and masked; C = 1 with CM = 1 is counted, not delivered."""
    request_.rig.user_write(SOURCE, b"abc")
    before = request_.rig.vas.counts["completion_interrupts"]
    block = crb(0, CSB, dde(SOURCE, 3), dde(TARGET, 100), flags=0xB, ccb=bytes(15) + b"\x01")
    assert post(request_, block)[:2] == (64, 0x20)
    assert request_.rig.vas.counts["completion_interrupts"] == before + 1


def test_user_bytes_behind_the_ccb_mean_nothing(request_: Request) -> None:
    """H10: garbage in QW4 and beyond."""
    request_.rig.user_write(SOURCE, b"abc")
    assert post(request_, crb(0, CSB, dde(SOURCE, 3), dde(TARGET, 100), tail=b"\xff" * 64))[:2] == (64, 0x20)


# ------------------------------------------------------------------------- lists
def entries(request: Request, *listed: bytes) -> None:
    request.rig.user_write(LIST, b"".join(listed))


def test_lists(request_: Request) -> None:
    rig, data = request_.rig, TEXT[:1000]
    rig.user_write(SOURCE, data)
    pieces = [dde(SOURCE, 1), dde(SOURCE + 1, 499), dde(SOURCE + 500, 500)]
    entries(request_, *pieces, dde(TARGET + 500, 200), dde(TARGET, 100), dde(TARGET + 100, 400))
    source, target = dde(LIST, 1000, 3), dde(LIST + 48, 700, 3)
    assert post(request_, crb(0x1E, CSB, source, dde(TARGET, 1000)))[0] == 0
    assert request_.outcome().data == data
    assert post(request_, crb(0x1E, CSB, dde(LIST, 600, 3), dde(TARGET, 1000)))[0] == 0  # total < sum
    assert request_.outcome().data == data[:600]
    assert post(request_, crb(0x1E, CSB, dde(LIST, 1001, 3), dde(TARGET, 1000))) == (33, 0x60, 0)
    assert post(request_, crb(0x1E, CSB, dde(SOURCE, 700), target))[0] == 0
    assert rig.user_read(TARGET + 500, 200) + rig.user_read(TARGET, 500) == data[:700]


def test_list_errors(request_: Request) -> None:
    request_.rig.user_write(SOURCE, TEXT[:100])
    target = dde(TARGET, 1000)
    entries(request_, dde(SOURCE, 50), dde(SOURCE, 50, count=1))
    assert post(request_, crb(0x1E, CSB, dde(LIST, 100, 2), target))[0] == 31
    entries(request_, dde(SOURCE, 50), dde(SOURCE, 50, reserved=1))
    assert post(request_, crb(0x1E, CSB, dde(LIST, 100, 2), target))[0] == 30
    entries(request_, dde(SOURCE, 50), dde(SOURCE, 0))
    assert post(request_, crb(0x1E, CSB, dde(LIST, 50, 2), target))[0] == 14
    entries(request_, dde(TARGET, 50), dde(TARGET + 50, 0))
    for total, length, cc in ((60, 60, 33), (40, 60, 13), (50, 60, 13), (50, 50, 0), (60, 50, 0), (40, 40, 0)):  # UM 6.4 note 11
        assert post(request_, crb(0x1E, CSB, dde(SOURCE, length), dde(LIST, total, 2)))[0] == cc, (total, length)


def test_h6_addresses_at_the_end(request_: Request) -> None:
    """H6: lengths of 4 GiB, wrap around 2**64: translation faults, never more."""
    rig = request_.rig
    for source in (dde(SOURCE, 0xFFFFFFFF), dde(0xFFFF_FFFF_FFFF_FF00, 0x1000), dde((1 << 64) - 1, 2), dde(0x4000_0000_0000_0000, 16)):
        assert rig.paste(crb(0x1E, CSB, source, dde(TARGET, 0xFFFFFFFF)))
        rig.settle()
        entry = rig.serve_fault()
        assert entry is not None and entry[75] in (2, 3)
    assert rig.vas.home


def test_h6_list_into_an_absent_page(request_: Request) -> None:
    rig, at = request_.rig, 0x7FFE_0000_1000
    rig.map(at - PAGE, 2 * PAGE)
    listed = dde(SOURCE, 1) * 4
    rig.user_write(at - 32, listed)
    rig.away(at)
    assert rig.paste(crb(0x1E, CSB, dde(at - 32, 4, 4), dde(TARGET, 4)))
    rig.settle()
    entry = rig.serve_fault()
    assert entry is not None and (int.from_bytes(entry[64:72], "big"), entry[74], entry[75]) == (at, 0, 1)


# -------------------------------------------------------------------------- time
def test_time(request_: Request) -> None:
    """370 ns, then 16 KiB a microsecond of the longer side; paste never finishes a job."""
    rig = request_.rig
    for size in (1, 16384, 40000):
        begin = rig.machine.now()
        request_.start(0x1E, bytes(size))
        assert not request_.outcome().valid
        rig.settle()
        assert request_.outcome().valid
        assert rig.machine.now() - begin == STARTUP_NS + -(-size * 1000 // BYTES_PER_US)


def test_cpb_layout_of_a_suspended_dynamic_block(request_: Request) -> None:
    stream = zlib_raw(TEXT, 9)
    assert stream[0] & 6 == 4
    got = request_.run(0x10, stream[: len(stream) // 2])
    assert (got.cc, got.ce, got.sfbt & 0xE) == (3, 0xA0, 0xC)
    assert got.spbc_inflate == len(stream) // 2 and 42 <= got.word <= 2283
    raw = int.from_bytes(stream, "little") >> 3 & (1 << got.word) - 1
    assert int.from_bytes(got.dht, "little") == raw
    assert got.data == TEXT[: got.tpbc]
    assert struct.unpack(">I", request_.rig.user_read(CPB + 688, 4))[0] == got.spbc_inflate
