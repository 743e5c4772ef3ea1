# SPDX-License-Identifier: GPL-2.0-or-later
"""Which models there are, and which of them fit a machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError
from vmemu.lab.models.base import Model

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. applies: does it know what this machine speaks? make: for one machine, before it runs."""

    name: str
    applies: Callable[[Machine], bool]
    make: Callable[[Machine], Model]


#: Modules of this room that register models when they are imported.
ROOM = "vmemu.lab.models"
MODULES: tuple[str, ...] = (
    "checkers",
    "faults",
    "kvm_x86",
    "kvm_2010",
    "sdei_arm64",
    "esn",
    "vas",
    "tce",
)
_ENTRIES: dict[str, Entry] = {}


def register(entry: Entry) -> Entry:
    """Make a model known; those of users as well."""
    if entry.name in _ENTRIES:
        raise ValueError(f"model {entry.name} registered twice")
    _ENTRIES[entry.name] = entry
    return entry


def models() -> dict[str, Entry]:
    """All models, by name."""
    for module in MODULES:
        importlib.import_module(f"{ROOM}.{module}")
    return _ENTRIES


def models_for(machine: Machine, names: Iterable[str] | None = None) -> list[Model]:
    """Fresh models for a machine that has not run: all that fit it, or those named. Raises ConfigError for an unknown name."""
    known = models()
    if names is None:
        return [entry.make(machine) for entry in known.values() if entry.applies(machine)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no model {', '.join(unknown)}: there are {', '.join(known)}")
    return [known[name].make(machine) for name in names]
