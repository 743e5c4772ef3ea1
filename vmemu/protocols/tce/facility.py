# SPDX-License-Identifier: GPL-2.0-or-later
"""What `--tce PROFILE` adds to a pseries machine: two DMA windows, the calls that fill them, and a network card behind the first."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vmemu.core import PageFlag, PageState
from vmemu.core.observe import Seen, What
from vmemu.devices import cas
from vmemu.devices.base import State
from vmemu.devices.netcard import Bridge, DmaError, NetCard
from vmemu.machine.board import Hypercall, Outcome
from vmemu.machine.boards.pseries import H_CAS, Pseries
from vmemu.machine.facility import Facility
from vmemu.machine.fdt import Node, cells, cells64
from vmemu.machine.insight import Insight
from vmemu.protocols.interventions import add as add_steerable
from vmemu.protocols.tce.away import Away
from vmemu.protocols.tce.bugs import switch_on
from vmemu.protocols.tce.interventions import Arrivals
from vmemu.protocols.tce.kernel import Kernel
from vmemu.protocols.tce.ladder import Ladder
from vmemu.protocols.tce.native import GIVEN, MAPPED, Host, Shape, Table, ffi
from vmemu.protocols.tce.profiles import PROFILES
from vmemu.protocols.tce.wire import HYPERTAS, PERMS, WRITE, Level, Marker, Refusal, Token

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

#: The card's bridge: the window that every PCI device has, and one as long as memory, for a guest that maps all of itself.
LIOBN, WINDOW_BASE, WINDOW_ENTRIES = 0x8000_0000, 0x8000_0000, 1 << 16
BIG_LIOBN, BIG_BASE = 0x8000_0001, 1 << 59
CARD_BASE, CARD_SOURCE = 0x40_0000_0000, 0x1100
#: A call of this laboratory: how many calls each level has finished (r4 to r6), and references that tables hold (r7).
H_VMEMU_TCE = 0xF0F0
#: How the host keeps its page structs (--tce-pages).
SHAPES = {
    "vmemmap": Shape(), "vmemmap-4k": Shape(block_shift=12), "vmemmap-56": Shape(page_bytes=56), "vmemmap-72": Shape(page_bytes=72),
    "flatmem": Shape(flat=True),
}  # fmt: skip


class TceBridge(Bridge):
    """A device's way to memory through one table."""

    def __init__(self, host: Host, liobn: int) -> None:
        self._host, self._liobn = host, liobn

    def _move(self, address: int, data: Any, size: int, write: bool) -> None:
        error, done = self._host.dma(self._liobn, address, data, size, write=write)
        observe = self._host.observer()
        if observe is not None:
            what = What.DMA_WRITE if write else What.DMA_READ
            observe(Seen(what, -1, address, self._liobn, error, bytes(ffi.buffer(data, done))))
        if error:
            raise DmaError(error, (address + done) & (1 << 64) - 1)

    def read(self, address: int, size: int) -> bytes:
        data = ffi.new("uint8_t[]", size)
        self._move(address, data, size, False)
        return bytes(ffi.buffer(data))

    def write(self, address: int, data: bytes) -> None:
        self._move(address, ffi.from_buffer("uint8_t[]", bytearray(data)), len(data), True)


class EitherBridge(TceBridge):
    """The card's: bus addresses from BIG_BASE on belong to the big window."""

    def _move(self, address: int, data: Any, size: int, write: bool) -> None:
        self._liobn = BIG_LIOBN if address >= BIG_BASE else LIOBN
        super()._move(address, data, size, write)


class Tce(Facility):
    """The host side of one machine's DMA windows."""

    VERSION = 1

    def __init__(
        self, machine: Machine, profile: str, *, real_mode: bool = True, shape: Shape | None = None, busy: bool = True
    ) -> None:
        super().__init__(machine)
        board = machine.board
        assert isinstance(board, Pseries)
        self.profile = PROFILES[profile]
        big = machine.memory_size >> 12
        self.host = Host(machine.core, replace(shape or Shape(), table_bytes=16 * (WINDOW_ENTRIES + big) + (1 << 20)))
        self.over_commitment = self.profile.name == "papr"  # the others never heard of it
        self.away = Away(machine, busy and self.over_commitment)
        add_steerable(machine, Arrivals(self.away))
        self.kernel = Kernel(machine, self.host, self.away)
        in_kernel = self.profile.kernel is not None
        self.window = self.host.add_table(LIOBN, WINDOW_BASE, WINDOW_ENTRIES, in_kernel=in_kernel)
        self.big = self.host.add_table(BIG_LIOBN, BIG_BASE, big, in_kernel=in_kernel)
        self.ladder = Ladder(self.kernel, self.profile)
        self.host.ptr.real_mode = real_mode and in_kernel
        self.host.answer()
        switch_on(self, machine.options.bugs if machine.options is not None else ())
        for token in Token:
            board.hcalls[token] = self._handler(token)
        board.hcalls[H_VMEMU_TCE] = self._tell
        board.hcalls[H_CAS] = self._agree(board.hcalls[H_CAS])
        board.hypertas += HYPERTAS
        board.xics.add_source(CARD_SOURCE, level=True)
        self.card = NetCard(
            EitherBridge(self.host, LIOBN), machine.now, lambda level: board.xics.set_level(CARD_SOURCE, level), machine.deadline_changed
        )
        board.mmio.add(CARD_BASE, 4096, self.card, "netcard")
        machine.core.add_mmio(CARD_BASE)
        board.devices["netcard"] = self.card

    # ----------------------------------------------------------------- calls
    def _handler(self, token: Token) -> Any:
        handle = self.ladder.handler(token)

        def hcall(vcpu: CoreVcpu) -> Outcome:
            code, result = handle(vcpu)
            vcpu.set("r3", code)
            if result is not None:
                vcpu.set("r4", result)
            return Outcome.HANDLED

        return hcall

    def _agree(self, handler: Hypercall) -> Hypercall:
        """The client may agree to over-commitment, with which r4 tells what a call has changed."""

        def agree(vcpu: CoreVcpu) -> Outcome:
            outcome = handler(vcpu)
            self._see_agreement()
            return outcome

        return agree

    def _see_agreement(self) -> None:
        board = self.machine.board
        assert isinstance(board, Pseries)
        self.host.ptr.tell_delta = self.over_commitment and board.cas.has(cas.CMO)

    def _tell(self, vcpu: CoreVcpu) -> Outcome:
        vcpu.set("r3", 0)
        for level in Level:
            vcpu.set(f"r{4 + level}", sum(self.calls(level).values()))
        vcpu.set("r7", self.references())
        return Outcome.HANDLED

    def calls(self, level: Level) -> dict[Token, int]:
        """Calls that this level finished."""
        if level is not Level.REAL:
            return self.ladder.finished[level]
        return {token: int(self.host.ptr.calls[i]) for i, token in enumerate(Token)}

    # ---------------------------------------------------------------- Facility
    def describe(self, root: Node) -> None:
        card = root.add(f"ethernet@{CARD_BASE:x}").set("device_type", "network").set("compatible", "vmemu,netcard")
        card.set("reg", cells64(CARD_BASE, 4096)).set("interrupts", cells(CARD_SOURCE, 1)).set("interrupt-parent", 1)
        card.set("ibm,#dma-address-cells", 2).set("ibm,#dma-size-cells", 2)
        card.set("ibm,dma-window", self._window_cells(self.window))
        card.set("vmemu,big-dma-window", self._window_cells(self.big))

    @staticmethod
    def _window_cells(table: Table) -> bytes:
        return cells(table.liobn) + cells64(table.base, table.size << table.shift)

    def loaded(self) -> None:
        self.kernel.set_limit()

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:
        self.host.forget(vcpu.id)

    def close(self) -> None:
        self.host.close()

    def insight(self) -> Insight:
        from vmemu.protocols.tce.insight import TceInsight

        return TceInsight(self)

    def entries(self) -> list[tuple[Table, int, int]]:
        """(table, index in 4 KiB, device's side) of every entry that holds a page."""
        found = []
        for table in self.host.tables:
            for number in self.host.pages_of(table, MAPPED):
                data = self.host.page_bytes(table, MAPPED, number)[:]
                if any(data):
                    values = enumerate(struct.unpack(">512Q", data), number * 512)
                    found += [(table, index, value) for index, value in values if value & PERMS]
        return found

    def references(self) -> int:
        """References to pages that tables hold."""
        return len(self.entries())

    def invariants(self) -> list[str]:
        """W1 to W14 of the fact sheet, as far as a state between two calls can show them."""
        host, wrong, named = self.host, [], dict[int, int]()
        if host.ptr.dead:
            wrong.append(ffi.string(host.ptr.why).decode())
        for _, _, mapped in self.entries():
            frame = host.head(mapped >> 12)
            named[frame] = named.get(frame, 0) + 1
        for frame in sorted({*named, *host.pages_with(references=True)}):
            has, times = host.refs(frame), named.get(frame, 0)
            if has != times:
                wrong.append(f"W1: frame {frame} has {has} references besides the guest's, tables name it {times} times")
        if int(host.ptr.held) != len(named):
            wrong.append(f"W1: {int(host.ptr.held)} pages are counted as held, tables name {len(named)}")
        clean = self._clean_frames() if named else set()
        for table, index, mapped in self.entries():
            if mapped & WRITE and mapped >> 12 in clean:
                wrong.append(f"W6: the page of entry {index} of {table.liobn:#x} is device-writable and clean")
        if host.ptr.early_drops:
            wrong.append(f"W6: {int(host.ptr.early_drops)} pages were let go while a device could reach them")
        if host.ptr.stale_dma:
            wrong.append(f"W7: {int(host.ptr.stale_dma)} accesses went through translations that had been taken back")
        wrong += [f"W11: the table of {table.liobn:#x} is locked" for table in host.tables if host.ptr.table[table.number].locked]
        wrong += [f"W11: CPU {v.id} has work left: {Marker(host.cpu(v.id).marker).name}" for v in self.machine.vcpus
                  if host.cpu(v.id).marker or host.cpu(v.id).list_page or host.cpu(v.id).stray]  # fmt: skip
        return wrong

    def _clean_frames(self) -> set[int]:
        """Frames whose guest page has not been written since it came from the store."""
        core = self.machine.core
        pages = (core.page(index) for index in core.not_zero_pages())
        return {int(p.frame) for p in pages if p.state == PageState.RESIDENT and not p.flags & PageFlag.DIRTY}

    def summary(self) -> dict[str, Any]:
        host = self.host
        return {"tce": {
            "profile": self.profile.name,
            "real_mode": bool(host.ptr.real_mode),
            "calls": {level.name.lower(): {t.name.lower(): n for t, n in self.calls(level).items()} for level in Level},
            "refused": {r.name.lower(): int(host.ptr.refused[r]) for r in Refusal if r and host.ptr.refused[r]},
            "references": self.references(),
            "freed_late": int(host.ptr.freed),
            "long_busy": self.away.answered,
            "card": {name: getattr(self.card.counters, name) for name in self.card.counters.__slots__},
            "violations": self.invariants(),
        }}  # fmt: skip

    def lines(self) -> list[str]:
        calls = ", ".join(f"{level.name.lower()} {sum(self.calls(level).values())}" for level in Level)
        refused = {r.name.lower(): int(self.host.ptr.refused[r]) for r in Refusal if r and self.host.ptr.refused[r]}
        why = ", ".join(f"{n} {name}" for name, n in refused.items()) or "none"
        out = [
            f"TCE ({self.profile.name}): calls finished in {calls}; real mode refused: {why}",
            f"  card: {self.card.counters.sent} packets sent, {self.card.counters.received} received, {self.card.counters.errors} errors; "
            f"{self.references()} references left, {self.away.answered} calls told to come again",
        ]
        return out + [f"  violated: {text}" for text in self.invariants()]

    # ---------------------------------------------------------------- snapshots
    def save(self) -> State:
        host = self.host
        return {
            "version": self.VERSION,
            "tables": [
                [[number, host.page_bytes(table, half, number)[:].hex()] for number in host.pages_of(table, half)]
                for table in host.tables
                for half in (GIVEN, MAPPED)
            ],
            "odd": [[f, host.flags(f), host.head(f)] for f in host.pages_with(references=False)],
            "finished": [list(self.ladder.finished[level].values()) for level in (Level.VIRTUAL, Level.USER)],
            "real": [int(n) for n in host.ptr.calls],
            "refused": [int(n) for n in host.ptr.refused],
            "away": self.away.save(),
            "cached": host.cached(),
            "counts": [int(n) for n in (host.ptr.freed, host.ptr.entries, host.ptr.stale_dma, host.ptr.early_drops)],
        }  # fmt: skip

    def load(self, state: State) -> None:
        if state["version"] != self.VERSION:
            raise ValueError(f"tce: state version {state['version']}")
        host, ptr = self.host, self.host.ptr
        host.reset()
        halves = [(table, half) for table in host.tables for half in (GIVEN, MAPPED)]
        for (table, half), pages in zip(halves, state["tables"], strict=True):
            for number, text in pages:
                host.make_room(table, half, number * 512)
                host.page_bytes(table, half, number)[:] = bytes.fromhex(text)
        for frame, flags, head in state["odd"]:
            host.set_page(frame, flags, host.count(frame), head)
        for _, _, mapped in self.entries():
            host.restore_ref(host.head(mapped >> 12))
        for level, counts in zip((Level.VIRTUAL, Level.USER), state["finished"], strict=True):
            self.ladder.finished[level] = dict(zip(Token, counts, strict=True))
        for i, n in enumerate(state["real"]):
            ptr.calls[i] = n
        for i, n in enumerate(state["refused"]):
            ptr.refused[i] = n
        ptr.freed, ptr.entries, ptr.stale_dma, ptr.early_drops = state["counts"]
        self.away.load(state["away"])
        host.cache(state["cached"])
        self.kernel.set_limit()
        self._see_agreement()


