# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions printed in the documentation, run again: blocks of ```console that begin with ``$ vmemu debug``.

A line ``(vmemu) COMMAND`` is a command; what follows is what it prints. ``python tests/helpers/transcripts.py [FILE ...]`` writes what
they print now into the documents, which is what the test compares with.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```console\n(\$ vmemu debug .*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "(vmemu) "


@dataclass(frozen=True)
class Session:
    """One block. `text`: all that lies between its fences."""

    document: Path
    line: int
    text: str

    @property
    def name(self) -> str:
        words = self.arguments
        profile = next((words[i + 1] for i, w in enumerate(words) if w in ("--apf", "--vas", "--tce")), words[0])
        return f"{self.document.name}:{self.line}-{profile}"

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.text.partition("\n")[0].removeprefix("$ vmemu debug "))

    @property
    def commands(self) -> list[str]:
        return [line.removeprefix(PROMPT) for line in self.text.splitlines() if line.startswith(PROMPT)]

    def run(self) -> str:
        """What the block should be: its first line, each command, what that prints."""
        given = []
        for command in self.commands:
            given += ["-c", f"echo {PROMPT}{command}", "-c", command]
        done = subprocess.run([sys.executable, "-m", "vmemu", "debug", *self.arguments, *given], cwd=ROOT, capture_output=True, text=True)
        out = done.stdout.replace("\r", "")
        out = "\n".join(line.rstrip() for line in out.splitlines())
        return self.text.partition("\n")[0] + "\n" + out + "\n" + done.stderr


def sessions(document: Path) -> list[Session]:
    """The blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [Session(document, text.count("\n", 0, found.start()) + 1, found[1]) for found in BLOCK.finditer(text)]


def main() -> None:
    for document in [Path(name).resolve() for name in sys.argv[1:]] or DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for session in sessions(document):
            text = text.replace(session.text, session.run(), 1)
        document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
