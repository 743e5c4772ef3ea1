# SPDX-License-Identifier: GPL-2.0-or-later
"""The Virtual Accelerator Switchboard: windows, credits, FIFOs, and the way of a paste to the engine and of a fault back.

It knows neither registers nor hypercalls: `vas_mmio` (the kernel owns the windows) and `vmemu.protocols.vas` (the hypervisor
does) open and close windows and return credits. UM = "Power NX Gzip Accelerator User's Manual" v0.91.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vmemu.clock.inject import Action
from vmemu.core.events import EventKind
from vmemu.devices.base import State, flat
from vmemu.devices.nx_engine import Engine
from vmemu.devices.nx_format import CRB_SIZE, is_discarded, is_free, stamp_fault, stamp_paste
from vmemu.devices.nx_job import Limits
from vmemu.devices.nx_memory import ProcessSpace, RealSpace, Space, TranslationFault
from vmemu.memory.memory import Memory

#: Window w's page is PASTE_BASE + (w << 16); bit 53 of the address, Report Enable, is how NX windows are pasted to (UM 6.1).
PASTE_BASE, PASTE_SHIFT, REPORT_ENABLE = 0x0008_0000_0000_0000, 16, 0x400


class Kind(StrEnum):
    SEND = "send"
    RECEIVE = "receive"
    FAULT = "fault"


@dataclass(slots=True)
class Window:
    """An open or closing window. `credits`: what is left of `most`.

    Send: `pid` None means real addresses; jobs are `queued` (receive FIFO), `running` (at most one in the engine) or `faulted`
    (pasted as faults, credit not yet back); `unread` are fault CRBs that the hypervisor keeps.
    Receive and fault: FIFO of `entries` at real address `fifo` (None: the hypervisor's own memory, `kept`); `head` is the next
    to read, `tail` the next to write; `waiting` says job and send window of what a receive FIFO holds.
    """

    number: int
    kind: Kind
    most: int
    open: bool = True
    credits: int = 0
    pid: int | None = None
    pswid: int = 0
    receive: int = 0
    fault: int = 0
    port: int = 0
    queued: int = 0
    running: int = 0
    faulted: int = 0
    unread: list[str] = field(default_factory=list)
    fifo: int | None = None
    entries: int = 0
    head: int = 0
    tail: int = 0
    kept: list[str] = field(default_factory=list)
    waiting: list[list[int]] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Credits are out."""
        return self.credits != self.most


@dataclass(frozen=True, slots=True)
class Switches:
    """Known bugs, put back."""

    keep_ccw: bool = False
    ignore_fault_credits: bool = False


class Vas:
    """The switchboard of one machine, with its engine.

    Args:
        memory: guest memory.
        now, post: virtual time, and an event for the engine at a later one.
        interrupt: interrupt(window) after a fault paste.
        note: note(kind, job, window, detail), for traces.
        mishap: what the injector has for the next job.
    """

    def __init__(self, memory: Memory, now: Callable[[], int], post: Callable[[int], None], interrupt: Callable[[Window], None],
                 note: Callable[[EventKind, int, int, int], None], limits: Limits | None = None, switches: Switches | None = None,
                 mishap: Callable[[], Action | None] = lambda: None) -> None:
        self._memory, self._interrupt, self.note = memory, interrupt, note
        self._switches = switches or Switches()
        self.engine = Engine(self, now, post, limits, mishap)
        self.reset()

    def reset(self) -> None:
        self.windows: dict[int, Window] = {}
        self.counts: Counter[str] = Counter()
        self.engine.reset()

    # ------------------------------------------------------------------ windows
    def open(self, window: Window) -> bool:
        """Open a window with all its credits. False: what it says makes no sense, or its number's last life is not over."""
        old = self.windows.get(window.number)
        if old is not None and (old.open or old.busy):
            return False
        if not (self._send_ok(window) if window.kind is Kind.SEND else self._fifo_ok(window)):
            return False
        window.open, window.credits = True, window.most
        self.windows[window.number] = window
        self.engine.kick()
        return True

    def _send_ok(self, window: Window) -> bool:
        receive, fault = self.find(window.receive), self.find(window.fault)
        return (
            1 <= window.most <= 4095
            and receive is not None and receive.kind is Kind.RECEIVE
            and fault is not None and fault.kind is Kind.FAULT
        )  # fmt: skip

    def _fifo_ok(self, window: Window) -> bool:
        if any(w.open and w.kind is window.kind for w in self.windows.values()) and window.kind is Kind.RECEIVE:
            return False
        inside = window.fifo is None or self._memory.is_ram(window.fifo, window.entries * CRB_SIZE)
        return inside and 1 <= window.most <= min(window.entries, 0xFFFF)

    def find(self, number: int) -> Window | None:
        """The open window of that number."""
        window = self.windows.get(number)
        return window if window is not None and window.open else None

    def close(self, window: Window) -> None:
        """No more pastes. Jobs under way go on, and their credits still come home."""
        window.open = False

    # -------------------------------------------------------------------- paste
    def paste(self, gpa: int, crb: bytes) -> bool:
        """A paste. to guest-physical address `gpa`: True, queued; False, refused, and nothing has changed."""
        number, offset = gpa - PASTE_BASE >> PASTE_SHIFT, gpa % (1 << PASTE_SHIFT)
        window = self.find(number)
        if len(crb) != CRB_SIZE or offset != REPORT_ENABLE or window is None or window.kind is not Kind.SEND:
            return self._refuse("address")
        receive = self.find(window.receive)
        if receive is None or receive.kind is not Kind.RECEIVE:
            return self._refuse("closed")
        if not window.credits:
            return self._refuse("send_credit")
        if not receive.credits:
            return self._refuse("receive_credit")
        window.credits -= 1
        window.queued += 1
        receive.credits -= 1
        self.counts["pastes"] += 1
        receive.waiting.append([self.counts["pastes"], number])
        self._put(receive, stamp_paste(crb, number, receive.number))
        self.note(EventKind.JOB_PASTED, self.counts["pastes"], number, len(receive.waiting))
        self.engine.kick()
        return True

    def _refuse(self, why: str) -> bool:
        self.counts[f"refused_{why}"] += 1
        return False

    # --------------------------------------------------------------------- FIFOs
    def _put(self, window: Window, entry: bytes) -> None:
        if window.fifo is None:
            window.kept.append(entry.hex())
        else:
            self._memory.write(window.fifo + window.tail * CRB_SIZE, entry)
        window.tail = (window.tail + 1) % window.entries

    def _take(self, window: Window) -> bytes:
        if window.fifo is None:
            entry = bytes.fromhex(window.kept.pop(0))
        else:
            entry = self._memory.read(window.fifo + window.head * CRB_SIZE, CRB_SIZE)
        window.head = (window.head + 1) % window.entries
        return entry

    # ------------------------------------------------------- for the engine: Port
    def _queue(self) -> Window | None:
        """The receive window whose FIFO holds something; a closed one is emptied too."""
        found = [w for w in self.windows.values() if w.kind is Kind.RECEIVE and w.waiting]
        return min(found, key=lambda w: w.number) if found else None

    def waiting(self) -> int:
        queue = self._queue()
        return 0 if queue is None else len(queue.waiting)

    def dequeue(self) -> tuple[int, int, bytes] | None:
        while (receive := self._queue()) is not None:
            entry, (job, number) = self._take(receive), receive.waiting.pop(0)
            receive.credits += 1
            window = self.windows[number]
            window.queued -= 1
            if is_discarded(entry):
                window.credits += 1
                self.counts["discarded"] += 1
                continue
            window.running += 1
            return job, number, entry
        return None

    def space(self, number: int) -> Space:
        pid = self.windows[number].pid
        return RealSpace(self._memory) if pid is None else ProcessSpace(self._memory.core, self._memory, pid)

    def fault(self, number: int, crb: bytes, fault: TranslationFault) -> bool:
        window = self.windows[number]
        target = self.find(window.fault)
        if target is None or target.kind is not Kind.FAULT:
            return False
        if not target.credits and not self._switches.ignore_fault_credits:
            return False
        entry = stamp_fault(crb, fault.address, fault.status, fault.store, window.pswid, clear_ccw=not self._switches.keep_ccw)
        if target.fifo is None:
            window.unread.append(entry.hex())
        else:
            if not is_free(self._memory.read(target.fifo + target.tail * CRB_SIZE, CRB_SIZE)):
                self.counts["fifo_overwritten"] += 1
            self._put(target, entry)
        target.credits = max(target.credits - 1, 0)
        window.running -= 1
        window.faulted += 1
        self.counts["faults"] += 1
        self._interrupt(window)
        return True

    def completed(self, number: int, interrupt: bool) -> None:
        window = self.windows[number]
        window.running -= 1
        window.credits += 1
        if interrupt:
            self.counts["completion_interrupts"] += 1  # wanted, but the windows have no address for it: not delivered

    # ------------------------------------------------------------------- credits
    def return_send_credits(self, window: Window, n: int) -> None:
        """The kernel has dealt with n faults. More than there were: dropped and counted."""
        taken = min(n, window.faulted)
        window.faulted -= taken
        window.credits += taken
        self.counts["credit_surplus"] += n - taken

    def return_fifo_credits(self, window: Window, n: int) -> None:
        """The kernel has copied n entries out of the fault FIFO."""
        taken = min(n, window.most - window.credits) if window.kind is Kind.FAULT else 0
        window.credits += taken
        self.counts["credit_surplus"] += n - taken
        if taken:
            self.engine.kick()

    # --------------------------------------------------------------------- state
    def invariants(self) -> list[str]:
        """Sums of credits (P2 to P4 of the protocol's invariants)."""
        wrong = []
        for w in self.windows.values():
            if w.kind is Kind.SEND and w.credits + w.queued + w.running + w.faulted != w.most:
                jobs = f"{w.queued} queued, {w.running} running, {w.faulted} faulted"
                wrong.append(f"window {w.number}: {w.credits} credits, {jobs} of {w.most}")
            if w.kind is Kind.RECEIVE and w.credits + len(w.waiting) != w.most:
                wrong.append(f"receive window {w.number}: {w.credits} credits and {len(w.waiting)} queued of {w.most}")
            if w.kind is not Kind.SEND and not 0 <= w.credits <= w.most:
                wrong.append(f"{w.kind} window {w.number}: {w.credits} credits of {w.most}")
        if self.counts["fifo_overwritten"]:
            wrong.append(f"{self.counts['fifo_overwritten']} valid entries of the fault FIFO overwritten")
        return wrong

    @property
    def home(self) -> bool:
        """No credit of any window is out."""
        return not any(w.busy for w in self.windows.values())

    def save(self) -> State:
        return {
            "version": 1,
            "windows": [flat(w) | {"kind": str(w.kind)} for _, w in sorted(self.windows.items())],
            "counts": {k: v for k, v in sorted(self.counts.items()) if v},
            "engine": self.engine.save(),
        }

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"vas: state version {state['version']}")
        self.windows = {}
        for saved in state["windows"]:
            copied: dict[str, Any] = {k: list(v) if isinstance(v, list) else v for k, v in saved.items()}
            window = Window(**(copied | {"kind": Kind(saved["kind"])}))
            self.windows[window.number] = window
        self.counts = Counter(state["counts"])
        self.engine.load(state["engine"])

    def summary(self) -> dict[str, Any]:
        counts = {k: v for k, v in sorted(self.counts.items()) if v}
        return {"credits_home": self.home, **counts, **self.engine.summary()}
