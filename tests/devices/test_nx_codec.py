# SPDX-License-Identifier: GPL-2.0-or-later
"""The codec in C against the host's zlib: streams both ways, checksums, broken streams, cuts at every bit."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest
from helpers.deflate import STRATEGIES, Bits, flat_table, header, tables, texts, zlib_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.devices.nx_codec import Deflate, Inflate, Mode, Status, adler32, crc32

PATTERNS = {
    "empty": b"",
    "one": b"x",
    "text": Path(__file__).read_bytes(),
    "zeros": bytes(200_000),
    "noise": random.Random(1).randbytes(70_000),
    "far": (noise := random.Random(2).randbytes(32_700)) + noise,
    "counter": b"".join(i.to_bytes(2, "big") for i in range(40_000)),
}


def deflate(data: bytes, table: tuple[bytes, int] | None = None) -> bytes:
    state = Deflate(table[1], table[0]) if table else Deflate()
    status, out = state.run(data, 0, first=True, last=True)
    assert status is Status.OK
    return out


def inflate(stream: bytes, cap: int = 1 << 20) -> tuple[Status, bytes]:
    status, _, out = Inflate().run(stream, 0, b"", cap)
    return status, out


@pytest.mark.parametrize("name", PATTERNS)
def test_zlib_accepts_our_block(name: str) -> None:
    data = PATTERNS[name]
    for table in (None, flat_table()):
        out = deflate(data, table)
        reader = zlib.decompressobj(-15)
        assert reader.decompress(out) == data and reader.eof and not reader.unused_data
        assert inflate(out) == (Status.FINAL, data)
        assert out[0] & 7 == (5 if table else 3)  # one block: BFINAL, and the type asked for


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", PATTERNS)
def test_zlib_streams_of_all_levels(name: str, strategy: int) -> None:
    data = PATTERNS[name]
    for level in range(10):
        assert inflate(zlib_raw(data, level, strategy), len(data)) == (Status.FINAL, data)


def test_compression_is_worth_it() -> None:
    text = PATTERNS["text"]
    assert len(deflate(text)) < 1.25 * len(zlib_raw(text, 1, zlib.Z_FIXED))
    assert len(deflate(PATTERNS["far"])) < 38_000  # a match over 32,700 bytes


@settings(max_examples=60, deadline=None)
@given(texts(), st.one_of(st.none(), tables()))
def test_round_trip(data: bytes, table: tuple[bytes, int] | None) -> None:
    out = deflate(data, table)
    assert zlib.decompress(out, -15) == data
    assert inflate(out) == (Status.FINAL, data)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.integers(0, 65520), st.integers(0, 65520))
def test_checksums(data: bytes, crc: int, a: int, b: int) -> None:
    assert crc32(data, crc) == zlib.crc32(data, crc)
    assert adler32(data, b << 16 | a) == zlib.adler32(data, b << 16 | a)


def test_checksums_of_long_data() -> None:
    data = b"\xff" * 100_001
    assert (crc32(data), adler32(data)) == (zlib.crc32(data), zlib.adler32(data))


# -------------------------------------------------------------------------- cuts
@settings(max_examples=60, deadline=None)
@given(texts(2000), st.integers(0, 9), st.sampled_from(STRATEGIES), st.data())
def test_a_stream_cut_anywhere_goes_on(data: bytes, level: int, strategy: int, choose: st.DataObject) -> None:
    stream = zlib_raw(data, level, strategy)
    cuts = sorted(choose.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    state, out, start, skip, status = Inflate(), b"", 0, 0, Status.MORE
    for end in (*cuts, len(stream)):
        if end < start:
            continue
        status, used, more = state.run(stream[start:end], skip, out[-32768:], 1 << 20)
        start, skip = start + used // 8, used % 8
        out += more
        if status is Status.MORE:
            left = (end - start) * 8 - skip
            most = {Mode.STORED: 0, Mode.FIXED: 30, Mode.DYNAMIC: 47, Mode.HEADER: 2285}[state.mode]
            assert 0 <= left <= most  # UM table 5-3
    assert (status, out) == (Status.FINAL, data)


@settings(max_examples=40, deadline=None)
@given(texts(2000), st.integers(1, 500))
def test_a_small_room_is_never_overrun(data: bytes, room: int) -> None:
    stream = zlib_raw(data, 9)
    state, out, start, skip, status = Inflate(), b"", 0, 0, Status.FULL
    while status is Status.FULL:
        status, used, more = state.run(stream[start:], skip, out[-32768:], max(room, 258))
        assert len(more) <= max(room, 258)
        start, skip, out = start + used // 8, used % 8, out + more
    assert (status, out) == (Status.FINAL, data)


# ---------------------------------------------------------------- broken streams
def zlib_says(stream: bytes) -> tuple[str, bytes]:
    reader = zlib.decompressobj(-15)
    try:
        out = reader.decompress(stream)
    except zlib.error:
        return "error", b""
    return ("end" if reader.eof else "more"), out


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(min_size=1, max_size=120), texts(400).map(zlib_raw)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), max_size=3),
)
def test_broken_streams_fail_where_zlib_fails(stream: bytes, flips: list[tuple[int, int]]) -> None:
    broken = bytearray(stream)
    for at, bit in flips:
        broken[at % len(broken)] ^= 1 << bit
    status, out = inflate(bytes(broken))
    verdict, theirs = zlib_says(bytes(broken))
    if status is Status.FINAL:
        assert (verdict, theirs) == ("end", out)
    elif status is Status.MORE:  # zlib may see an error in bits that make no whole symbol yet
        assert verdict in ("more", "error")
        assert verdict == "error" or out.startswith(theirs) or theirs.startswith(out)
    else:
        assert status in (Status.SYMBOL, Status.DISTANCE, Status.DHT)
        assert verdict == "error"


def block(bits: Bits) -> bytes:
    return bits.bytes() + bytes(8)


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (block(Bits().put(1, 1).put(3, 2)), Status.SYMBOL),  # BTYPE 11
        (b"\x01\x05\x00\xfa\xfe" + bytes(5), Status.SYMBOL),  # LEN and NLEN differ
        (block(Bits().put(3, 3).put(0b1000000, 7).put(0, 5)), Status.DISTANCE),  # a match, and nothing in front of it
        (block(Bits().put(5, 3).put(30, 5).put(0, 9)), Status.DHT),  # HLIT 30
        (block(Bits().put(5, 3).put(0, 5).put(30, 5).put(0, 4)), Status.DHT),  # HDIST 30
        (block(Bits().put(5, 3).put(0, 5).put(0, 5).put(15, 4).put(0, 57)), Status.DHT),  # no code for the code lengths
    ],
)
def test_errors(stream: bytes, status: Status) -> None:
    assert inflate(stream)[0] is status


def test_incomplete_and_overfull_tables() -> None:
    """68 for what zlib refuses; one distance code of one bit is legal."""
    full = [8] * 226 + [9] * 60
    for literal, distance, good in (
        (full, [1], True), (full, [1, 1], True), (full, [0], True), (full, [2, 2], False), (full, [1, 1, 1], False),
        ([8] * 257, [1], False), ([8] * 255 + [0] + [8], [1], True), ([8] * 256 + [0], [1], False),
    ):  # fmt: skip
        raw, bits = header(literal, distance)
        state = Inflate(Mode.DYNAMIC, dht_bits=bits, dht=raw)
        assert (state.check() is Status.OK) == good, (len(literal), distance)
        assert Deflate(bits, raw).check() is (Status.OK if good else Status.DHT)


@pytest.mark.parametrize("bits", [0, 1, 41, 2284, 4095])
def test_table_lengths_out_of_range(bits: int) -> None:
    raw, _ = flat_table()
    assert Inflate(Mode.DYNAMIC, dht_bits=bits, dht=raw).check() is Status.DHT
    if bits:
        assert Deflate(bits, raw).check() is Status.DHT


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=288), st.integers(1, 4095), st.sampled_from(list(Mode)), st.binary(max_size=200), st.integers(0, 7),
    st.integers(0, 65535),
)  # fmt: skip
def test_any_state_from_outside_is_safe(dht: bytes, bits: int, mode: Mode, source: bytes, skip: int, remain: int) -> None:
    state = Inflate(mode, dht_bits=bits, dht=dht, remain=remain)
    if state.check() is Status.OK:
        status, used, out = state.run(source, skip, b"history", 5000)
        assert used <= max(8 * len(source), skip) and len(out) <= 5000 and isinstance(status, Status)
    encoder = Deflate(bits, dht)
    if encoder.check() is Status.OK:
        status, out = encoder.run(source, 0, first=True, last=True)
        assert status is Status.SYMBOL or zlib.decompress(out, -15) == source


def test_missing_symbols_are_told() -> None:
    raw, bits = header([1] + [0] * 255 + [1], [1])  # byte 0 and end of block only
    assert Deflate(bits, raw).run(b"a", 0, first=True, last=True)[0] is Status.SYMBOL
    assert Deflate(bits, raw).run(bytes(2), 0, first=True, last=True)[0] is Status.OK


@settings(max_examples=40, deadline=None)
@given(texts())
def test_counts_are_what_the_block_holds(data: bytes) -> None:
    state = Deflate()
    state.run(data, 0, first=True, last=True)
    literals, lengths, distances = state.counts[:256], state.counts[257:286], state.counts[286:]
    assert state.counts[256] == 1 and sum(lengths) == sum(distances)
    assert sum(literals) + 3 * sum(lengths) <= len(data) or not sum(lengths)
