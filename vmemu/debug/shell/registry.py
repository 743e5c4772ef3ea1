# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of the debugger as data: name, topic, help, example, what completes its words, and the function that does it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError, VmemuError

if TYPE_CHECKING:
    from vmemu.debug.shell.debugger import Debugger

#: Topics of `help`, in its order, with one line each.
TOPICS: dict[str, str] = {
    "run": "run the guest, step it, stop it somewhere",
    "stop": "breakpoints and watchpoints",
    "state": "registers, code, memory, expressions, backtraces",
    "paging": "page tables, stage 2, where a page is",
    "guest": "tasks, vCPUs, devices",
    "protocol": "asynchronous paging: faults in flight, tokens, shared areas, who sleeps",
    "intervene": "change what happens; recorded, so that the session replays",
    "time": "go back, go anywhere, compare two moments",
    "shell": "the shell itself",
}


class CommandError(VmemuError):
    """The command cannot be done; the text says why. The machine is as it was."""

    status = 1


class UsageError(ConfigError):
    """The command makes no sense as it was typed."""


#: run(debugger, what follows the command's name)
Run = Callable[["Debugger", str], None]
#: complete(debugger, the words so far, the word to be completed) -> words that it may become
Complete = Callable[["Debugger", Sequence[str], str], "list[str]"]


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `example`: (a line, what it does). `steps`: it moves the machine (an empty line repeats it)."""

    name: str
    aliases: tuple[str, ...]
    topic: str
    usage: str
    example: tuple[str, str]
    run: Run
    complete: Complete | None = None
    steps: bool = False

    @property
    def text(self) -> str:
        """Its help."""
        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def summary(self) -> str:
        return self.text.partition("\n")[0]


COMMANDS: dict[str, Command] = {}
_ALIASES: dict[str, str] = {}


def command(
    name: str, *aliases: str, topic: str, usage: str = "", example: tuple[str, str], complete: Complete | None = None, steps: bool = False
) -> Callable[[Run], Run]:
    """Register a function as a command. Its docstring is the help: a first line for lists, the rest for `help NAME`."""

    def add(run: Run) -> Run:
        for word in (name, *aliases):
            if word in COMMANDS or word in _ALIASES:
                raise ValueError(f"two commands are called {word!r}")
        if topic not in TOPICS:
            raise ValueError(f"command {name!r}: no topic {topic!r}")
        COMMANDS[name] = Command(name, aliases, topic, usage or name, example, run, complete, steps)
        _ALIASES.update(dict.fromkeys(aliases, name))
        return run

    return add


def find(word: str, others: Sequence[str] = ()) -> Command | None:
    """The command that a word names: in full, by an alias, or by a beginning that no other command and no `others` have.

    None: it is one of `others`. Raises UsageError.
    """
    if word in COMMANDS or word in _ALIASES:
        return COMMANDS[_ALIASES.get(word, word)]
    if word in others:
        return None
    near = [name for name in COMMANDS if name.startswith(word)]
    if len(near) == 1:
        return COMMANDS[near[0]]
    if near:
        raise UsageError(f"{word!r} may be {', '.join(sorted(near))}")
    close = difflib.get_close_matches(word, [*COMMANDS, *_ALIASES, *others], 2, 0.6)
    raise UsageError(f"no command {word!r}" + (f"; did you mean {' or '.join(close)}?" if close else "; `help` lists them"))
