# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of real systems, as switches that put them back.

An entry exists only when the code behind it does. The room that implements a bug registers it; a bug of the test guest
is registered here, because the guest has no Python: its switch reaches the kernel as ``bug=NAME`` on its command line.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from vmemu.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Bug:
    """`id` is what --bug takes; `owner` is the room that implements it, "guest" for the test guest's kernel.

    sheet: where the bug is described, as ids separated by spaces: "B31" is a number of the catalogue of known bugs (docs/zoo.md
    lists them), "C3" one of its corners that nobody seems to have reported, "SDEI-7" number 7 of a protocol's own list.
    """

    id: str
    owner: str
    text: str
    sheet: str = ""

    @property
    def guest(self) -> bool:
        return self.owner == "guest"

    @property
    def sheets(self) -> tuple[str, ...]:
        return tuple(self.sheet.split())

    def to_json(self) -> dict[str, str]:
        return asdict(self)


BUGS: dict[str, Bug] = {}
#: Modules of the rooms above that register bugs when they are imported, as plug-ins: imported when somebody asks for bugs.
ROOMS = ("vmemu.machine.boards.bugs", "vmemu.protocols")


def known() -> dict[str, Bug]:
    """All bugs, by id."""
    for room in ROOMS:
        importlib.import_module(room)
    return BUGS


def register(bug: Bug) -> Bug:
    """Add a bug to the registry; rooms call this when imported."""
    if bug.id in BUGS:
        raise ValueError(f"bug {bug.id} registered twice")
    BUGS[bug.id] = bug
    return bug


def resolve(names: Iterable[str]) -> list[Bug]:
    """The bugs of these names, each once, in the order given. A sheet's id means every bug that carries it: a fix of two halves
    is two switches. ConfigError for an unknown one.
    """
    found: dict[str, Bug] = {}
    for name in names:
        if name in BUGS or name in known():
            found[name] = BUGS[name]
            continue
        alike = [bug for _, bug in sorted(BUGS.items()) if name in bug.sheets]
        if not alike:
            near = difflib.get_close_matches(name, [*BUGS, *(sheet for bug in BUGS.values() for sheet in bug.sheets)], 1)
            hint = f"did you mean {near[0]}?" if near else "`vmemu bugs` lists them"
            raise ConfigError(f"--bug {name}: unknown bug, {hint}")
        found.update((bug.id, bug) for bug in alike)
    return list(found.values())


def canonical(names: Iterable[str]) -> tuple[str, ...]:
    """The ids that --bug's words stand for. Raises ConfigError."""
    return tuple(bug.id for bug in resolve(names))


def guest_switches(bugs: Iterable[Bug]) -> str:
    """``bug=a,b`` for the guest kernel's command line, or an empty string."""
    ids = [b.id for b in bugs if b.guest]
    return "bug=" + ",".join(ids) if ids else ""


# The test guest's switches: guest_images/kernel/bugs.h has the code behind each.
for _sheet, _name, _text in (
    ("", "fork-no-flush", "fork leaves writable translations of shared pages in the TLB"),
    ("", "apf-no-marker", "a wake that comes before its sleeper is forgotten: the task sleeps for ever"),
    ("", "apf-wake-one", "a wake reaches one sleeper of its token: the others sleep for ever"),
    ("B31", "apf-alloc-locked", "a marker is waited for with the bucket locked: both CPUs spin for ever when there is none"),
    ("B31", "apf-no-second-look", "a marker is left though its sleeper came meanwhile: he sleeps for ever"),
    ("B32", "apf-drop-markers", "wake-all drops markers without freeing them: they run out, latecomers sleep for ever"),
    ("B29 B30", "apf-sleep-atomic", "kernel code that must not sleep is put to sleep: panic in sched"),
    ("C3", "apf-late-reason", "kvm-2010: another notification comes before the reason is read: SIGSEGV at a token"),
    ("B03", "apf-no-eoi", "kvm: no end of the ready interrupt: it comes once, and tasks sleep for ever"),
    ("B05", "apf-no-ack", "kvm: tokens are not acknowledged: the next one comes late or never"),
    ("", "apf-no-broadcast", "kvm: wake-all is taken for a token: a marker stays, sleepers of before sleep for ever"),
    ("B33", "apf-no-teardown", "kvm: a CPU that leaves stays registered: its area is written to afterwards"),
    ("B34", "apf-enabled-at-64", "kvm: the enabled word lies in the next CPU's area: a real fault is taken for a token"),
    ("B35", "apf-doc-bits", "kvm: the documentation's errors: token in bytes 5 to 7, SEND_ALWAYS in bit 2"),
    ("SDEI-7", "sdei-no-clear", "arm64: the handler leaves the shared buffer full: no page is announced as ready any more"),
    ("SDEI-7", "sdei-no-ack", "arm64: page-ready is not acknowledged: its interrupt comes again and again"),
    ("SDEI-8", "sdei-stale-flag", "arm64: the task sleeps although the page came after it looked: it sleeps for ever"),
    ("ESN-V8", "esn-no-arm", "papr: the trigger is flipped once and never again: one interrupt, then tasks sleep for ever"),
    ("ESN-V9", "esn-no-recheck", "papr: no look at the ring after the flip: what was posted just before waits for ever"),
    ("ESN-V9", "esn-arm-again", "papr: the trigger is flipped again when the look after it finds numbers: that takes the wish back"),
    ("ESN-A5", "esn-zero-sleeps", "papr: number 0, the page is back already, is slept on for ever"),
    ("ESN-V11", "esn-stale-number", "papr: pageable memory is touched before the number is saved: tasks sleep on another's number"),
    ("B43 ESN-A10", "esn-early-real",
     "papr: a wake that came first is taken for a real fault: the ordinary handler finds none, and panics"),
    ("ESN-A1", "esn-rfc-2f8", "the rfc guest registers by LoPAR's number: its trigger never flips, no interrupt ever comes"),
    ("VAS-H14", "vas-no-cpabort", "a context switch keeps the copy buffer: a task pastes what another one has copied"),
    ("VAS-P11", "vas-cc-5", "translation faults are told with completion code 5, as before 5.8: programs do not know it"),
    ("VAS-3", "vas-csb-unmasked", "flags in the CSB pointer shift the block that the kernel writes for a fault"),
    ("VAS-P6", "vas-csb-at-once", "the valid bit of a fault's CSB is not written last: programs see half a block"),
    ("VAS-P8", "vas-free-early", "a window that closes is forgotten before its credits are home: it never closes"),
    ("VAS-H10", "vas-bad-window-stops", "a fault of an unknown window ends the fault thread's loop: those behind it wait"),
    ("VAS-P10", "vas-lost-fault", "the fault thread stops a while after it found nothing: an interrupt in between is lost"),
    ("VAS-P7", "vas-close-no-wait", "powervm: a window closes while its last fault is being told: others' memory is written"),
):
    register(Bug(_name, "guest", _text, _sheet))
