# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's console: bytes out to a sink, bytes in from a queue filled before or during the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Console:
    """Output is kept (up to `keep` bytes) and passed on line by line, so that a terminal is written seldom."""

    def __init__(self, sink: Callable[[bytes], None] | None = None, keep: int = 1 << 20) -> None:
        self.sink = sink
        self.output = bytearray()
        self.lost = 0
        self.keep = keep
        self._line = bytearray()
        self._input: deque[int] = deque()
        self.written = 0  # bytes from the guest, up to now in its time
        self._shown = 0  # bytes that the sink has had: more, after a step back in time
        #: Called with each input, for a recording.
        self.on_input: Callable[[bytes], None] | None = None

    def put(self, byte: int) -> None:
        """One byte from the guest."""
        self.written += 1
        if len(self.output) < self.keep:
            self.output.append(byte)
        else:
            self.lost += 1
        self._line.append(byte)
        if byte == 0x0A or len(self._line) >= 4096:
            self.flush()

    def flush(self) -> None:
        """Pass on what the sink has not had: a run that goes over the same stretch again shows nothing twice."""
        fresh = min(self.written - self._shown, len(self._line))
        if fresh > 0:
            if self.sink is not None:
                self.sink(bytes(self._line[-fresh:]))
            self._shown = self.written
        self._line.clear()

    def type(self, data: bytes) -> None:
        """Input for the guest."""
        self._input.extend(data)
        if self.on_input is not None:
            self.on_input(data)

    def get(self) -> int | None:
        """Next input byte, None when there is none."""
        return self._input.popleft() if self._input else None

    def save(self) -> tuple[int, bytes, tuple[int, ...]]:
        """How much was written, the unfinished line, and the input that is left."""
        return self.written, bytes(self._line), tuple(self._input)

    def load(self, state: tuple[int, bytes, tuple[int, ...]]) -> None:
        """Back to a saved state: what was written since is taken back, as far as the guest is concerned."""
        self.written, line, left = state
        del self.output[self.written :]
        self.lost = max(0, self.written - self.keep)
        self._line = bytearray(line)
        self._input = deque(left)

    def continue_after(self, output: bytes, state: tuple[int, bytes, tuple[int, ...]]) -> None:
        """Take over from another process: its output is history, and its unfinished line was not shown here."""
        self.output = bytearray(output)
        self.load(state)
        self._shown = self.written - len(self._line)
