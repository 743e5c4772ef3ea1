# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA windows, judged by LoPAR 2.9 5.4.2 and 12.3.3: each call's code and what it stored, references of pages, what devices can reach.

W1 to W14 are those of docs/tce.md. Calls that real mode finishes inside of a turn are not told to observers: a machine whose guest makes
such calls is compared with its own tables only (references, W1, W6), one that is driven by hand, or has no real mode, by every rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from vmemu.core import PageFlag, PageState
from vmemu.core.observe import Seen, What
from vmemu.lab.models.base import End, Model, peek
from vmemu.lab.models.registry import Entry, register
from vmemu.lab.models.tce_rules import GET, INDIRECT, MOST, OK, PARAMETER, PUT, STUFF, Answer, Call, Rules

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

TOKENS = (GET, PUT, STUFF, INDIRECT)
FULL, HARDWARE, BUSY = -44, -1, 9900
CODES = {0, -1, -2, -4, -57, FULL, BUSY}
MSR_PR = 1 << 14
HOST = 5  # status of a run that the host has ended
GIVEN, MAPPED = 0, 1
#: What a host says when it dies, and the rule that it broke.
DEATHS = (("released", "W2"), ("waits for ever", "W11"), ("access to", "W13"))
EXTENT, ABSENT, PERMISSION = 1, 2, 3


class TceModel(Model):
    """`rules` holds the tables as they must be."""

    name = "tce"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        options = machine.options
        profile = "papr" if options is None else options.tce
        host = self._host
        windows = {t.liobn: (t.first << t.shift, t.size) for t in host.tables}
        self.rules = Rules(profile, machine.memory_size >> 12, windows)
        #: Everything that happens to the tables is seen.
        self.whole = not host.ptr.real_mode or options is None or not options.image
        #: LIOBN -> index -> frame that the entry holds. A page that the guest gives up leaves its frame to the entry.
        self.frames: dict[int, dict[int, int]] = {}
        self._call: dict[int, tuple[Call, Answer]] = {}
        self.on = {What.HCALL: self._hcall, What.HCALL_DONE: self._hcall_done, What.DMA_READ: self._dma, What.DMA_WRITE: self._dma}

    @property
    def _host(self) -> Any:
        """The host's tables and counts, to be compared with."""
        return getattr(self.machine.facilities["tce"], "host")  # noqa: B009 - the facility's class is the protocol's

    # -------------------------------------------------------------------- calls
    def _hcall(self, seen: Seen) -> None:
        vcpu = self.machine.vcpus[seen.vcpu]
        token = vcpu.get("r3")
        if token not in TOKENS or vcpu.get("msr") & MSR_PR:
            return
        liobn, ioba, value, count = (vcpu.get(f"r{n}") for n in (4, 5, 6, 7))
        values: tuple[int, ...] = ()
        if token == INDIRECT and count <= MOST:
            raw = peek(self.machine, value, 8 * count) or b""
            values = tuple(int.from_bytes(raw[i : i + 8], "big") for i in range(0, len(raw), 8))
        call = Call(token, liobn, ioba, value, count if token in (STUFF, INDIRECT) else 1, values, self.rules.profile != "qemu")
        self._call[seen.vcpu] = call, self.rules.answer(call)

    def _hcall_done(self, seen: Seen) -> None:
        known = self._call.pop(seen.vcpu, None)
        if known is None:
            return
        call, wanted = known
        vcpu = self.machine.vcpus[seen.vcpu]
        code = vcpu.get("r3")
        code -= (code >> 63) << 64
        text = f"call {call.token:#x} of {call.liobn:#x} {call.ioba:#x} {call.value:#x} {call.count:#x}"
        if code not in CODES:
            self.wrong("W9", f"{text} answered {code}", vcpu=seen.vcpu)
        if call.token == INDIRECT and call.count and not call.values:  # the list itself cannot be read
            wanted = Answer(PARAMETER, wanted.liobn, wanted.index)
        if code == wanted.code:
            if wanted.stored:
                self.rules.store(wanted.liobn, wanted.index, wanted.stored)
        elif wanted.code == OK and code in (FULL, HARDWARE, BUSY):
            self._could_not(call, wanted, code, text)
        elif not (code == HARDWARE and self._lost(call)):
            self.wrong("W4", f"{text} answered {code}, it must be {wanted.code}", vcpu=seen.vcpu)
        if self.whole:
            self._compare(call, wanted, code, text, vcpu.get("r4"))
        else:
            self._take_over(wanted)

    def _could_not(self, call: Call, wanted: Answer, code: int, text: str) -> None:
        """A page could not be had. LoPAR: nothing is stored; the others keep what came before the entry, which they clear."""
        if code == HARDWARE and not self._lost(call):
            self.wrong("W3", f"{text} answered H_Hardware, and nothing is wrong with its pages")
        if code == BUSY and not self._away(wanted.stored):
            self.wrong("W12", f"{text} answered long busy, and all its pages are there")
        if self.rules.profile != "papr" and code != BUSY:
            done = 0
            while done < len(wanted.stored) and self._given(wanted.liobn, wanted.index + done) == wanted.stored[done]:
                done += 1
            self.rules.store(wanted.liobn, wanted.index, (*wanted.stored[:done], 0)[: len(wanted.stored)])

    def _lost(self, call: Call) -> bool:
        """Can the store not give back a page that the call names?"""
        core = self.machine.core
        named = [call.value, *call.values]
        found = [core.index(v & ~0xFFF) for v in named]
        return any(i >= 0 and core.page(i).state == PageState.BAD for i in found)

    def _away(self, values: tuple[int, ...]) -> bool:
        core = self.machine.core
        return any(v & 3 and core.page(core.index(v & ~0xFFF)).state != PageState.RESIDENT for v in values)

    # -------------------------------------------------------------------- tables
    def _table(self, liobn: int) -> Any:
        return next(t for t in self._host.tables if t.liobn == liobn)

    def _given(self, liobn: int, index: int) -> int:
        return int(self._host.read(self._table(liobn), GIVEN, index))

    def _compare(self, call: Call, wanted: Answer, code: int, text: str, result: int) -> None:
        """W4, W5, W8: the entries that were meant, and those around them, are as they must be."""
        if call.token == GET:
            if code == OK and result != self.rules.entry(wanted.liobn, wanted.index):
                self.wrong("W8", f"{text} gave {result:#x}, stored was {self.rules.entry(wanted.liobn, wanted.index):#x}")
            return
        if wanted.liobn < 0:
            return
        entries = self.rules.windows[wanted.liobn][1]
        for index in range(max(wanted.index - 1, 0), min(wanted.index + max(len(wanted.stored), 2) + 1, entries)):
            given, must = self._given(wanted.liobn, index), self.rules.entry(wanted.liobn, index)
            if given != must:
                rule = "W4" if code == OK else "W5"
                self.wrong(rule, f"{text} answered {code}: entry {index} is {given:#x}, it must be {must:#x}")
        if code != wanted.code and self.rules.profile == "papr":
            return  # nothing was stored
        for i, value in enumerate(wanted.stored):
            at = wanted.index + i
            if value & 3 and self.rules.entry(wanted.liobn, at) == value and not self._reaches(wanted.liobn, at, value):
                self.wrong("W7", f"{text} answered {code}: entry {at} is {value:#x}, and devices reach another page or none")

    def _reaches(self, liobn: int, index: int, value: int) -> bool:
        """Is the page of an entry there, and what devices get?"""
        core = self.machine.core
        at = core.index(value & ~0xFFF)
        mapped = int(self._host.read(self._table(liobn), MAPPED, index))
        self.frames.setdefault(liobn, {})[index] = mapped >> 12
        if at < 0:
            return mapped == 0
        page = core.page(at)
        return bool(page.state == PageState.RESIDENT and mapped == int(page.frame) << 12 | value & 3)

    def _given_up(self, liobn: int, index: int, value: int) -> bool:
        """Has the guest another page, or none, where the entry's was?"""
        page = self.machine.core.page(self.machine.core.index(value & ~0xFFF))
        frame = self.frames.get(liobn, {}).get(index)
        return bool(page.state == PageState.ZERO or (page.state == PageState.RESIDENT and frame not in (None, int(page.frame))))

    def _take_over(self, wanted: Answer) -> None:
        """Real mode may have changed anything meanwhile: believe what is there."""
        for i in range(max(len(wanted.stored), 1) if wanted.liobn >= 0 else 0):
            self.rules.store(wanted.liobn, wanted.index + i, (self._given(wanted.liobn, wanted.index + i),))

    # ----------------------------------------------------------------------- DMA
    def _dma(self, seen: Seen) -> None:
        """W7: each page that a device touches is the one that its entry names now."""
        liobn, at, write = seen.b, seen.a, seen.what is What.DMA_WRITE
        if liobn not in self.rules.windows or not self.whole:
            return
        done = seen.data
        while done:
            part, done = done[: 4096 - at % 4096], done[4096 - at % 4096 :]
            value, error = self._entry_for(liobn, at, write)
            if error:
                self.wrong("W7", f"a device {'wrote' if write else 'read'} {len(part)} bytes at {at:#x}, and nothing allows it")
            elif self._given_up(liobn, (at >> 12) - (self.rules.windows[liobn][0] >> 12), value):
                pass
            elif peek(self.machine, (value & ~0xFFF) + at % 4096, len(part)) != part:
                self.wrong("W7", f"a device at {at:#x} did not reach page {value >> 12:#x}, which is mapped there")
            at += len(part)
        if seen.c and self._entry_for(liobn, at, write)[1] != seen.c:
            self.wrong("W7", f"a device's access at {at:#x} failed with {seen.c}, it must be {self._entry_for(liobn, at, write)[1]}")

    def _entry_for(self, liobn: int, at: int, write: bool) -> tuple[int, int]:
        """(entry, error) of an access: LoPAR, "TCE definition"."""
        base, entries = self.rules.windows[liobn]
        index = (at >> 12) - (base >> 12)
        if not 0 <= index < entries:
            return 0, EXTENT
        value = self.rules.entry(liobn, index)
        if not value & 3:
            return value, ABSENT
        if self.machine.core.index(value & ~0xFFF) < 0:
            return value, ABSENT
        return value, 0 if value & (2 if write else 1) else PERMISSION

    # ------------------------------------------------------------------ verdict
    def check(self) -> None:
        """W1, W6, W11, as the tables are now. A window of many pages is looked at when all is over."""
        if self.whole:
            self._audit()

    def _audit(self) -> None:
        host, core = self._host, self.machine.core
        named: Counter[int] = Counter()
        for liobn, table in self.rules.tables.items():
            for index, value in table.items():
                at = core.index(value & ~0xFFF) if value & 3 else -1
                if at < 0:
                    continue
                page = core.page(at)
                if self._given_up(liobn, index, value):
                    named[int(host.head(self.frames[liobn][index]))] += 1
                    continue
                if page.state != PageState.RESIDENT:
                    self.wrong("W6", f"page {value >> 12:#x} of entry {index} of {liobn:#x} is not in memory")
                    continue
                named[int(host.head(int(page.frame)))] += 1
                if value & 2 and not page.flags & PageFlag.DIRTY:
                    self.wrong("W6", f"page {value >> 12:#x} of entry {index} may be written by devices, and is clean")
        for frame in sorted({*named, *host.pages_with(references=True)}):
            has = int(host.refs(frame))
            if has != named[frame]:
                self.wrong("W1", f"frame {frame} has {has} references besides the guest's, entries name it {named[frame]} times")
        if host.ptr.early_drops:
            self.wrong("W6", f"{int(host.ptr.early_drops)} pages were let go while a device could reach them")
        for table in host.tables:
            if host.ptr.table[table.number].locked:
                self.wrong("W11", f"the table of {table.liobn:#x} is locked between two calls")
        for vcpu in self.machine.vcpus:
            cpu = host.cpu(vcpu.id)
            if cpu.marker or cpu.list_page or cpu.stray:
                self.wrong("W11", "a call left work to the next one", vcpu=vcpu.id)

    def at_rest(self) -> None:
        if not self.whole:
            for table in self._host.tables:
                kept: dict[int, int] = {}
                for number in self._host.pages_of(table, GIVEN):
                    raw = bytes(self._host.page_bytes(table, GIVEN, number))
                    if any(raw):
                        values = (int.from_bytes(raw[i : i + 8], "big") for i in range(0, 4096, 8))
                        kept.update((number * 512 + i, v) for i, v in enumerate(values) if v)
                self.rules.tables[table.liobn] = kept
        self._audit()

    def at_end(self, end: End) -> None:
        if end.status == HOST:
            self.wrong(next((rule for sign, rule in DEATHS if sign in end.reason), "W2"), end.reason)
        else:
            self.at_rest()

    # -------------------------------------------------------------------- state
    def state(self) -> Hashable:
        return tuple(min(len(table), 4) for _, table in sorted(self.rules.tables.items())), len(self._call)

    def save(self) -> Any:
        tables, frames = self.rules.tables, self.frames
        return [{liobn: sorted(kept.items()) for liobn, kept in part.items()} for part in (tables, frames)]

    def load(self, state: Any) -> None:
        self.rules.tables, self.frames = ({liobn: dict(kept) for liobn, kept in part.items()} for part in state)
        self._call.clear()


def _applies(machine: Machine) -> bool:
    return machine.board.isa == "ppc64" and "tce" in machine.facilities


register(Entry(TceModel.name, _applies, TceModel))
