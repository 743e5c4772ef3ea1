# SPDX-License-Identifier: GPL-2.0-or-later
"""VAS and the NX gzip engine, judged by the user's manual (v0.91) and by what Linux' driver relies on (P1 to P13 of docs/vas.md).

The model follows each request from its paste to its end: a CSB that the engine stores, or a fault CRB that the kernel answers. The
engine takes requests one by one, in the order in which they were accepted, so every store of it belongs to the oldest one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from vmemu.core.observe import Seen, What
from vmemu.lab.models.base import End, Model, peek
from vmemu.lab.models.registry import Entry, register
from vmemu.lab.models.vas_data import reach, user_bytes, wanted_plain, wrong_result
from vmemu.lab.models.vas_windows import (
    CONTEXT,
    CRB,
    DOORBELL,
    FAULT,
    HVWC,
    OWN_FAULT,
    PASTE,
    PASTE_SHIFT,
    RX_ADDER,
    SEND,
    TX_ADDER,
    WINCTL,
    WINDOWS,
    Job,
    Window,
    Windows,
)

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

H_MODIFY, H_DEALLOCATE, H_GET_FAULT, XIRR = 0x38C, 0x390, 0x3A0, 0x74
FAULT_SOURCES = 0x1300  # powervm: + window
NATIVE_SOURCE = 0x1200
#: CE by completion code (UM tables 5-1 and 6-8): 3 may be a suspension or fatal, others that are not here are errors.
CE = {0: (0x20,), 64: (0x20,), 3: (0xA0, 0x60)}
CODES = {0, 1, 3, 7, 10, 13, 14, 17, 20, 21, 30, 31, 33, 64, 66, 67, 68, 90, 224}


class VasModel(Model):
    """`jobs`: accepted, neither ended nor faulted, oldest first. `faults`: told as fault CRBs, their credit not home, oldest first."""

    name = "vas"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        options = machine.options
        vas = "native" if options is None else options.vas
        self.native = vas in ("native", "auto")
        self.windows = Windows()
        if not self.native:
            self.windows.own()
        self.jobs: list[Job] = []
        self.faults: list[Job] = []
        self.due: set[int] = set()  # sources that owe an interrupt
        self._paste: bool | None = None
        self._call: dict[int, list[int]] = {}
        self.on = {
            What.HOST_WRITING: self._about_to_write, What.HOST_WRITE: self._host_write, What.MMIO_WRITE: self._mmio,
            What.PASTE: self._pasted, What.PASTE_DONE: self._paste_done, What.DMA_WRITE: self._engine_write, What.HCALL: self._hcall,
            What.HCALL_DONE: self._hcall_done,
        }  # fmt: skip

    @property
    def _device(self) -> Any:
        """The switchboard itself, to be compared with."""
        return getattr(self.machine.facilities["vas"], "vas")  # noqa: B009 - the facility's class is the protocol's

    # -------------------------------------------------------------------- pastes
    def _pasted(self, seen: Seen) -> None:
        self._catch_up()
        number, offset = seen.a - PASTE >> PASTE_SHIFT, seen.a % (1 << PASTE_SHIFT)
        window = self.windows.find(number)
        receive = None if window is None else self.windows.find(window.receive)
        fits = offset == DOORBELL and window is not None and window.kind == SEND and len(seen.data) == CRB
        self._paste = bool(fits and window and window.home and receive is not None and receive.home)
        if self._paste and window is not None and receive is not None:
            window.home -= 1
            receive.home -= 1
            job = Job(number, seen.data, wanted_plain(self.machine, window.pid, seen.data))
            for other in self.faults:
                other.again |= other.csb == job.csb and self.windows.table[other.window].pid == window.pid
            self.jobs.append(job)

    def _paste_done(self, seen: Seen) -> None:
        if bool(seen.b) != self._paste:
            self.wrong("P9", f"a paste at {seen.a:#x} was {'taken' if seen.b else 'refused'}, it must not be", vcpu=seen.vcpu)
        self._paste = None

    # -------------------------------------------------------------- engine's side
    def _about_to_write(self, seen: Seen) -> None:
        """P4: nobody writes over a fault CRB that the kernel has not read."""
        for window in self.windows.table.values():
            if window.kind == FAULT and window.fifo is not None and window.fifo <= seen.a < window.fifo + window.entries * CRB:
                entry = peek(self.machine, seen.a, CRB)
                if entry is not None and entry[76:80] != b"\xff" * 4 and not entry[3] & 1:
                    self.wrong("P4", f"the fault CRB at {seen.a:#x} was written over, and nobody has read it")

    def _host_write(self, seen: Seen) -> None:
        gpa, data = seen.a, seen.data
        for window in self.windows.table.values():
            if window.fifo is None or not window.fifo <= gpa < window.fifo + window.entries * CRB:
                continue
            if len(data) != CRB or gpa != window.fifo + window.tail * CRB:
                self.wrong("P4", f"{len(data)} bytes at {gpa:#x} of a FIFO were written, entry {window.tail} is next")
                return
            window.tail = (window.tail + 1) % window.entries
            if window.kind == FAULT:
                self._fault_entry(window, data)
            else:
                self._queued(window, data)
            return
        head = self.jobs[0] if self.jobs else None
        if head is not None and self.windows.table[head.window].pid is None:
            self._stored(head, gpa, data)

    def _queued(self, window: Window, data: bytes) -> None:
        """UM 6.3: quadword 4 says which windows the request went through, all else is the program's."""
        if self._paste is not True:
            self.wrong("P3", f"an entry of receive window {window.number} was filled without a paste")
            return
        job = self.jobs[-1]
        stamp = job.window.to_bytes(4, "big") + window.number.to_bytes(4, "big") + bytes(8)
        if data != job.crb[:64] + stamp + job.crb[80:]:
            self.wrong("P3", f"the CRB in the receive FIFO is not the one that window {job.window} was given")

    def _discarded(self) -> None:
        """Entries that the kernel has marked are skipped: byte 79 of the stamp, lowest bit."""
        receive = next((w for w in self.windows.table.values() if w.kind == "receive" and w.fifo is not None), None)
        while self.jobs and receive is not None and receive.fifo is not None:
            at = receive.fifo + (receive.tail - len(self.jobs)) % receive.entries * CRB
            if not (peek(self.machine, at + 79, 1) or b"\0")[0] & 1 or self._device.windows[self.jobs[0].window].running:
                return
            self._over(self.jobs[0])

    def _over(self, job: Job, *, fault: bool = False) -> None:
        """A job leaves the engine."""
        self.jobs.remove(job)
        if fault:
            self.faults.append(job)
        else:
            self.windows.table[job.window].home += 1

    def _engine_write(self, seen: Seen) -> None:
        if self.native and self.jobs:
            self._discarded()
        if not self.jobs:
            self.wrong("P7", f"the engine stored at {seen.a:#x} of process {seen.b}, and has nothing to do")
            return
        job = self.jobs[0]
        if self.windows.table[job.window].pid != seen.b:
            self.wrong("P7", f"the engine stored into process {seen.b}, its request is of window {job.window}")
            return
        self._stored(job, seen.a, seen.data)

    def _stored(self, job: Job, address: int, data: bytes) -> None:
        """P6: the byte with V comes last. P7: nothing but target, CPB and CSB."""
        csb, end = job.csb, address + len(data)
        if csb <= address and end <= csb + 16:
            if address > csb:
                job.stored |= ((1 << len(data)) - 1) << address - csb
            elif len(data) > 1 or job.stored != 0xFFFE:
                self.wrong("P6", f"the CSB at {csb:#x} became valid together with, or before, its other bytes")
                self._ended(job, data[0])
            else:
                self._ended(job, data[0])
            return
        spans = reach(self.machine, self.windows.table[job.window].pid, job.crb, stores=True)
        if not any(first <= address and end <= first + size for first, size in spans):
            self.wrong("P7", f"the engine stored {len(data)} bytes at {address:#x}, its request names nothing there")

    def _ended(self, job: Job, flags: int) -> None:
        pid = self.windows.table[job.window].pid
        block = user_bytes(self.machine, pid, job.csb, 16)
        if block is not None and flags == 0x80:
            cc, ce = block[2], block[3]
            if cc not in CODES or ce not in CE.get(cc, (0x60,)):
                self.wrong("P1", f"completion code {cc} with CE {ce:#x}: no engine ends like that")
            elif cc in (0, 64) and (text := wrong_result(self.machine, pid, job, block)) is not None:
                self.wrong("P13", text)
        self._over(job)

    def _fault_entry(self, target: Window, entry: bytes) -> None:
        if self.jobs:
            self._discarded()
        if not target.home:
            self.wrong("P4", "a fault CRB was pasted without a credit: it may lie over one that nobody has read")
        target.home = max(target.home - 1, 0)
        if not self.jobs:
            self.wrong("P1", "a fault CRB, and the engine has nothing to do")
            return
        job = self.jobs[0]
        self._told(job, entry)
        if self.windows.table[job.window].port:
            self.due.add(NATIVE_SOURCE)
        self._over(job, fault=True)

    def _told(self, job: Job, entry: bytes) -> None:
        """The stamp (asm/icswx.h; UM 6.9): address that missed, kind, window; the lowest bit of CCW marks consumed entries."""
        window = self.windows.table[job.window]
        job.fsa = int.from_bytes(entry[64:72], "big")
        wanted = job.crb[:3] + bytes([job.crb[3] & ~1]) + job.crb[4:64]
        if entry[3] & 1:
            self.wrong("P10", "a fault CRB whose lowest CCW bit is set: it looks consumed, and the FIFO ends there")
        elif entry[:64] != wanted or entry[80:] != job.crb[80:]:
            self.wrong("P5", f"the fault CRB is not the request of window {job.window} whose turn it is")
        if int.from_bytes(entry[76:80], "big") != window.pswid or entry[72:74] != b"\0\0" or entry[74] > 1 or entry[75] not in (1, 2, 3):
            self.wrong("P5", f"the stamp of a fault CRB is {entry[64:80].hex()}, window {job.window} has PSWID {window.pswid:#x}")
        spans = reach(self.machine, window.pid, job.crb, stores=False)
        if not any(first <= job.fsa < first + size for first, size in spans):
            self.wrong("P11", f"address {job.fsa:#x} missed, and the request of window {job.window} names nothing there")

    # -------------------------------------------------------------- kernel's side
    def _mmio(self, seen: Seen) -> None:
        if not self.native or not HVWC <= seen.a < HVWC + WINDOWS * CONTEXT:
            return
        self._catch_up()
        whole = self.windows.store(seen.a - HVWC, seen.c, seen.b)
        if whole is None:
            return
        number, at, value = whole
        window = self.windows.table.get(number)
        if at == WINCTL:
            self.windows.control(self.machine, number, value)
        elif at == RX_ADDER:
            self._entry_credits(window, value >> 48)
        elif at == TX_ADDER:
            self._send_credits(window, value >> 48 & 0xFFF)
        elif window is None or not window.open:
            self.windows.registers.setdefault(number, {})[at] = value

    def _entry_credits(self, window: Window | None, n: int) -> None:
        """P5: an entry is invalid before its credit is back, or the engine could write over it while it looks unread."""
        if window is None or window.kind != FAULT or window.fifo is None:
            return
        for _ in range(min(n, window.most - window.home)):
            entry = peek(self.machine, window.fifo + window.head * CRB, CRB)
            if entry is not None and entry[76:80] != b"\xff" * 4 and not entry[3] & 1:
                self.wrong("P5", f"the credit of entry {window.head} is back, and the entry is valid")
            window.head = (window.head + 1) % window.entries
            window.home += 1
            job = next((j for j in self.faults if not j.step), None)
            if job is not None:
                job.step = 1

    def _send_credits(self, window: Window | None, n: int) -> None:
        for _ in range(n):
            job = next((j for j in self.faults if window is not None and j.window == window.number), None)
            if job is None or window is None:
                return
            if not job.step:
                self.wrong("P5", f"the send credit of window {window.number} is back before the entry's")
            self._answered(job)
            self.faults.remove(job)
            window.home += 1

    def _answered(self, job: Job) -> None:
        """P11: what the kernel has told the program. A program that saw it may have gone on, one that could not be told has a signal."""
        pid = self.windows.table[job.window].pid
        block = user_bytes(self.machine, pid, job.csb, 16)
        wanted = bytes((0x80, 0, 250, 0x40)) + bytes(4) + job.fsa.to_bytes(8, "big")
        if job.again or block is None or block == wanted:
            return
        if block[0] == 0x80:
            self.wrong("P11", f"the CSB of a fault at {job.fsa:#x} is {block.hex()}")
        raw = int.from_bytes(job.crb[8:16], "big")
        if raw % 16 and user_bytes(self.machine, pid, raw, 16) == wanted:
            self.wrong("P11", f"the CSB of a fault was written {raw % 16} bytes off: flags of its pointer were taken for address bits")

    def _half(self) -> None:
        """P6 for the kernel: a CSB that is valid is whole."""
        for job in self.faults:
            if job.again or not job.step:
                continue
            block = user_bytes(self.machine, self.windows.table[job.window].pid, job.csb, 16)
            if block is not None and block[0] == 0x80 and block[2] == 250 and block[8:] != job.fsa.to_bytes(8, "big"):
                self.wrong("P6", f"a program can see the CSB of its fault at {job.fsa:#x} half written: {block.hex()}")

    # ------------------------------------------------------------------ powervm
    def _hcall(self, seen: Seen) -> None:
        self._catch_up()
        vcpu = self.machine.vcpus[seen.vcpu]
        self._call[seen.vcpu] = [vcpu.get(f"r{n}") for n in (3, 4, 5, 6, 7)]

    def _hcall_done(self, seen: Seen) -> None:
        vcpu = self.machine.vcpus[seen.vcpu]
        token, number, second, _, flags = self._call.pop(seen.vcpu, [0, 0, 0, 0, 0])
        code = vcpu.get("r3")
        if token == XIRR and not code:
            self.due.discard(vcpu.get("r4") & 0xFF_FFFF)
        if self.native or number not in range(1, 17):
            return
        window = self.windows.table.get(number)
        if token == H_MODIFY and not code:
            self.windows.modify(number, second, flags)
        elif token == H_DEALLOCATE and window is not None:
            window.open = False
            if not code:
                if window.home != window.most:
                    self.wrong("P8", f"window {number} was given back while {window.most - window.home} credits are out")
                del self.windows.table[number]
        elif token == H_GET_FAULT and not code and window is not None:
            self._fetched(window, second)

    def _fetched(self, window: Window, buffer: int) -> None:
        job = next((j for j in self.faults if j.window == window.number and not j.step), None)
        if job is None:
            self.wrong("P1", f"a fault CRB of window {window.number} was fetched, and none is there")
            return
        self._told(job, peek(self.machine, buffer, CRB) or bytes(CRB))
        self.faults.remove(job)
        self.windows.table[OWN_FAULT].home += 1
        window.home += 1

    # ------------------------------------------------------------------ compare
    def _catch_up(self) -> None:
        """What makes no store: a job taken out of the FIFO, and, in powervm, a fault CRB that the hypervisor keeps."""
        device = self._device
        for window in self.windows.table.values():
            if window.kind == "receive" and window.number in device.windows:
                waiting = len(device.windows[window.number].waiting)
                window.home = window.most - min(waiting, len(self.jobs))
        if self.native:
            self._discarded()
            return
        for number, window in self.windows.table.items():
            unread = len(device.windows[number].unread) if number in device.windows else 0
            kept = sum(1 for j in self.faults if j.window == number)
            if unread > kept and self.jobs and self.jobs[0].window == number:
                self._over(self.jobs[0], fault=True)
                self.windows.table[OWN_FAULT].home -= 1
                self.due.add(FAULT_SOURCES + window.number)

    def _injected(self, event: str) -> bool:
        return any(text.startswith(event + ":") for text in self.machine.memory.injector.fired)

    def check(self) -> None:
        self._catch_up()
        device, found = self._device, self.windows.table
        for number, window in device.windows.items():
            mine = found.get(number)
            if mine is None or (mine.home, mine.open, mine.most) != (window.credits, window.open, window.most):
                has = "none" if mine is None else f"{mine.home} of {mine.most} credits, {'open' if mine.open else 'closed'}"
                rule = "P2" if mine is None or mine.kind == SEND else "P3" if mine.kind == "receive" else "P4"
                self.wrong(rule, f"window {number} has {window.credits} of {window.most} credits, by what happened it has {has}")
        self._half()
        self._interrupts()

    def _interrupts(self) -> None:
        """P10: each entry has an interrupt after it, and powervm one for each."""
        if self._injected("nx.interrupt"):
            self.due.clear()
        sources = self.machine.board.xics.sources  # type: ignore[attr-defined]
        for number in sorted(self.due):
            source = sources[number]
            if not source.pending and not (number != NATIVE_SOURCE and source.in_service):
                self.wrong("P10", f"a fault was told, and source {number:#x} has no interrupt pending")
                self.due.discard(number)

    # ------------------------------------------------------------------ verdict
    def at_rest(self) -> None:
        for job in self.jobs:
            self.wrong("P1", f"all is quiet, and a request of window {job.window} has neither ended nor faulted")
        if self._injected("nx.interrupt"):
            return
        for job in self.faults:
            what = "the kernel has read it" if job.step else "nobody looks at it"
            rule = "P2" if job.step else "P10"
            self.wrong(rule, f"all is quiet, and a fault of window {job.window} was never dealt with: {what}")

    def at_end(self, end: End) -> None:
        if end.status == 3:
            self.at_rest()

    # -------------------------------------------------------------------- state
    def state(self) -> Hashable:
        closing = any(not w.open and w.home != w.most for w in self.windows.table.values())
        steps = sum(1 for j in self.faults if j.step)
        return min(len(self.jobs), 3), min(len(self.faults), 3), min(steps, 2), len(self.due), closing

    def save(self) -> Any:
        return {
            "windows": self.windows.save(), "jobs": [j.flat() for j in self.jobs], "faults": [j.flat() for j in self.faults],
            "due": sorted(self.due), "paste": self._paste, "call": {cpu: list(call) for cpu, call in self._call.items()},
        }  # fmt: skip

    def load(self, state: Any) -> None:
        self.windows.load(state["windows"])
        self.jobs, self.faults = [Job(*flat) for flat in state["jobs"]], [Job(*flat) for flat in state["faults"]]
        self.due, self._paste = set(state["due"]), state["paste"]
        self._call = {cpu: list(call) for cpu, call in state["call"].items()}


def _applies(machine: Machine) -> bool:
    return machine.board.isa == "ppc64" and "vas" in machine.facilities


register(Entry(VasModel.name, _applies, VasModel))
