# SPDX-License-Identifier: GPL-2.0-or-later
"""What is explored: a machine, an instant of it, what may go wrong from there on, and what must hold."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.clock.choices import Choices
    from vmemu.lab.models.base import Violation
    from vmemu.machine.machine import Machine
    from vmemu.machine.result import RunResult

#: rig(bugs, choices) -> a machine made by hand, which must ask these choices.
Rig = Callable[[tuple[str, ...], "Choices"], "Machine"]
#: drive(machine, ask) -> instead of the run loop: plays the guest. `ask(kind, options)` is a decision.
Drive = Callable[["Machine", Callable[[str, int], int]], None]
#: setup(machine) -> commands that depend on what the machine's memory looks like.
Setup = Callable[["Machine"], list[str]]


@dataclass(frozen=True)
class Scenario:
    """One thing to explore. Executions begin at `start`, after the commands of `setup`.

    name: as `vmemu explore` takes it. text: one line. isa: None is the image's. image: name or path. options: BootOptions fields.
    start: "boot", an instruction index, or what `vmemu replay --to` takes ("output:ready", "fault_swap:3").
    setup: commands of the machine's owner (as `vmemu ctl` gives them) at the start, or functions that say which.
    cycles: bound of one execution, per vCPU; one that takes longer violates LIVE.
    actions: what the environment may do between two turns (names in `actions.ACTIONS`); each such instant is a decision `act`.
    events: what may go wrong (clock/inject.py: "apf.kick", or "store.read:fail,delay=100us" for some actions only); every
    occurrence is a decision whose kind is the event's name.
    kinds: the machine's own decisions that are explored ("vcpu", "step", "latency", ...); None: all of them.
    models: "auto" (all that apply), or names in lab/models.
    until: asked after each turn; the first yes ends the execution there. None: the guest ends it.
    verify: what else must hold at the end of an execution. bugs: known bugs that are always on.
    rig: makes the machine instead of `image` and `options`. drive: plays the guest instead of the run loop.
    """

    name: str
    text: str = ""
    isa: str | None = None
    image: str = "hello"
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str | int = "boot"
    setup: tuple[str | Setup, ...] = ()
    cycles: int = 200_000_000
    actions: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    kinds: tuple[str, ...] | None = None
    models: str | tuple[str, ...] = "auto"
    until: Callable[[Machine], bool] | None = None
    verify: Callable[[Machine, RunResult], list[Violation]] | None = None
    bugs: tuple[str, ...] = ()
    rig: Rig | None = None
    drive: Drive | None = None
    #: File that it was loaded from; empty for one that is built in.
    source: str = field(default="", compare=False)


SCENARIOS: dict[str, Scenario] = {}
#: Modules that register scenarios when they are imported.
ROOMS = ("vmemu.lab.explore.builtin", "vmemu.lab.zoo")


def register(scenario: Scenario) -> Scenario:
    """Make a built-in scenario known by its name."""
    if scenario.name in SCENARIOS:
        raise ValueError(f"scenario {scenario.name} registered twice")
    SCENARIOS[scenario.name] = scenario
    return scenario


def known() -> dict[str, Scenario]:
    """All built-in scenarios by name."""
    for room in ROOMS:
        if importlib.util.find_spec(room) is not None:
            importlib.import_module(room)
    return SCENARIOS


def find(text: str) -> Scenario:
    """A built-in scenario's name, or ``FILE.py[:NAME]``. Raises ConfigError."""
    path, _, name = text.partition(":")
    if path.endswith(".py"):
        return _from_file(path, name)
    if text not in known():
        raise ConfigError(f"no scenario {text!r}: `vmemu explore --list` shows them; or give a FILE.py[:NAME]")
    return SCENARIOS[text]


def _from_file(path: str, name: str) -> Scenario:
    if not os.path.isfile(path):
        raise ConfigError(f"scenario file {path}: no such file")
    module_name = "vmemu_scenario_" + "".join(c if c.isalnum() else "_" for c in os.path.abspath(path))
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise ConfigError(f"scenario file {path}: {type(error).__name__}: {error}") from error
    found = {s.name: s for s in vars(module).values() if isinstance(s, Scenario)}
    if name and name not in found:
        raise ConfigError(f"scenario file {path}: no scenario {name!r} in it, it has {', '.join(found) or 'none'}")
    if not name and len(found) != 1:
        raise ConfigError(f"scenario file {path}: has {', '.join(found) or 'no scenario'}; name one as {path}:NAME")
    scenario = found[name] if name else next(iter(found.values()))
    object.__setattr__(scenario, "source", path)
    return scenario
