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
    """`id` is what --bug takes; `owner` is the room that implements it, "guest" for the test guest's kernel."""

    id: str
    owner: str
    text: str

    @property
    def guest(self) -> bool:
        return self.owner == "guest"

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
    """The bugs of these names, each once, in the order given. ConfigError for an unknown one."""
    found: dict[str, Bug] = {}
    for name in names:
        if name not in BUGS and name not in known():
            near = difflib.get_close_matches(name, BUGS, 1)
            hint = f"did you mean {near[0]}?" if near else "`vmemu bugs` lists them"
            raise ConfigError(f"--bug {name}: unknown bug, {hint}")
        found[name] = BUGS[name]
    return list(found.values())


def guest_switches(bugs: Iterable[Bug]) -> str:
    """``bug=a,b`` for the guest kernel's command line, or an empty string."""
    ids = [b.id for b in bugs if b.guest]
    return "bug=" + ",".join(ids) if ids else ""


# The test guest's switches: guest_images/kernel/bugs.h has the code behind each.
register(Bug("fork-no-flush", "guest", "fork leaves writable translations of shared pages in the TLB"))
register(Bug("apf-no-marker", "guest", "a wake that comes before its sleeper is forgotten: the task sleeps for ever"))
register(Bug("apf-wake-one", "guest", "a wake reaches one sleeper of its token: the others sleep for ever"))
register(Bug("apf-alloc-locked", "guest", "a marker is waited for with the bucket locked: both CPUs spin for ever when there is none"))
register(Bug("apf-no-second-look", "guest", "a marker is left though its sleeper came meanwhile: he sleeps for ever"))
register(Bug("apf-drop-markers", "guest", "wake-all drops markers without freeing them: they run out, latecomers sleep for ever"))
register(Bug("apf-sleep-atomic", "guest", "kernel code that must not sleep is put to sleep: panic in sched"))
register(Bug("apf-late-reason", "guest", "kvm-2010: another notification comes before the reason is read: SIGSEGV at a token"))
register(Bug("apf-no-eoi", "guest", "kvm: no end of the ready interrupt: it comes once, and tasks sleep for ever"))
register(Bug("apf-no-ack", "guest", "kvm: tokens are not acknowledged: the next one comes late or never"))
register(Bug("apf-no-broadcast", "guest", "kvm: wake-all is taken for a token: a marker stays, sleepers of before sleep for ever"))
register(Bug("apf-no-teardown", "guest", "kvm: a CPU that leaves stays registered: its area is written to afterwards"))
register(Bug("apf-enabled-at-64", "guest", "kvm: the enabled word lies in the next CPU's area: a real fault is taken for a token"))
register(Bug("apf-doc-bits", "guest", "kvm: the documentation's errors: token in bytes 5 to 7, SEND_ALWAYS in bit 2"))
register(Bug("sdei-no-clear", "guest", "arm64: the handler leaves the shared buffer full: no page is announced as ready any more"))
register(Bug("sdei-no-ack", "guest", "arm64: page-ready is not acknowledged: its interrupt comes again and again"))
register(Bug("sdei-stale-flag", "guest", "arm64: the task sleeps although the page came after it looked: it sleeps for ever"))
register(Bug("esn-no-arm", "guest", "papr: the trigger is flipped once and never again: one interrupt, then tasks sleep for ever"))
register(Bug("esn-no-recheck", "guest", "papr: no look at the ring after the flip: what was posted just before waits for ever"))
register(Bug("esn-arm-again", "guest", "papr: the trigger is flipped again when the look after it finds numbers: that takes the wish back"))
register(Bug("esn-zero-sleeps", "guest", "papr: number 0, the page is back already, is slept on for ever"))
register(Bug("esn-stale-number", "guest", "papr: pageable memory is touched before the number is saved: tasks sleep on another's number"))
register(Bug("esn-rfc-2f8", "guest", "the rfc guest registers by LoPAR's number: its trigger never flips, no interrupt ever comes"))
register(Bug("vas-no-cpabort", "guest", "a context switch keeps the copy buffer: a task pastes what another one has copied"))
register(Bug("vas-cc-5", "guest", "translation faults are told with completion code 5, as before 5.8: programs do not know it"))
register(Bug("vas-csb-unmasked", "guest", "flags in the CSB pointer shift the block that the kernel writes for a fault"))
register(Bug("vas-csb-at-once", "guest", "the valid bit of a fault's CSB is not written last: programs see half a block"))
register(Bug("vas-free-early", "guest", "a window that closes is forgotten before its credits are home: it never closes"))
register(Bug("vas-bad-window-stops", "guest", "a fault of an unknown window ends the fault thread's loop: those behind it wait"))
register(Bug("vas-lost-fault", "guest", "the fault thread stops a while after it found nothing: an interrupt in between is lost"))
register(Bug("vas-close-no-wait", "guest", "powervm: a window closes while its last fault is being told: others' memory is written"))
