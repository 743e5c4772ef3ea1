# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell on a terminal: line editing, history and completion by cmd2. Scripts and pipes do without it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmd2

from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import COMMANDS, Command
from vmemu.errors import VmemuError

#: Commands of cmd2's own that make sense here; all others would be in the way.
KEPT = ("history", "shell", "_eof")
HISTORY = "vmemu/debug-history"


def history_file() -> str:
    """Where lines are kept from session to session (XDG Base Directory Specification); "" when there is no such place."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folder = Path(base) / Path(HISTORY).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(Path(base) / HISTORY)


class Terminal(cmd2.Cmd):
    """The prompt. Every line goes to `Debugger.execute`; cmd2 reads it, remembers it and completes it."""

    def __init__(self, debugger: Debugger, history: str = "") -> None:
        super().__init__(
            stdout=debugger.out, allow_cli_args=False, allow_redirection=False, include_py=False, include_ipy=False,
            persistent_history_file=history, shortcuts={"!": "shell"}, terminators=[],
        )  # fmt: skip
        self.debugger = debugger
        self.prompt = debugger.style("(vmemu)", "dim") + " "
        words = {word for command in COMMANDS.values() for word in (command.name, *command.aliases)}
        for name in self.get_all_commands():
            if name not in KEPT and name not in words:
                setattr(self, f"do_{name}", None)

    def onecmd_plus_hooks(self, line: str, **options: Any) -> bool:
        """One line, as typed. An empty one repeats a step."""
        if line.strip():
            return bool(super().onecmd_plus_hooks(line, **options)) or self.debugger.done
        self._attempt(self.debugger.repeat)
        return False

    def default(self, statement: cmd2.Statement) -> bool | None:
        """What is no name of a command in full: a beginning, a command with a format (x/4gx), a command of the machine."""
        self.history.append(statement)
        return self.pass_on(statement)

    def pass_on(self, statement: cmd2.Statement) -> bool:
        """True ends the session."""
        self._attempt(lambda: self.debugger.execute(statement.raw))
        return self.debugger.done

    def _attempt(self, what: Callable[[], None]) -> None:
        try:
            what()
        except VmemuError as error:
            self.debugger.complain(error)
        except KeyboardInterrupt:
            self.debugger.say("interrupted")

    def do__eof(self, statement: cmd2.Statement | str) -> bool:
        """Control-D."""
        self.debugger.say()
        return True

    def suggest(self, command: Command, text: str, line: str, begin: int) -> list[str]:
        """Words that may stand at `begin` of the line."""
        if command.complete is None:
            return []
        return sorted(set(command.complete(self.debugger, line[:begin].split()[1:], text)))


def _add(command: Command) -> None:
    """Make a command known to cmd2, which finds commands and completers by the names of methods."""

    def do(self: Terminal, statement: cmd2.Statement) -> bool:
        return self.pass_on(statement)

    def complete(self: Terminal, text: str, line: str, begidx: int, endidx: int) -> cmd2.Completions:
        return self.basic_complete(text, line, begidx, endidx, self.suggest(command, text, line, begidx))

    do.__doc__ = command.text
    for name in (command.name, *command.aliases):
        if name.isidentifier():
            setattr(Terminal, f"do_{name}", do)
            setattr(Terminal, f"complete_{name}", complete)


def interact(debugger: Debugger) -> None:
    """Read and do lines until the session ends."""
    for command in COMMANDS.values():
        _add(command)
    machine = debugger.machine
    many = f"{len(machine.vcpus)} vCPUs" if len(machine.vcpus) > 1 else "1 vCPU"
    debugger.say(f"{machine.board.isa}, {many}, instruction {machine.insns}. `continue` runs the guest, `help` lists the commands.")
    Terminal(debugger, history_file()).cmdloop()
