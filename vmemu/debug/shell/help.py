# SPDX-License-Identifier: GPL-2.0-or-later
"""``help``, and the other commands about the shell itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import COMMANDS, TOPICS, Command, CommandError, UsageError, command, find


def complete_commands(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    """Names of commands and topics."""
    return [name for name in (*COMMANDS, *TOPICS, *debugger.machine.commands) if name.startswith(word)]


@command("help", "?", topic="shell", usage="help [TOPIC|COMMAND]", example=("help time", "the commands of time travel, one line each"),
         complete=complete_commands)
def show_help(debugger: Debugger, text: str) -> None:
    """Topics; the commands of a topic; or one command with an example."""
    if not text:
        debugger.say("Topics (help TOPIC), then commands (help COMMAND):")
        for topic, line in TOPICS.items():
            debugger.say(f"  {debugger.style(f'{topic:<10}', 'head')} {line}")
            names = [c.name for c in COMMANDS.values() if c.topic == topic]
            names += sorted(debugger.machine.commands) if topic == "intervene" else []
            if names:
                debugger.say(f"  {'':<10}   {', '.join(names)}")
        debugger.say("An empty line repeats a step. Beginnings of names will do where they are clear. Ctrl-C stops the guest.")
    elif text in TOPICS:
        _topic(debugger, text)
    else:
        found = find(text, list(debugger.machine.commands))
        if found is None:
            debugger.say(f"{text}: a command of the machine (help intervene); `{text}` alone says how it is used")
        else:
            _one(debugger, found)


def _topic(debugger: Debugger, topic: str) -> None:
    debugger.say(f"{topic}: {TOPICS[topic]}")
    for found in COMMANDS.values():
        if found.topic == topic:
            debugger.say(f"  {debugger.style(f'{found.name:<12}', 'head')} {found.summary}")
    if topic == "intervene":
        for name in sorted(debugger.machine.commands):
            debugger.say(f"  {debugger.style(f'{name:<12}', 'head')} a command of the machine")


def _one(debugger: Debugger, found: Command) -> None:
    debugger.say(f"{debugger.style(found.usage, 'head')}" + (f"    (short: {', '.join(found.aliases)})" if found.aliases else ""))
    debugger.say(found.text)
    debugger.say(f"Example: {found.example[0]}\n    {found.example[1]}")


@command("source", topic="shell", usage="source FILE", example=("source setup.vmdbg", "run the commands in that file, one a line"))
def source(debugger: Debugger, text: str) -> None:
    """Run the commands in a file, up to the first that fails."""
    run_script(debugger, text)


def run_script(debugger: Debugger, path: str) -> None:
    """The commands of a file. Raises what the first failing one raises, with the line's number."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path or 'source'}: cannot read: {getattr(error, 'strerror', None) or error}") from None
    if debugger.scripts >= MOST_NESTED:
        raise CommandError(f"{path}: scripts call each other more than {MOST_NESTED} deep")
    debugger.scripts += 1
    try:
        for number, line in enumerate(lines, 1):
            debugger.at = f"{path}:{number}: "
            debugger.execute(line)
            if debugger.done:
                break
        debugger.at = ""
    finally:
        debugger.scripts -= 1


#: Scripts that call scripts: more is a script that calls itself.
MOST_NESTED = 16


@command("echo", topic="shell", usage="echo TEXT", example=("echo now the second half", "a line between the output of others"))
def echo(debugger: Debugger, text: str) -> None:
    """Print a text: for scripts."""
    debugger.say(text)


@command("quit", "exit", "q", topic="shell", example=("quit", "end the session and the machine"))
def leave(debugger: Debugger, text: str) -> None:
    """End the session."""
    debugger.done = True
