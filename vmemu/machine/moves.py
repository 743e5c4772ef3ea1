# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest must survive without being asked: its machine's state is saved and loaded, or carried to another host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.errors import ConfigError
from vmemu.machine import snapshot

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


def reload(machine: Machine) -> None:
    """Everything is saved and loaded again, in place: nobody may notice."""
    observe, machine.core.observe = machine.core.observe, None
    try:
        taken = snapshot.take(machine)
        snapshot.restore(machine, taken)
        snapshot.drop(machine, taken)
    finally:
        machine.core.observe = observe


def migrate(machine: Machine) -> None:
    """The state comes as a VMM carries it from host to host: facilities give up what no interface lets it read."""
    for facility in machine.facilities.values():
        facility.migrated()


def install(machine: Machine) -> None:
    """Give a machine these commands."""

    def command(words: list[str], name: str) -> str:
        if words:
            raise ConfigError(f"{name}: takes nothing")
        (reload if name == "reload" else migrate)(machine)
        return "saved and loaded" if name == "reload" else "carried to another host"

    for name in ("reload", "migrate"):
        machine.commands[name] = lambda words, name=name: command(words, name)  # type: ignore[misc]
