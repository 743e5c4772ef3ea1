# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a Perfetto trace back: protobuf's wire format, and the few messages that vmemu writes. Knows nothing of vmemu's writer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            yield number, varint()
        elif wire == 1:
            yield number, int.from_bytes(data[at : at + 8], "little")
            at += 8
        else:
            assert wire == 2, f"wire type {wire}"
            size = varint()
            assert at + size <= len(data), "truncated"
            yield number, data[at : at + size]
            at += size


def message(data: int | bytes) -> dict[int, list[int | bytes]]:
    assert isinstance(data, bytes)
    found: dict[int, list[int | bytes]] = defaultdict(list)
    for number, value in fields(data):
        found[number].append(value)
    return found


@dataclass
class TrackEvent:
    """One TrackEvent with its time in ns."""

    ns: int
    type: int
    track: int
    name: str
    category: str
    flows: list[int]
    ends: list[int]
    value: int | None
    arguments: dict[str, int | str]


@dataclass
class Slice:
    """A begin with its end."""

    name: str
    category: str
    begin: int
    end: int
    depth: int
    flows: list[int]
    arguments: dict[str, int | str]


@dataclass
class Trace:
    """A whole file. `tracks`: uuid -> (name, parent)."""

    tracks: dict[int, tuple[str, int]] = field(default_factory=dict)
    counters: set[int] = field(default_factory=set)
    events: list[TrackEvent] = field(default_factory=list)

    def uuid(self, name: str) -> int:
        found = [uuid for uuid, (label, _) in self.tracks.items() if label == name]
        assert len(found) == 1, f"{len(found)} tracks {name!r}"
        return found[0]

    def children(self, name: str) -> list[str]:
        parent = self.uuid(name)
        return [label for label, above in self.tracks.values() if above == parent]

    def on(self, name: str) -> list[TrackEvent]:
        uuid = self.uuid(name)
        return [e for e in self.events if e.track == uuid]

    def slices(self, name: str) -> list[Slice]:
        """A track's slices. Asserts that they nest and that all of them end."""
        open_: list[TrackEvent] = []
        out = []
        for event in self.on(name):
            if event.type == BEGIN:
                open_.append(event)
            elif event.type == END:
                assert open_, f"{name}: an end without a begin at {event.ns}"
                b = open_.pop()
                out.append(Slice(b.name, b.category, b.ns, event.ns, len(open_), b.flows, b.arguments))
        assert not open_, f"{name}: {len(open_)} slices never end"
        return out

    def values(self, name: str) -> list[int]:
        assert self.uuid(name) in self.counters
        return [e.value for e in self.on(name) if e.value is not None]


def _text(value: int | bytes) -> str:
    assert isinstance(value, bytes)
    return value.decode()


def _number(values: list[int | bytes], default: int = 0) -> int:
    if not values:
        return default
    assert isinstance(values[-1], int)
    return values[-1]


def _event(ns: int, body: dict[int, list[int | bytes]]) -> TrackEvent:
    arguments: dict[str, int | str] = {}
    for annotation in map(message, body[4]):
        value = annotation[7][0] if annotation[7] else annotation[6][0]
        arguments[_text(annotation[10][0])] = value.decode() if isinstance(value, bytes) else value
    return TrackEvent(
        ns, _number(body[9]), _number(body[11]), _text(body[23][0]) if body[23] else "", _text(body[22][0]) if body[22] else "",
        [f for f in body[47] if isinstance(f, int)], [f for f in body[48] if isinstance(f, int)],
        _number(body[30]) if body[30] else None, arguments,
    )


def read(data: bytes) -> Trace:
    """Decode a file. Asserts what a reader relies on: tracks are described before they are used, time never goes back."""
    trace = Trace()
    last = 0
    for number, raw in fields(data):
        assert number == 1
        packet = message(raw)
        assert _number(packet[10]) == 1, "trusted_packet_sequence_id"
        for descriptor in map(message, packet[60]):
            uuid = _number(descriptor[1])
            assert uuid not in trace.tracks
            parent = _number(descriptor[5])
            assert parent == 0 or parent in trace.tracks
            trace.tracks[uuid] = _text(descriptor[2][0]), parent
            if descriptor[8]:
                trace.counters.add(uuid)
        for body in map(message, packet[11]):
            ns = _number(packet[8])
            assert ns >= last, f"{ns} after {last}"
            last = ns
            event = _event(ns, body)
            assert event.track in trace.tracks
            assert (event.type == COUNTER) == (event.track in trace.counters)
            trace.events.append(event)
    return trace
