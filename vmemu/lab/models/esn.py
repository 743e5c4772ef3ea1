# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation/subvention notification, judged by LoPAR 2.9, 12.3.8 (profile papr), and by the patches of 2021 (profile rfc).

The platform is believed in nothing: what it tells the partition (VPA, interrupt image), what it puts into the ring and when it
interrupts is worked out anew from the partition's calls, from what its memory says, and from the pages that come and go.
Invariants are those of docs/esn.md (V1 to V16), and OWN, PAIR and TOK of the catalogue of known bugs.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from vmemu.core import PageState
from vmemu.core.observe import Fate, Seen, What
from vmemu.lab.models.base import End, Model, peek, profile
from vmemu.lab.models.esn_area import Area, Calls
from vmemu.lab.models.registry import Entry, register

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

PROGTRAP, NO_TRANSLATION, STORE = 0x20000, 0x40000000, 0x02000000
MSR_PR = 1 << 14
ENTERING = 1  # of a fault's bits: the access was an exception's own
ENABLE, ENABLE_AT = 0x02, 0xB9
STALLED = 3  # status of a run in which nothing goes on any more
#: Where a notification lies in the VPA: first byte, bytes.
FIELDS = {"papr": (0x17D, 3), "rfc": (0x118, 2)}


class EsnModel(Model):
    """One partition. `outstanding`: numbers that were told and not posted -> page; `came`: those of them whose page came since."""

    name = "esn"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.papr = profile(machine) == "papr"
        self.field_at, self.field_size = FIELDS[profile(machine)]
        self.bolting = machine.options is None or machine.options.bolt != "none"
        self.calls = Calls(self, self.papr)
        self.outstanding: dict[int, int] = {}
        self.came: set[int] = set()
        self.fault: dict[int, list[int]] = {}  # vCPU -> gpa, gva, access, bits of its last fault
        self.written: dict[int, tuple[int, int]] = {}  # vCPU -> flags, number that its VPA has and no interrupt yet
        self.told: set[int] = set()  # vCPUs that were told since their last fault
        self._ring = b""  # as it was before the host's last write to it
        self.on = {
            What.HCALL: self._hcall, What.HCALL_DONE: self._hcall_done, What.FAULT: self._fault, What.FAULT_DONE: self._fault_done,
            What.EXCEPTION: self._exception, What.HOST_WRITING: self._about_to_write, What.HOST_WRITE: self._host_write,
            What.PAGE_IN: self._page_in, What.ONLINE: self._online,
        }  # fmt: skip

    # ------------------------------------------------------------ what is there
    @property
    def area(self) -> Area | None:
        return self.calls.area

    def _about_to_write(self, seen: Seen) -> None:
        area = self.area
        if area is not None and area.base <= seen.a < area.base + area.size:
            self._ring = area.read(self.machine)

    def _hcall(self, seen: Seen) -> None:
        self.calls.begin(seen.vcpu)

    def _hcall_done(self, seen: Seen) -> None:
        before = self.area
        self.calls.end(seen.vcpu)
        if self.area is not before:  # what was under way is the partition's to forget
            self.outstanding.clear()
            self.came.clear()

    def _online(self, seen: Seen) -> None:
        self.written.pop(seen.vcpu, None)

    # ------------------------------------------------------------------ faults
    def _fault(self, seen: Seen) -> None:
        self.fault[seen.vcpu] = [seen.a, seen.b, seen.c & 0xFF, seen.c >> 8]
        self.told.discard(seen.vcpu)

    def _fault_done(self, seen: Seen) -> None:
        if seen.c == Fate.NOTIFIED and seen.vcpu not in self.told:
            self.wrong("V12", f"the fault at {seen.a:#x} ended as notified, and no interrupt is pending", vcpu=seen.vcpu)

    def _page_in(self, seen: Seen) -> None:
        page = seen.a >> 12
        if seen.b:
            self.came.update(n for n, p in self.outstanding.items() if p == page)

    def _deaf(self, vcpu: int) -> str | None:
        """Why this CPU must not be told of its fault (R1-1); None: it may be."""
        gpa, _, _, bits = self.fault[vcpu]
        vpa = self.calls.vpa.get(vcpu)
        if self.area is None:
            return "no SNS area is registered"
        if vpa is None:
            return "the CPU has no VPA"
        if not (peek(self.machine, vpa + ENABLE_AT, 1) or b"\0")[0] & ENABLE:
            return "the CPU's VPA does not ask for it"
        if self.bolting and gpa >> 12 in {a >> 12 for a in (*self.calls.vpa.values(), self.area.base)}:
            return "the page holds a VPA or the SNS area"
        if bits & ENTERING:
            return "the access was the entry of an exception"
        if not self.papr and not self.machine.vcpus[vcpu].get("msr") & MSR_PR:
            return "rfc: the kernel is never told"
        return None

    # ----------------------------------------------------------- notifications
    def _host_write(self, seen: Seen) -> None:
        gpa, data = seen.a, seen.data
        self.calls.own(gpa, data)
        area = self.area
        if area is not None and area.base <= gpa < area.base + area.size:
            self._area_write(area, gpa - area.base, data)
            return
        for cpu, vpa in self.calls.vpa.items():
            first = vpa + self.field_at
            if gpa < first + self.field_size and first < gpa + len(data) and not self.calls.registers_vpa(vpa):
                self._field_write(cpu, gpa - first, data)

    def _field_write(self, cpu: int, offset: int, data: bytes) -> None:
        if offset or len(data) != self.field_size:
            self.wrong("V11", f"{len(data)} bytes of the VPA at {self.field_at + offset:#x} were written", vcpu=cpu)
            return
        number = int.from_bytes(data[-2:], "big")
        if cpu in self.written:
            old = self.written[cpu][1]
            self.wrong("V11", f"number {old:#x} was in the VPA, and no interrupt told of it", token=old, vcpu=cpu)
        self.written[cpu] = data[0] if self.papr else 1, number

    def _exception(self, seen: Seen) -> None:
        cpu = seen.vcpu
        flags = int(self.machine.vcpus[cpu].ptr.pend.aux)
        if seen.a not in (0x300, 0x400) or not flags & PROGTRAP or cpu not in self.fault:
            return
        self.told.add(cpu)
        fields = self.written.pop(cpu, None)
        if fields is None:
            self.wrong("V11", "an expropriation interrupt without a number in the VPA", vcpu=cpu)
            return
        why = self._deaf(cpu)
        if why is not None:
            self.wrong("V10", f"told of a page although {why}", token=fields[1], vcpu=cpu)
        self._image(cpu, seen, flags)
        self._number(cpu, *fields)

    def _image(self, cpu: int, seen: Seen, flags: int) -> None:
        """V12: the interrupt describes the access (R1-7, R1-8)."""
        _, gva, access, _ = self.fault[cpu]
        if not self.papr:
            wanted = (0x300, seen.b, NO_TRANSLATION, PROGTRAP)  # DAR is whatever it was (A11, A12)
        elif access == 2:
            wanted = (0x400, seen.b, seen.c, PROGTRAP | NO_TRANSLATION)
        else:
            wanted = (0x300, gva, NO_TRANSLATION | (STORE if access == 1 else 0), PROGTRAP)
        got = (seen.a, seen.b, seen.c, flags)
        if got != wanted:
            self.wrong("V12", f"vector, DAR, DSISR, SRR1 are {_hex(got)}, the access at {gva:#x} wants {_hex(wanted)}", vcpu=cpu)

    def _number(self, cpu: int, flags: int, number: int) -> None:
        """Which number (R1-4 to R1-6). The rfc takes a new one at every fault."""
        area, page = self.area, self.fault[cpu][0] >> 12
        away = self.machine.core.page(self.machine.core.index(page << 12)).state == PageState.SWAPPED
        if number == 0:
            if not self.papr:
                self.wrong("TOK", "number 0 was told, which means a free entry", token=0, vcpu=cpu)
            elif away:
                self.wrong("V4", "number 0 was told of a page that is away", token=0, vcpu=cpu)
            return
        if self.papr and not flags & 1:
            self.wrong("V12", "the VPA says that the page will be zero, and a number that it is awaited", token=number, vcpu=cpu)
        known = next((n for n, p in self.outstanding.items() if p == page), None) if self.papr else None
        if number in self.outstanding:
            if not self.papr or self.outstanding[number] != page:
                text = f"number {number:#x} names page {self.outstanding[number]:#x} and was told of page {page:#x}"
                self.wrong("V3" if self.papr else "TOK", text, token=number, vcpu=cpu)
            return
        if known is not None:
            self.wrong("V3", f"page {page:#x} was told with number {known:#x}, and then with {number:#x}", token=number, vcpu=cpu)
        if area is not None and self.papr:
            ring = area.read(self.machine)
            if area.shows(ring, number):
                self.wrong("V3", f"number {number:#x} was told again while the ring shows it", token=number, vcpu=cpu)
            if area.used(ring) + len(self.outstanding) >= area.entries:
                text = f"{area.used(ring)} entries in use, {len(self.outstanding)} events under way, of {area.entries}: one more was told"
                self.wrong("V6", text, token=number, vcpu=cpu)
        self.outstanding[number] = page
        self.came.discard(number)

    # -------------------------------------------------------------------- posts
    def _area_write(self, area: Area, offset: int, data: bytes) -> None:
        if offset == 1 and len(data) == 1:
            free = not any(peek(self.machine, area.base + 2 + 2 * area.fill, 2) or b"")
            if free:
                self.wrong("V6", f"overflow, and entry {area.fill} is free")
            area.overflow = True
        elif offset < 2 or offset % 2 or len(data) != 2:
            self.wrong("V5", f"{len(data)} bytes at {offset:#x} of the SNS area were written")
        else:
            self._post(area, (offset - 2) // 2, int.from_bytes(data, "big"))

    def _post(self, area: Area, entry: int, number: int) -> None:
        if entry != area.fill:
            self.wrong("V5", f"number {number:#x} was put into entry {entry}, {area.fill} is next", token=number)
        if self.papr and area.overflow:
            self.wrong("V7", f"number {number:#x} was put into a ring that has overflowed", token=number)
        if any(self._ring[2 + 2 * entry : 4 + 2 * entry]):
            self.wrong("V5", f"number {number:#x} was put into entry {entry}, which is in use", token=number)
        if number == 0:
            self.wrong("V4", "number 0 was posted: the ring ends there for good", token=0)
        if number not in self.outstanding:
            if not self.calls.injected("esn.post"):
                self.wrong("PAIR", f"number {number:#x} was posted, and nobody waits for it", token=number)
        else:
            page = self.outstanding.pop(number)
            state = self.machine.core.page(self.machine.core.index(page << 12)).state
            if number not in self.came and state == PageState.SWAPPED:
                self.wrong("V2", f"number {number:#x} was posted, and page {page:#x} is away", token=number)
            self.came.discard(number)
        area.put(entry, number)
        self.calls.posted(area, (peek(self.machine, area.base, 1) or b"\0")[0])

    # ------------------------------------------------------------------ verdict
    def check(self) -> None:
        for cpu, (_, number) in self.written.items():
            self.wrong("V11", f"the VPA has number {number:#x}, and no interrupt tells of it", token=number, vcpu=cpu)
        self.written.clear()
        self.calls.check_interrupt()

    def at_rest(self) -> None:
        if self.area is None:
            return
        if not self.calls.injected("esn.post"):
            self._not_posted()
        ring = self.area.read(self.machine)
        if self.area.used(ring) and not self.calls.due:
            waiting = next(n for n in self.area.put_in.values() if self.area.shows(ring, n))
            self.wrong("LIVE", "all is quiet, the ring shows numbers, and no interrupt is due", token=waiting)

    def at_end(self, end: End) -> None:
        """A stall is a rest; who stops in full run leaves much undone. A partition that is driven by hand need not look at its ring."""
        driven = self.machine.options is not None and not self.machine.options.image
        if driven and self.area is not None and not self.calls.injected("esn.post"):
            self._not_posted()
        elif end.status == STALLED:
            self.at_rest()

    def _not_posted(self) -> None:
        """The rfc drops events when it pleases (A6, A7)."""
        for number in sorted(self.came) if self.papr else ():
            self.wrong("V1", f"page {self.outstanding[number]:#x} came, and number {number:#x} was never posted", token=number)

    # -------------------------------------------------------------------- state
    def state(self) -> Hashable:
        area = self.area
        if area is None:
            return ("none",)
        return min(len(self.outstanding), 3), len(self.came) > 0, area.toggle, area.overflow, self.calls.due, self.calls.enabled

    def save(self) -> Any:
        return {
            "calls": self.calls.save(), "outstanding": sorted(self.outstanding.items()), "came": sorted(self.came),
            "fault": {cpu: list(fault) for cpu, fault in self.fault.items()}, "written": dict(self.written), "told": sorted(self.told),
        }  # fmt: skip

    def load(self, state: Any) -> None:
        self.calls.load(state["calls"])
        self.outstanding, self.came = dict(state["outstanding"]), set(state["came"])
        self.fault = {cpu: list(fault) for cpu, fault in state["fault"].items()}
        self.written, self.told = dict(state["written"]), set(state["told"])
        self._ring = b""


def _hex(values: tuple[int, ...]) -> str:
    return " ".join(f"{v:#x}" for v in values)


def _applies(machine: Machine) -> bool:
    return machine.board.isa == "ppc64" and profile(machine) in FIELDS


register(Entry(EsnModel.name, _applies, EsnModel))
