# SPDX-License-Identifier: GPL-2.0-or-later
"""`monitor COMMAND`: the shell's commands, from gdb."""

from __future__ import annotations

import io
from collections.abc import Callable

from vmemu.debug.session import Session
from vmemu.debug.shell import Debugger, load_commands
from vmemu.errors import VmemuError

#: Text is passed on in pieces of about so many characters, and at the end.
PIECE = 1024


class _Stream(io.TextIOBase):
    """What commands write to."""

    def __init__(self) -> None:
        super().__init__()
        self.reader: Callable[[str], None] | None = None
        self._held = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._held += text
        if len(self._held) >= PIECE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if self._held and self.reader is not None:
            text, self._held = self._held, ""
            self.reader(text)


class Monitor:
    """A shell that writes to whoever asks it; its bookmarks and the like outlive a client."""

    def __init__(self, session: Session) -> None:
        load_commands()
        self._stream = _Stream()
        self.debugger = Debugger(session, self._stream)  # type: ignore[arg-type]

    def do(self, line: str, tell: Callable[[str], None]) -> None:
        """One command; its output, or why it cannot be done, goes to `tell` piece by piece."""
        self._stream.reader = tell
        try:
            self.debugger.execute(line)
        except VmemuError as error:
            self.debugger.complain(error)
        finally:
            self._stream.flush()
            self._stream.reader = None
