# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores by name: ``ram:``, ``file:PATH``, and either behind failures: ``fail:read@PAGE,file:PATH``.

Adding a backend is one file here that provides `Store`, and one entry in `_open`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmemu.clock.inject import EVENTS, Injector, Rule, parse_action, parse_number
from vmemu.errors import ConfigError
from vmemu.memory.store.base import MAX_SLOT, PAGE_SIZE, Checksum, Page, Store
from vmemu.memory.store.faulty import FaultyStore
from vmemu.memory.store.file import FileStore
from vmemu.memory.store.ram import RamStore

__all__ = [
    "MAX_SLOT", "PAGE_SIZE", "Checksum", "FaultyStore", "FileStore", "Page", "RamStore", "Store", "StoreSpec",
    "needs_python", "open_store", "parse_store",
]

KINDS = ("ram", "file")


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A parsed ``--store``: which backend, its argument, and the failures put in front of it."""

    kind: str
    path: str = ""
    rules: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        faults = "".join(f"{r.action}:{r.event.removeprefix('store.')}@{_which(r)}," for r in self.rules)
        return f"{faults}{self.kind}:{self.path}"


def _which(rule: Rule) -> str:
    return "*" if rule.key is None else f"{rule.key:#x}"


def parse_store(text: str) -> StoreSpec:
    """ConfigError says what is wrong with the text; nothing is opened yet.

    PAGE is a guest page number (guest-physical address / 4096, decimal or 0x), or ``*`` for every page.
    """
    where = f"--store {text}"
    rules: list[Rule] = []
    rest = text
    while match := re.match(r"([a-z]+(?:=[^:,]*)?):([a-z]+)@([^,]*),", rest):
        action = parse_action(match[1], where)
        event = EVENTS.get(f"store.{match[2]}")
        if event is None:
            raise ConfigError(f"{where}: {match[2]!r} is neither read nor write")
        if action.do not in event.actions:
            can = " ".join(sorted(d.value for d in event.actions))
            raise ConfigError(f"{where}: a store's {match[2]} cannot {action.do.value}, only {can}")
        key = None if match[3] == "*" else parse_number(match[3])
        if key is None and match[3] != "*":
            raise ConfigError(f"{where}: {match[3]!r} is not a guest page number")
        rules.append(Rule(event.name, 0, action, key))
        rest = rest[match.end() :]
    kind, colon, path = rest.partition(":")
    if not colon or kind not in KINDS:
        raise ConfigError(f"{where}: unknown store; known are ram: and file:PATH, either behind fail:read@PAGE,")
    if kind == "ram" and path:
        raise ConfigError(f"{where}: ram: takes no path")
    if kind == "file" and (not path or "\0" in path):
        raise ConfigError(f"{where}: give a file name, as in file:swap")
    return StoreSpec(kind, path, tuple(rules))


def needs_python(spec: StoreSpec, injector: Injector) -> bool:
    """False when the C unit's own ``ram:`` can serve the run."""
    return spec.kind != "ram" or bool(spec.rules) or injector.watches("store.read", "store.write")


def open_store(spec: StoreSpec, crc: Checksum, injector: Injector) -> Store:
    """The store, behind a FaultyStore if a failure may be injected. Adds the spec's own rules to `injector`."""
    for rule in spec.rules:
        injector.add(rule)
    inner: Store = FileStore(spec.path, crc) if spec.kind == "file" else RamStore(crc)
    return FaultyStore(inner, injector) if injector.watches("store.read", "store.write") else inner
