# SPDX-License-Identifier: GPL-2.0-or-later
"""Framing of gdb's remote protocol, against a decoder written apart from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmemu.debug.gdb.packets import MOST, Packet, Parser, Signal, escape, frame, squeeze, unescape


def decode(wire: bytes) -> bytes:
    """A client's side, by the letter of the manual: checksum, then runs, then escapes."""
    assert wire[:1] == b"$" and wire[-3:-2] == b"#"
    body = wire[1:-3]
    assert sum(body) % 256 == int(wire[-2:], 16)
    assert not set(body) & set(b"$#")
    out, i = bytearray(), 0
    while i < len(body):
        if body[i] == 0x7D:
            out.append(body[i + 1] ^ 0x20)
            i += 2
        elif body[i] == 0x2A:
            assert 32 <= body[i + 1] <= 126
            out += out[-1:] * (body[i + 1] - 29)
            i += 2
        else:
            out.append(body[i])
            i += 1
    return bytes(out)


runs = st.lists(st.tuples(st.sampled_from(b"$#}*+-0ax\x00\x03\xff"), st.integers(1, 220)), max_size=8).map(
    lambda parts: b"".join(bytes([byte]) * n for byte, n in parts)
)


@given(st.binary(max_size=300) | runs)
def test_what_is_framed_can_be_read(data: bytes) -> None:
    assert decode(frame(data)) == data
    assert unescape(escape(data)) == data
    assert len(squeeze(data)) <= len(data)


def plain(data: bytes) -> bytes:
    """As gdb sends: escaped, no runs."""
    body = escape(data)
    return b"$%s#%02X" % (body, sum(body) % 256)


@given(st.lists(st.binary(max_size=60), max_size=5), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_packets_arrive_however_they_are_cut(packets: list[bytes], cuts: list[int]) -> None:
    wire = b"+".join(plain(data) for data in packets) + b"\x03-"
    parser, found, at = Parser(), [], 0
    while at < len(wire):
        step = cuts[at % len(cuts)]
        found += parser.feed(wire[at : at + step])
        at += step
    assert [item.data for item in found if isinstance(item, Packet)] == packets
    assert [item for item in found if isinstance(item, Signal)] == [Signal.ACK] * max(len(packets) - 1, 0) + [Signal.BREAK, Signal.NAK]


@given(st.binary(max_size=400) | st.lists(st.sampled_from(b"$#+-\x03}g6"), max_size=40).map(bytes))
def test_anything_may_come_in(noise: bytes) -> None:
    parser = Parser()
    for item in parser.feed(noise):
        assert isinstance(item, (Packet, Signal))
    assert parser.feed(b"$$g#67")[-1:] == [Packet(b"g")]  # after a cut-off packet the next one is understood


def test_damage_is_noticed() -> None:
    parser = Parser()
    assert parser.feed(b"$g#68") == [Signal.BAD]
    assert parser.feed(b"$g#zz") == [Signal.BAD]
    assert parser.feed(b"$" + b"a" * (MOST + 1) + b"#00") == [Signal.BAD]
    assert parser.feed(b"$" + b"a" * (1 << 20)) == [] and len(parser._held) <= MOST + 1
    assert parser.feed(b"#12$g#67") == [Signal.BAD, Packet(b"g")]
