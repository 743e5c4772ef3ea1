# SPDX-License-Identifier: GPL-2.0-or-later
"""A schedule as a regression test: a file for pytest that fails while the schedule violates something."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import fields

from vmemu.errors import ConfigError
from vmemu.lab.explore.execution import Execution
from vmemu.lab.explore.scenario import Scenario

_TEMPLATE = '''"""{text}

Found by: {command}
It violated {violation}
"""

from vmemu.lab.explore.replay import replay
from vmemu.lab.explore.scenario import {imported}

SCENARIO = {scenario}
#: Known bugs that are switched on.
BUGS = {bugs!r}
SCHEDULE = {schedule!r}


def test_{name}() -> None:
    replayed = replay(SCENARIO, SCHEDULE, bugs=BUGS)
    assert not replayed.execution.violations, "\\n".join([*replayed.lines(), *map(str, replayed.execution.violations)])
'''


def _literal(scenario: Scenario) -> str | None:
    """The scenario as an expression; None when it has code of its own."""
    default = Scenario("")
    parts = []
    for field in fields(Scenario):
        value = getattr(scenario, field.name)
        if field.name == "source" or field.name != "name" and value == getattr(default, field.name):
            continue
        if callable(value):
            return None
        parts.append(f"    {field.name}={dict(value) if field.name == 'options' else value!r},\n")
    return "Scenario(\n" + "".join(parts) + ")"


def test_file(scenario: Scenario, bugs: Sequence[str], execution: Execution, command: str) -> str:
    """The text of the file. What a scenario from a file has of code stays in that file, which the test then names."""
    literal = _literal(scenario)
    if literal is not None:
        imported = "Scenario"
    else:
        imported, where = "find", scenario.name
        if scenario.source:
            where = f"{os.path.abspath(scenario.source)}:{scenario.name}"
        literal = f"find({where!r})"
    first = execution.violations[0]
    return _TEMPLATE.format(
        text=_plain(scenario.text or scenario.name), command=_plain(command), violation=_plain(str(first)), imported=imported,
        scenario=literal, bugs=tuple(bugs), schedule=execution.schedule,
        name=re.sub(r"[^0-9a-z]+", "_", f"{scenario.name}_{first.invariant}".lower()).strip("_"),
    )  # fmt: skip


def _plain(text: str) -> str:
    """For a docstring: parts of it may come from a guest."""
    return "".join(c if c.isprintable() and c not in '\\"' else "?" for c in text)


def write(path: str, text: str) -> None:
    """Raises ConfigError when it cannot be written."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"--as-pytest {path}: cannot write: {error.strerror}") from None
