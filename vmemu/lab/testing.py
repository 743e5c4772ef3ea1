# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines under test: booted with the decisions that the test session asks for, watched, and taken down.

What a failed test leaves is made afterwards, from the recording: a run that passes pays for no trace.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vmemu.clock.choices import Choices
from vmemu.clock.sources import DrawnSource
from vmemu.debug.trace import Tracer
from vmemu.errors import VmemuError
from vmemu.lab.models import Violation, Watch, models_for
from vmemu.machine.boot import BootOptions, boot
from vmemu.machine.machine import Machine
from vmemu.machine.recording import Recorder, Replay

#: Options of `vmemu boot` that decide: a machine that is given one of them decides for itself.
DECIDING = ("seed", "pct", "choices")


@dataclass
class Booted:
    """One machine of a test. `watch` is None when the test did not want its models."""

    machine: Machine
    recorder: Recorder
    watch: Watch | None


class Lab:
    """What the `vmemu` fixture gives. seed, choices: of machines that the test leaves undecided."""

    def __init__(self, seed: int = 0, choices: str | None = None) -> None:
        self.seed, self.choices = seed, choices
        self.booted: list[Booted] = []

    def boot(self, image: str, *, draw: Callable[[str, int], int] | None = None, watch: bool = True, **options: Any) -> Machine:
        """A machine at its reset, recorded from there on. Options: those of `vmemu boot` (BootOptions).

        draw(kind, n) -> index below n decides everything, as in ``lambda kind, n: data.draw(integers(0, n - 1))``.
        watch: models of the protocols look on; `violations` has what they found.
        Raises ConfigError for anything wrong with the image or the options.
        """
        if draw is None and not any(options.get(name) for name in DECIDING):
            options |= {"choices": self.choices} if self.choices is not None else {"seed": self.seed}
        source = None if draw is None else Choices(DrawnSource(draw))
        machine = boot(BootOptions(image=image, **options), source)
        recorder = Recorder(machine)
        self.booted.append(Booted(machine, recorder, Watch(machine, models_for(machine)) if watch else None))
        return machine

    @property
    def violations(self) -> list[Violation]:
        """What the models of all machines of this test have found."""
        return [v for b in self.booted if b.watch is not None for v in b.watch.violations]

    def leave(self, folder: Path) -> list[str]:
        """Write a recording and a trace of every machine into `folder`; lines that say what is where, and how to go on."""
        lines: list[str] = []
        for number, one in enumerate(self.booted):
            path = folder / f"{number}.rec"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                one.recorder.write(str(path), one.machine.result)
                lines += [f"machine {number}: {_command(one.machine)}", *_traced(path)]
            except (VmemuError, OSError) as error:
                lines.append(f"machine {number}: {error}")
            if one.watch is not None:
                lines += [f"  {violation}" for violation in one.watch.violations[:10]]
        return lines

    def close(self) -> None:
        """Take the machines down."""
        for one in self.booted:
            one.machine.close()
        self.booted.clear()


def _command(machine: Machine) -> str:
    """`vmemu boot` with this machine's options and decisions."""
    options = machine.options
    assert options is not None
    words = ["vmemu", "boot", options.image]
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in ("image", "console", *DECIDING) or value == field.default:
            continue
        name = "--" + {"bugs": "bug"}.get(field.name, field.name).replace("_", "-")
        if isinstance(value, bool):
            words.append(name)
        else:
            for one in (value,) if isinstance(value, (str, int)) else value:
                words += [name, str(one)]
    text = machine.choices.text()
    return shlex.join(words + (["--choices", text] if not machine.choices.is_default else []))


def _traced(path: Path) -> list[str]:
    """Run the recording again, with a trace."""
    trace = path.with_suffix(".txt")
    replay = Replay(str(path))
    try:
        with Tracer(replay.machine, trace):
            replay.run()
    finally:
        replay.machine.close()
    lines = [f"  recording {path}: vmemu replay {path}, vmemu debug --replay {path}", f"  trace {trace}"]
    if replay.difference is not None:
        lines.append(f"  the replay differs {replay.difference}: was the machine changed by hand?")
    return lines
