# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of a Perfetto trace: tracks, slices, instants, counters, flows.

Field numbers are those of Perfetto's protos/perfetto/trace (trace_packet.proto, track_event/*.proto). Packets carry their names
in full: no interning, so any part of a file can be read alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache

from vmemu.debug.trace.proto import blob, fixed64, number, text

SEQUENCE = 1  # trusted_packet_sequence_id: there is one writer
SEQUENCE_START = 1  # SEQ_INCREMENTAL_STATE_CLEARED
UNIT_COUNT = 2


class Type(IntEnum):
    """TrackEvent.Type."""

    BEGIN, END, INSTANT, COUNTER = range(1, 5)


_TAIL = number(10, SEQUENCE)


def _packet(body: bytes, ns: int | None = None, flags: int = 0) -> bytes:
    head = b"" if ns is None else number(8, ns)
    tail = _TAIL + number(13, flags) if flags else _TAIL
    return blob(1, head + body + tail)  # Trace.packet


def process(uuid: int, name: str, first: bool = False) -> bytes:
    """The track of a whole machine."""
    descriptor = number(1, uuid) + text(2, name) + blob(3, number(1, 1) + text(6, name))
    return _packet(blob(60, descriptor), flags=SEQUENCE_START if first else 0)


def track(uuid: int, name: str, parent: int, rank: int = 0) -> bytes:
    """A track under another one; its children and siblings are shown by `rank`."""
    return _packet(blob(60, number(1, uuid) + text(2, name) + number(5, parent) + number(11, 3) + number(12, rank)))


def counter_track(uuid: int, name: str, parent: int, rank: int = 0) -> bytes:
    return _packet(blob(60, number(1, uuid) + text(2, name) + number(5, parent) + blob(8, number(3, UNIT_COUNT)) + number(12, rank)))


@lru_cache(maxsize=4096)
def _fixed_part(kind: Type, uuid: int, name: str, category: str) -> bytes:
    out = number(9, kind) + number(11, uuid)
    if category:
        out += text(22, category)
    return out + text(23, name) if name else out


@lru_cache(maxsize=256)
def _label(name: str) -> bytes:
    return text(10, name)


def _annotation(name: str, value: int | str) -> bytes:
    if isinstance(value, str):
        return blob(4, _label(name) + text(6, value))
    return blob(4, _label(name) + number(7, value))  # pointer: shown in hexadecimal


def track_event(
    kind: Type, ns: int, uuid: int, name: str = "", category: str = "", flows: Sequence[int] = (), ends: Sequence[int] = (),
    arguments: Mapping[str, int | str] | None = None,
) -> bytes:
    """A slice's begin or end, or an instant. `flows` go through here, `ends` end here."""
    body = _fixed_part(kind, uuid, name, category)
    for flow in flows:
        body += fixed64(47, flow)
    for flow in ends:
        body += fixed64(48, flow)
    if arguments:
        body += b"".join([_annotation(*item) for item in arguments.items()])
    return _packet(blob(11, body), ns)


def counter(ns: int, uuid: int, value: int) -> bytes:
    return _packet(blob(11, _fixed_part(Type.COUNTER, uuid, "", "") + number(30, value)), ns)
