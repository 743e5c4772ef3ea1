# SPDX-License-Identifier: GPL-2.0-or-later
"""The bug registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmemu import bugs
from vmemu.errors import ConfigError
from vmemu.machine.machine import Machine


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bugs, "BUGS", {})
    monkeypatch.setattr(bugs, "ROOMS", ())
    bugs.register(bugs.Bug("lost-wake", "guest", "a wake-up is dropped"))
    bugs.register(bugs.Bug("token-zero", "protocols.kvm_x86", "token 0 is handed out"))


@pytest.mark.usefixtures("registry")
def test_resolve_and_switches() -> None:
    found = bugs.resolve(["token-zero", "lost-wake", "token-zero"])
    assert [b.id for b in found] == ["token-zero", "lost-wake"]
    assert bugs.guest_switches(found) == "bug=lost-wake"
    assert bugs.guest_switches([]) == ""


@pytest.mark.usefixtures("registry")
def test_unknown_and_twice() -> None:
    with pytest.raises(ConfigError, match="did you mean lost-wake"):
        bugs.resolve(["lost-wakes"])
    with pytest.raises(ConfigError, match="vmemu bugs"):
        bugs.resolve(["zzz"])
    with pytest.raises(ValueError, match="twice"):
        bugs.register(bugs.Bug("lost-wake", "guest", ""))


def test_every_entry_says_what_it_does() -> None:
    for bug in bugs.known().values():
        assert bug.text and bug.owner and bug.id == bug.id.lower() and "," not in bug.id


def test_guest_bugs_are_the_kernels_switches() -> None:
    """One list in Python, one in the guest's C: they may not drift apart."""
    header = Path(__file__).parent.parent / "guest_images/kernel/bugs.h"
    switches = dict(re.findall(r'X\(BUG_\w+,\s*"([^"]+)",\s*"([^"]+)"\)', header.read_text()))
    assert {b.id: b.text for b in bugs.BUGS.values() if b.guest} == switches


@pytest.mark.usefixtures("registry")
def test_a_sheets_id_means_all_that_carry_it() -> None:
    bugs.register(bugs.Bug("half-a", "guest", "one half of a fix is missing", "B02"))
    bugs.register(bugs.Bug("half-b", "protocols.kvm_x86", "the other half is missing", "B02 C5"))
    assert bugs.canonical(["B02"]) == ("half-a", "half-b")
    assert bugs.canonical(["C5", "lost-wake", "B02"]) == ("half-b", "lost-wake", "half-a")
    with pytest.raises(ConfigError, match="did you mean B02"):
        bugs.resolve(["B2"])


def test_an_alias_switches_on_what_it_stands_for() -> None:
    machine = Machine.boot("hello", isa="x86_64", bugs=("B03", "B23"))
    try:
        assert machine.options is not None
        assert machine.options.bugs == ("apf-no-eoi", "apf-endless-retry") and machine.has_bug("apf-endless-retry")
    finally:
        machine.close()


def test_sheet_ids_are_well_formed() -> None:
    for bug in bugs.known().values():
        assert all(re.fullmatch(r"B[0-5][0-9]|C[1-8]|(SDEI|ESN|VAS|TCE)-[A-Z]?[0-9]+", sheet) for sheet in bug.sheets), bug
