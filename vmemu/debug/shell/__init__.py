# SPDX-License-Identifier: GPL-2.0-or-later
"""The debugger's shell: commands as data (registry), what they work on (debugger), and a terminal for them (terminal).

A command is a function `f(debugger, text)` registered with `@command`; it writes with `debugger.say` and nothing else, so that a
terminal, a script and gdb's ``monitor`` share it. A module of commands is named in `ROOMS`.
"""

from __future__ import annotations

import importlib

from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import COMMANDS, Command, CommandError, UsageError, command

#: Modules whose commands are registered by importing them.
ROOMS = (
    "vmemu.debug.shell.running",
    "vmemu.debug.shell.stepping",
    "vmemu.debug.shell.points",
    "vmemu.debug.shell.registers",
    "vmemu.debug.shell.code",
    "vmemu.debug.shell.memory",
    "vmemu.debug.shell.paging",
    "vmemu.debug.shell.guest",
    "vmemu.debug.shell.travel",
    "vmemu.debug.shell.help",
    "vmemu.debug.shell.protocol",
    "vmemu.debug.shell.protocol_explain",
)


def load_commands() -> dict[str, Command]:
    """All commands by name."""
    for room in ROOMS:
        importlib.import_module(room)
    return COMMANDS


__all__ = ["COMMANDS", "Command", "CommandError", "Debugger", "UsageError", "command", "load_commands"]
