# SPDX-License-Identifier: GPL-2.0-or-later
"""What the switchboard and its engine tell people: windows, credits, FIFOs, the request that runs, faults that nobody has handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core.observe import What
from vmemu.devices.nx_format import CC, CRB_SIZE, CSB_VALID, Crb, FaultStatus, is_free
from vmemu.devices.vas import PASTE_BASE, PASTE_SHIFT, Kind, Window
from vmemu.isa.ppc64 import walker
from vmemu.machine.insight import JOBS, Area, Flight, Insight, Rule

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.protocols.vas.facility import VasFacility

#: So many entries of a fault FIFO are shown.
MOST_ENTRIES = 8
NOTHING = (1 << 64) - 1


class VasInsight(Insight):
    """Both owners. A job's number as people type it is its own plus JOBS."""

    def __init__(self, facility: VasFacility) -> None:
        super().__init__(facility.machine)
        self.facility, self.vas = facility, facility.vas

    # ------------------------------------------------------------------- flights
    def flights(self) -> list[Flight]:
        vas, found = self.vas, []
        job = vas.engine.job
        if job is not None:
            stands = vas.engine.rejected is not None
            found.append(self._flight(job.number, job.window, "stands still" if stands else "runs", self.facility.due() or 0))
        for window in vas.windows.values():
            for place, (number, send) in enumerate(window.waiting, 1):
                found.append(self._flight(number, send, f"queued, place {place}", 0))
        return found

    def _flight(self, job: int, window: int, state: str, due: int) -> Flight:
        history = self.machine.history
        born = next((n.ns for n in history.about(f"j{job}")), 0) if history is not None else 0
        fault = self.vas.engine.missed
        address = fault.address if fault is not None and state != "queued" and self.vas.engine.job is not None else None
        return Flight(f"j{job}", f"job {job}", JOBS | job, -1, address, None, f"window {window}", born, due, state, "-")

    # ----------------------------------------------------------------------- why
    def why(self, flight: Flight) -> list[Rule]:
        engine = self.vas.engine
        if flight.state == "stands still" and engine.rejected is not None:
            return [Rule(f"{engine.rejected.address:#x} is missing, and the fault CRB was rejected: no credit of the fault window",
                         "ppc-vas.md 6"), *self._fault_window()]  # fmt: skip
        if flight.state == "runs":
            due = self.facility.due()
            when = "" if due is None else f": its slice ends {self.later(due)}"
            if engine.missed is not None:
                return [
                    Rule(f"it runs into {engine.missed.address:#x}, which is missing{when}; then its fault CRB is pasted", "ppc-vas.md 7")
                ]
            return [Rule(f"the engine works on it{when}", "ppc-vas.md 3.7")]
        rules = [Rule("the engine takes one request after the other, in the order of the receive FIFO", "ppc-vas.md 3.7")]
        if engine.rejected is not None:
            rules.insert(0, Rule("the engine stands still: the fault CRB of the job before has no credit", "ppc-vas.md 6"))
        return rules

    def _fault_window(self) -> list[Rule]:
        return [Rule(f"fault window {w.number}: {w.credits} of {w.most} credits, {w.most - w.credits} are the kernel's to give back "
                     "(LRX_WCRED_ADDER)", "ppc-vas.md 6") for w in self.vas.windows.values() if w.kind is Kind.FAULT]  # fmt: skip

    def gone(self, number: int) -> list[Rule]:
        history = self.machine.history
        notes = history.about(f"j{number & ~JOBS}") if history is not None and number & JOBS else []
        if not notes or notes[-1].kind != "job_faulted":
            return []
        window = self.vas.windows.get(int(notes[-1].text.split()[-1]))
        if window is None or not window.faulted:
            return [Rule("it ended in a fault, which the kernel has handled: the program pastes it again", "ppc-vas.md 7")]
        rules = [
            Rule(
                f"it ended in a fault: window {window.number} has {window.faulted} whose send credit the kernel has not given back",
                "ppc-vas.md 7",
            )
        ]
        return rules + [
            Rule(f"the fault FIFO shows {n} entries that nobody has invalidated", "ppc-vas.md 7") for n in [len(self._entries())] if n
        ]

    # --------------------------------------------------------------------- areas
    def areas(self, vcpu: int) -> list[Area]:
        if vcpu >= 0 or not self.vas.windows:
            return []
        area = Area("VAS windows", section="ppc-vas.md 5 and 6")
        for window in sorted(self.vas.windows.values(), key=lambda w: w.number):
            area.add(f"window {window.number}", str(window.kind), self._window(window))
        found = [area, self._engine()]
        entries = self._entries()
        if entries:
            fifo = Area("fault FIFO", section="ppc-vas.md 3.1 and 7")
            for place, entry in entries[:MOST_ENTRIES]:
                status = FaultStatus(entry[75]).name.lower() if entry[75] in list(FaultStatus) else f"{entry[75]}"
                what = f"{'store to' if entry[74] else 'load from'} {int.from_bytes(entry[64:72], 'big'):#x}: {status}"
                fifo.add(f"entry {place}", f"pswid {int.from_bytes(entry[76:80], 'big'):#x}", what)
            found.append(fifo)
        return found

    def _window(self, window: Window) -> str:
        state = "open" if window.open else "closing" if window.busy else "closed"
        credits = f"{state}, {window.credits} of {window.most} credits"
        if window.kind is Kind.SEND:
            pid = "real addresses" if window.pid is None else f"pid {window.pid}"
            jobs = f"{window.queued} queued, {window.running} running, {window.faulted} faulted"
            return f"{credits}; {pid}, paste at {PASTE_BASE + (window.number << PASTE_SHIFT):#x}; {jobs}"
        where = "the hypervisor's memory" if window.fifo is None else f"gpa {window.fifo:#x}"
        return f"{credits}; FIFO of {window.entries} entries at {where}, next read {window.head}, next written {window.tail}"

    def _entries(self) -> list[tuple[int, bytes]]:
        """(place, bytes) of valid entries of fault FIFOs in guest memory, and of fault CRBs that the hypervisor keeps."""
        found: list[tuple[int, bytes]] = []
        for window in self.vas.windows.values():
            if window.kind is Kind.FAULT and window.fifo is not None:
                for back in range(1, min(window.entries, window.most - window.credits + MOST_ENTRIES) + 1):
                    place = (window.tail - back) % window.entries
                    entry = self.peek(window.fifo + place * CRB_SIZE, CRB_SIZE)
                    if entry is not None and not is_free(entry):
                        found.append((place, entry))
            found += [(place, bytes.fromhex(text)) for place, text in enumerate(window.unread)]
        return sorted(found)

    def _engine(self) -> Area:
        engine, area = self.vas.engine, Area("NX gzip engine", section="ppc-vas.md 3")
        job = engine.job
        if job is None:
            area.add("job", "none", f"{engine.figures.jobs} done")
            return area
        crb = Crb.parse(job.crb)
        area.add("job", str(job.number), f"of window {job.window}; {job.position} bytes of its source done, {job.produced} produced")
        area.add("CCW", crb.ccw, f"function code {crb.ccw & 0x3F:#x}")
        for name, dde in (("source", crb.source), ("target", crb.target)):
            kind = "direct" if not dde.count else f"list of {dde.count}"
            area.add(f"{name} DDE", dde.address, f"{dde.length} bytes, {kind}")
        area.add("CSB", crb.csb, self._csb(self.vas.windows[job.window].pid, crb.csb))
        if engine.missed is not None:
            area.add("fault", engine.missed.address, f"{'store' if engine.missed.store else 'load'}: {engine.missed.status.name.lower()}")
        return area

    def _csb(self, pid: int | None, address: int) -> str:
        """A CSB in a process's memory, looked up without touching anything."""
        gpa: int | None = address
        if pid is not None:
            table = self.machine.vcpus[0].get("prtbl")

            def read64(at: int) -> int | None:
                data = self.peek(at, 8)
                return None if data is None else int.from_bytes(data, "big")

            base, size = (0, 0) if table == NOTHING else (table & (1 << 60) - 4096, 1 << (table & 31) + 12)
            found = walker.walk(read64, walker.RadixState(True, True, pid, base, size), address, walker.READ, True)
            gpa = found.gpa if found.ok else None
        data = None if gpa is None else self.peek(gpa, 16)
        if data is None:
            return "not mapped"
        if not data[0] & CSB_VALID:
            return "not valid yet"
        code = CC(data[2]).name if data[2] in list(CC) else str(data[2])
        return f"valid: completion code {code}, extension {data[3]:#x}, {int.from_bytes(data[4:8], 'big')} bytes"

    # -------------------------------------------------------------- observations
    def tell(self, moment: Moment) -> Rule | None:
        seen = moment.seen
        if seen.what is What.PASTE_DONE:
            window = seen.a - PASTE_BASE >> PASTE_SHIFT
            if seen.b:
                return Rule(f"window {window} takes the request: a send and a receive credit are out until it ends", "ppc-vas.md 6")
            return Rule(f"window {window} refuses: no credit, no open window, or not its doorbell", "ppc-vas.md 4")
        if seen.what is What.HOST_WRITE and len(seen.data) == CRB_SIZE:
            for w in self.vas.windows.values():
                if w.fifo is not None and w.fifo <= seen.a < w.fifo + w.entries * CRB_SIZE:
                    place = (seen.a - w.fifo) // CRB_SIZE
                    if w.kind is Kind.RECEIVE:
                        return Rule(f"the switchboard puts the CRB into entry {place} of the receive FIFO", "ppc-vas.md 4")
                    address = int.from_bytes(seen.data[64:72], "big")
                    return Rule(
                        f"the engine pastes a fault CRB into entry {place} of the fault FIFO: {address:#x} is missing", "ppc-vas.md 7"
                    )
        return None

    def next(self, vcpu: int) -> list[Rule]:
        if any(w.faulted for w in self.vas.windows.values()):
            return [Rule("the kernel's fault thread copies the entry out, gives its credit back, writes a CSB with code 250, and gives "
                         "the send credit back; the program touches the page and pastes again", "ppc-vas.md 7")]  # fmt: skip
        return []
