# SPDX-License-Identifier: GPL-2.0-or-later
"""Record a run, and replay it: the decisions, the console input, and short digests that say where a replay goes astray.

A recording needs no more than what was decided, since everything else follows. Checkpoints are taken at ends of turns, which
are part of the run itself: at first every million cycles, then ever more seldom, so that they cost below 1 % of the run.
"""

from __future__ import annotations

import json
import zlib
from array import array
from typing import TYPE_CHECKING, Any

from vmemu import __version__
from vmemu.clock.choices import Choices
from vmemu.clock.sources import ForcedSource
from vmemu.core import CYC, PAGE_SIZE, persist
from vmemu.errors import ConfigError
from vmemu.machine import container
from vmemu.machine.container import Kind, section
from vmemu.machine.disk import describe
from vmemu.machine.journal import Entry, Instant, Journal, Missed

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine
    from vmemu.machine.result import RunResult

KIND = Kind(b"vmemurec", 2, "recording")
#: Cycles to the first checkpoint, per vCPU; each interval is twice the one before, up to the longest.
FIRST, LONGEST = 1_000_000, 256_000_000
#: Cycles of run that pay for the checksum of one page (about 1 us).
PER_PAGE = 100_000
#: Bytes of page digests that a million instructions may cost.
PAGE_BYTES = 256


def checkpoint(machine: Machine, insns_before: int) -> dict[str, Any]:
    """Digests of the present state, as plain data."""
    pages = array("I", persist.page_digests(machine.core, 0))
    insns = machine.insns
    budget = max(64, PAGE_BYTES * (insns - insns_before) // 1_000_000) // 4
    shift = 0
    while len(pages) >> shift > budget:
        shift += 1
    size = 1 << shift
    groups = pages if not shift else [sum(pages[i : i + size]) & 0xFFFFFFFF for i in range(0, len(pages), size)]
    return {
        "insns": insns,
        "time": machine.time_units,
        "registers": [persist.register_digests(v).hex() for v in machine.vcpus],
        "devices": {name: zlib.crc32(json.dumps(state, sort_keys=True).encode()) for name, state in machine.board.save().items()},
        "shift": shift,
        "pages": array("I", groups).tobytes().hex(),
        "live": len(pages) - pages.count(0),
    }


class Clock:
    """When checkpoints are due: a function of the machine's time and size alone, so that both runs agree."""

    def __init__(self, machine: Machine) -> None:
        self.interval = FIRST * CYC * len(machine.vcpus)
        self.next = machine.time_units + self.interval

    def passed(self, machine: Machine, live: int) -> None:
        self.interval = min(max(self.interval * 2, live * PER_PAGE * CYC), max(LONGEST, live * PER_PAGE) * CYC)
        self.next = machine.time_units + self.interval


class Recorder:
    """Attached to a machine that has not run yet; `write` at the end."""

    def __init__(self, machine: Machine) -> None:
        if machine.options is None or machine.insns:
            raise ConfigError("a recording starts where the machine is booted")
        self.machine = machine
        self.checkpoints: list[dict[str, Any]] = []
        self.clock = Clock(machine)
        machine.on_turn = self._on_turn
        self.journal = Journal(machine) if machine.journal is None else machine.journal
        self.journal.on_new = self._changed
        self._clocks: list[tuple[int, int]] = []

    def _changed(self) -> None:
        """The past was changed here: what was known of the run after this instant is no more."""
        while self.checkpoints and self.checkpoints[-1]["insns"] > self.machine.insns:
            self._take_back()

    def _take_back(self) -> None:
        self.checkpoints.pop()
        self.clock.next, self.clock.interval = self._clocks.pop()

    def _on_turn(self, machine: Machine) -> None:
        while self.checkpoints and self.checkpoints[-1]["time"] > machine.time_units:  # somebody went back in time
            self._take_back()
        if machine.time_units >= self.clock.next:
            before = self.checkpoints[-1]["insns"] if self.checkpoints else 0
            self.checkpoints.append(checkpoint(machine, before))
            self._clocks.append((self.clock.next, self.clock.interval))
            self.clock.passed(machine, self.checkpoints[-1]["live"])

    def write(self, path: str, result: RunResult | None) -> int:
        """The file's size. `result` None: the run was interrupted, and can be replayed as far as it came."""
        from vmemu.machine.result import state_hash

        machine = self.machine
        assert machine.options is not None
        while self.checkpoints and self.checkpoints[-1]["insns"] > machine.insns:
            self._take_back()
        before = self.checkpoints[-1]["insns"] if self.checkpoints else 0
        header = {
            "vmemu": __version__,
            "options": describe(machine.options),
            "isa": machine.board.isa,
            "images": machine.images,
            "source": machine.choices.source.describe(),
            "journal": [[*at, kind, text] for at, kind, text in self.journal.entries[: self.journal.done]],
            "end": {
                "status": None if result is None else result.status,
                "reason": "interrupted" if result is None else result.reason,
                "insns": machine.insns,
                "at": list(Instant.of(machine)),
                "state_hash": state_hash(machine) if result is None else result.state_hash,
            },
        }
        digests = zlib.compress(json.dumps([*self.checkpoints, checkpoint(machine, before)]).encode(), 1)
        sections = [section("choices", machine.choices.text().encode()), section("checkpoints", digests)]
        return container.write(path, KIND, header, sections, "--record")


class Replay:
    """A recorded run, to be run again."""

    def __init__(self, path: str, console: Any = None) -> None:
        """Reads the file and boots its machine. Raises ConfigError with one clear line."""
        from vmemu.machine.boot import BootOptions, boot, identity, plan

        where = f"replay {path}"
        header, sections = container.read(path, KIND, "replay")
        if header["vmemu"] != __version__:
            raise ConfigError(f"{where}: recorded by vmemu {header['vmemu']}, this is {__version__}: the timing may differ")
        options = BootOptions(**{**header["options"], "isa": header["isa"], "seed": 0, "pct": None, "choices": None},
                              console=console)
        found = identity(plan(options.image, options.isa))
        differs = [name for name in sorted({*found, *header["images"]}) if found.get(name) != header["images"].get(name)]
        if differs:
            raise ConfigError(f"{where}: the {differs[0]} of {options.image} ({header['isa']}) is not the one that was recorded")
        self.end: dict[str, Any] = header["end"]
        self.source = str(header["source"])
        self.checkpoints = json.loads(zlib.decompress(bytes(sections["checkpoints"])))
        self.final = self.checkpoints.pop()
        entries = [Entry(Instant(*map(int, at)), str(kind), str(text)) for *at, kind, text in header["journal"]]
        if self.end["status"] is None:
            entries.append(Entry(Instant(*map(int, self.end["at"])), "end", ""))
        text = bytes(sections["choices"]).decode()
        default = self.source == "default"  # asks for less than a list of zeros would
        self.machine = boot(options, Choices() if default else Choices(ForcedSource.parse(text)))
        self.difference: str | None = None
        self._clock = Clock(self.machine)
        self._passed = 0
        self.journal = Journal(self.machine, entries)
        self.machine.on_turn = self._on_turn

    def _on_turn(self, machine: Machine) -> None:
        self._check(machine)

    def _check(self, machine: Machine) -> None:
        if machine.time_units < self._clock.next or self._passed == len(self.checkpoints):
            return
        expected = self.checkpoints[self._passed]
        self._passed += 1
        found = compare(machine, expected)
        self._clock.passed(machine, expected["live"])
        if found is not None:
            raise Diverged(found)

    def quiet(self) -> None:
        """Check nothing more: the caller is about to move in time."""
        self.machine.on_turn = None

    def run(self, on_progress: Any = None) -> RunResult:
        """To the recorded end. `difference` says what differs, and where, if anything does."""
        from vmemu.machine.result import FAILED, make_result

        machine = self.machine
        try:
            if self.end["status"] is None:
                while not self.journal.at_end:
                    machine.go_on()
                result = make_result(machine, FAILED, "interrupted, as recorded", None, 0.0)
            else:
                result = machine.run(on_progress)
        except Missed as error:
            result = make_result(machine, FAILED, "the replay differs", None, 0.0)
            self.difference = str(error)
            return result
        if result.state_hash != self.end["state_hash"]:
            self.difference = compare(machine, self.final) or "the final state differs in something without a digest"
        elif self.end["status"] is not None and (result.status, result.reason) != (self.end["status"], self.end["reason"]):
            self.difference = f"it ended with {result.reason!r}, the recorded run with {self.end['reason']!r}"
        return result


class Diverged(Missed):
    """The replay is not the run that was recorded."""


def compare(machine: Machine, expected: dict[str, Any]) -> str | None:
    """What differs first between the machine and a checkpoint: place, registers, devices, pages. None: nothing."""
    where = f"at instruction {machine.insns}"
    if machine.insns != expected["insns"]:
        return f"{where}: the recorded run had come to instruction {expected['insns']} in the same time"
    found = []
    for vcpu, digest in zip(machine.vcpus, expected["registers"], strict=True):
        now, then = array("H", persist.register_digests(vcpu)), array("H", bytes.fromhex(digest))
        for register, a, b in zip(machine.core.isa.registers, now, then, strict=True):
            if a != b:
                found.append(f"register {register.name} of vCPU {vcpu.id} (now {vcpu.get(register.name):#x})")
                break
    for name, state in machine.board.save().items():
        if zlib.crc32(json.dumps(state, sort_keys=True).encode()) != expected["devices"].get(name):
            found.append(f"device {name}")
            break
    shift = int(expected["shift"])
    now, then = array("I", persist.page_digests(machine.core, shift)), array("I", bytes.fromhex(expected["pages"]))
    for group, (a, b) in enumerate(zip(now, then, strict=True)):
        if a != b:
            first = machine.core.gpa(group << shift)
            found.append(f"page {first:#x}" if not shift else f"a page in {first:#x}-{first + (PAGE_SIZE << shift) - 1:#x}")
            break
    return f"{where}: {', '.join(found)}" if found else None
