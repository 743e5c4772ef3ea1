# SPDX-License-Identifier: GPL-2.0-or-later
"""Drains the event ring of a running machine into a trace file. Memory is bounded, nothing is lost, the run stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol

from vmemu.core import EVENT_LAYOUT, Event
from vmemu.debug.trace.ftrace import FtraceWriter
from vmemu.debug.trace.perfetto import PerfettoWriter
from vmemu.debug.trace.timeline import Moment, Timeline
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: Bytes that are collected before they are written.
CHUNK = 1 << 16


class Writer(Protocol):
    """A file format. Every call returns the bytes that come next in the file."""

    def begin(self, machine: Machine) -> bytes:
        """What stands before the first moment."""

    def moment(self, ns: int, moment: Moment) -> bytes:
        """One moment; `ns` (virtual) never decreases."""

    def end(self, ns: int, lost: int) -> bytes:
        """The run is over; `lost` events are missing."""


FORMATS: dict[str, type[PerfettoWriter] | type[FtraceWriter]] = {".pftrace": PerfettoWriter, ".txt": FtraceWriter}


def check_path(path: str | os.PathLike[str]) -> str:
    """The suffix that says which format. Raises ConfigError for any other."""
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise ConfigError(f"--trace {os.fspath(path)}: the name must end in .pftrace (Perfetto) or .txt (ftrace)")
    return suffix


class Tracer:
    """Traces a machine from now on, into `path`; close it after the run.

    A file that cannot be written any more does not disturb the run: `failure` says why, and the rest is dropped.

    Raises ConfigError when the name's suffix is no format, or the file cannot be made.
    """

    def __init__(self, machine: Machine, path: str | os.PathLike[str], ring_log2: int = 14) -> None:
        self.machine = machine
        self.path = os.fspath(path)
        self.failure: str | None = None
        self.events = 0
        self._writer: Writer = FORMATS[check_path(path)]()
        self._timeline = Timeline(int(machine.core.ptr.timing.latency))
        self._per_us = int(machine.core.ptr.cycles_per_us)
        self._buffer = bytearray()
        try:
            self._file: IO[bytes] | None = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"--trace {self.path}: cannot write: {reason}") from None
        self._put(self._writer.begin(machine))
        machine.core.enable_ring(ring_log2, self.drain)

    @property
    def lost(self) -> int:
        """Events that are missing in the trace."""
        return self.machine.core.events_lost

    def drain(self) -> None:
        """Empty the ring. Called by the ring when it is full, in the middle of a run."""
        core = self.machine.core
        while raw := core.drain_raw():
            self.events += len(raw) // EVENT_LAYOUT.size
            if self.failure is None and self._file is not None:
                for fields in EVENT_LAYOUT.iter_unpack(raw):
                    self._timeline.add(Event(*fields))
        self._write(self._settled())  # only now: what was still in the ring is older than the clocks

    def _settled(self) -> int:
        """No event can come any more that happened before this instant."""
        running = [v.cycles for v in self.machine.vcpus if v.runnable]
        return min(running) if running else self.machine.time_units

    def _write(self, until: int | None) -> None:
        for moment in self._timeline.until(until):
            self._put(self._writer.moment(moment.cycles * 1000 // self._per_us, moment))

    def _put(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._file is None:
            return
        try:
            view = memoryview(self._buffer)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._fail(error)
        self._buffer = bytearray()

    def _fail(self, error: OSError) -> None:
        self.failure = f"--trace {self.path}: cannot write: {error.strerror or error}"

    def close(self) -> None:
        """Write what is left. A second call does nothing."""
        if self._file is None:
            return
        self.drain()
        self._write(None)
        ns = max((self.machine.time_units, *(v.cycles for v in self.machine.vcpus))) * 1000 // self._per_us
        self._put(self._writer.end(ns, self.lost))
        if self.failure is None:
            self._flush()
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)
        self._file = None

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
