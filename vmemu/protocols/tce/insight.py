# SPDX-License-Identifier: GPL-2.0-or-later
"""What TCE windows tell people: entries that hold pages, calls and why real mode left them, pages that a call waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core import PageState
from vmemu.core.observe import What
from vmemu.devices.papr import H_FUNCTION, H_HARDWARE, H_P4, H_PARAMETER, H_SUCCESS
from vmemu.isa.base import Field, Format, bit
from vmemu.machine.insight import Area, Flight, Insight, Rule
from vmemu.protocols.tce.native import GIVEN, Table
from vmemu.protocols.tce.wire import H_LONG_BUSY_1MS, H_NOT_ENOUGH_RESOURCES, PAGE, PERMS, Level, Refusal, Token

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.protocols.tce.facility import Tce

TCE = Format("TCE", (bit("WRITE", 1), bit("READ", 0), Field("RESERVED", 11, 2)), "ppc-tce.md 2")
#: So many entries of a table are shown.
MOST_ENTRIES = 8
CALLS = {Token.GET: "H_GET_TCE", Token.PUT: "H_PUT_TCE", Token.STUFF: "H_STUFF_TCE", Token.INDIRECT: "H_PUT_TCE_INDIRECT"}
ANSWERS = {
    H_SUCCESS: "success", H_HARDWARE: "H_Hardware", H_FUNCTION: "H_Function", H_PARAMETER: "H_Parameter", H_P4: "H_P4",
    H_NOT_ENOUGH_RESOURCES: "H_NOT_ENOUGH_RESOURCES: it may pin no more",
    H_LONG_BUSY_1MS: "H_LongBusyOrder1msec: a page is away, come again",
}  # fmt: skip


class TceInsight(Insight):
    """Of one machine's windows. Page-ins have no token: they are found by a guest-physical address."""

    def __init__(self, tce: Tce) -> None:
        super().__init__(tce.machine)
        self.tce = tce

    # ------------------------------------------------------------------- flights
    def flights(self) -> list[Flight]:
        core = self.machine.core
        found = []
        for index, due in sorted(self.tce.away.asked.items(), key=lambda pair: (pair[1], pair[0])):
            gpa = core.gpa(index)
            found.append(Flight(f"p{index}", f"page {gpa:#x}", gpa, -1, None, gpa, "map", due, due, "I/O", "long busy"))
        return found

    def find(self, number: int) -> list[Flight]:
        return [f for f in self.flights() if f.gpa is not None and f.gpa == number & ~0xFFF]

    def why(self, flight: Flight) -> list[Rule]:
        tries = self.tce.away.tries.get(self.machine.core.index(flight.number), 0)
        return [
            Rule(f"the store's I/O ends {self.later(flight.deadline)}; it was asked for {tries} times", "LoPAR 12.3.3"),
            Rule("the call that maps it answers H_LongBusyOrder1msec until then, and the guest makes it again", "ppc-tce.md 11, U-7"),
        ]

    def gone(self, number: int) -> list[Rule]:
        """A page that tables name cannot go away: who asks why it does not is told."""
        core = self.machine.core
        index = core.index(number)
        if index < 0 or core.page(index).state != PageState.RESIDENT:
            return []
        frame = int(core.page(index).frame)
        named = [(table, i) for table, i, mapped in self.tce.entries() if mapped >> 12 == frame]
        if not named:
            return []
        where = ", ".join(f"entry {i:#x} of LIOBN {table.liobn:#x}" for table, i in named[:3]) + ", ..." * (len(named) > 3)
        return [Rule(f"page {number & ~0xFFF:#x} is named by {where}: a device may reach it, so it is not evicted", "ppc-tce.md 9, W6")]

    # --------------------------------------------------------------------- areas
    def areas(self, vcpu: int) -> list[Area]:
        if vcpu >= 0:
            return []
        return [self._calls(), *(self._table(table) for table in self.tce.host.tables)]

    def _calls(self) -> Area:
        tce, area = self.tce, Area(f"TCE calls ({self.tce.profile.name})", section="ppc-tce.md 4")
        for level in Level:
            done = {CALLS[token]: n for token, n in tce.calls(level).items() if n}
            area.add(level.name.lower(), str(sum(done.values())), ", ".join(f"{n} {name}" for name, n in done.items()))
        refused = {r.name.lower(): int(tce.host.ptr.refused[r]) for r in Refusal if r and tce.host.ptr.refused[r]}
        area.add("real mode left", str(sum(refused.values())), ", ".join(f"{n} {name}" for name, n in refused.items()))
        area.add(
            "held",
            str(int(tce.host.ptr.held)),
            f"pages, of {int(tce.host.ptr.limit)} that may be; {tce.away.answered} calls told to come again",
        )
        return area

    def _table(self, table: Table) -> Area:
        area = Area(f"window of LIOBN {table.liobn:#x}", section="ppc-tce.md 2")
        end = table.base + (table.size << table.shift)
        area.add("bus addresses", f"{table.base:#x}", f"to {end - 1:#x}: {table.size} entries of {1 << table.shift:#x} bytes")
        used = self._used(table)
        area.add("entries", str(len(used)), "hold a page")
        for index in used[:MOST_ENTRIES]:
            value = self.tce.host.read(table, GIVEN, index)
            words = TCE.show(value & 0xFFF).partition(" ")[2].strip("()")
            area.add(
                f"entry {index:#x}", value, f"bus {table.base + (index << table.shift):#x} -> gpa {value & PAGE:#x}, {words or 'no access'}"
            )
        return area

    def _used(self, table: Table) -> list[int]:
        found = []
        for number in self.tce.host.pages_of(table, GIVEN):
            data = self.tce.host.page_bytes(table, GIVEN, number)[:]
            found += [number * 512 + i // 8 for i in range(0, 4096, 8) if data[i + 7] & PERMS]
        return found

    # -------------------------------------------------------------- observations
    def tell(self, moment: Moment) -> Rule | None:
        seen = moment.seen
        if seen.what is What.HCALL and moment.arguments and moment.arguments[0] in list(Token):
            token, liobn, ioba, value = moment.arguments[:4]
            what = {Token.GET: "", Token.PUT: f" = {TCE.show(value)}", Token.STUFF: f" = {TCE.show(value)}"}.get(
                Token(token), f", list at {value:#x}"
            )
            return Rule(f"the guest calls {CALLS[Token(token)]}: LIOBN {liobn:#x}, bus address {ioba:#x}{what}", "ppc-tce.md 1")
        if seen.what is What.HCALL_DONE and moment.arguments and self._was_ours(moment):
            code = moment.arguments[0] - (1 << 64) if moment.arguments[0] >> 63 else moment.arguments[0]
            return Rule(f"the answer is {ANSWERS.get(code, str(code))}", "ppc-tce.md 3")
        return None

    def _was_ours(self, moment: Moment) -> bool:
        """Does this answer belong to a call of ours?"""
        before: Moment | None = None
        for other in self.machine.history.moments if self.machine.history is not None else ():
            if other is moment:
                break
            if other.seen.what is What.HCALL and other.seen.vcpu == moment.seen.vcpu:
                before = other
        return before is not None and before.arguments[0] in list(Token)
