# SPDX-License-Identifier: GPL-2.0-or-later
"""The windows of the VAS model: what a kernel's stores (native) or calls (powervm) have opened, and how many credits are where.

Registers: VASH of the fact sheet, arch/powerpc/platforms/powernv/vas.h; calls: arch/powerpc/platforms/pseries/vas.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

HVWC, CONTEXT, WINDOWS = 0x0006_0190_0000_0000, 512, 512
PASTE, PASTE_SHIFT, DOORBELL = 0x0008_0000_0000_0000, 16, 0x400
CRB = 128
PID, XLATE_MSR, FAULT_TX_WIN, INTR_RA, PSWID, FIFO_BAR = 0x018, 0x020, 0x050, 0x070, 0x078, 0x0A0
RX_CREDITS, TX_CREDITS, FIFO_SIZE, WINCTL, RX_WIN = 0x0E0, 0x0F0, 0x100, 0x108, 0x128
RX_ADDER, TX_ADDER = 0x190, 0x1A0
DR, PR = 1 << 61, 1 << 60
OPEN, FAULT_WIN, NX_WIN = 1 << 63, 1 << 53, 1 << 52
SEND, RECEIVE, FAULT = "send", "receive", "fault"
#: powervm: windows of the hypervisor's own; those of the partition are 1 to 16, with one credit each.
OWN_RECEIVE, OWN_FAULT, PARTITION = 0, 17, 16


@dataclass(slots=True)
class Window:
    """`home`: credits that nobody has. Receive and fault windows: a FIFO of `entries` at `fifo`; `tail` is filled, `head` read next."""

    number: int
    kind: str
    most: int
    home: int = 0
    open: bool = True
    pid: int | None = None
    pswid: int = 0
    receive: int = 0
    fault: int = 0
    port: int = 0
    fifo: int | None = None
    entries: int = 0
    head: int = 0
    tail: int = 0

    def flat(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]


@dataclass(slots=True)
class Job:
    """A request that was accepted. `told`: FSA, flags and status of its fault CRB; `stores`: CSB bytes that are there.

    step: what the kernel has done about the fault: 0 nothing, 1 its entry's credit is back (powervm: fetched).
    """

    window: int
    crb: bytes
    plain: bytes | None = None  # what a compression or copy of fresh data must give back
    fsa: int = 0
    step: int = 0
    again: bool = False  # its block was pasted again
    stored: int = 0

    def flat(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]

    @property
    def csb(self) -> int:
        return int.from_bytes(self.crb[8:16], "big") & ~15


@dataclass(slots=True)
class Windows:
    """All windows. `unread`: powervm, faulted jobs of a window whose CRB was not fetched yet are counted by the hypervisor."""

    table: dict[int, Window] = field(default_factory=dict)
    registers: dict[int, dict[int, int]] = field(default_factory=dict)
    upper: tuple[int, int] = (-1, 0)

    def find(self, number: int) -> Window | None:
        window = self.table.get(number)
        return window if window is not None and window.open else None

    # ------------------------------------------------------------------- native
    def store(self, offset: int, size: int, value: int) -> tuple[int, int, int] | None:
        """A store to the contexts. A doubleword comes as two words: (window, register, value) once it is complete."""
        if size == 4 and offset % 8 == 0:
            self.upper = offset, value
            return None
        if size == 4 and offset % 8 == 4:
            at, upper = self.upper
            self.upper = -1, 0
            return (*divmod(at, CONTEXT), upper << 32 | value) if at == offset - 4 else None
        return (*divmod(offset, CONTEXT), value) if size == 8 and offset % 8 == 0 else None

    def control(self, machine: Machine, number: int, value: int) -> None:
        """WINCTL: opening takes the registers over, closing leaves jobs to end by themselves."""
        window = self.table.get(number)
        if window is not None and window.open:
            if not value & OPEN:
                window.open = False
            return
        if value & OPEN and (window is None or window.home == window.most):
            made = self._made(machine, number, value)
            if made is not None:
                made.home = made.most
                self.table[number] = made

    def _made(self, machine: Machine, number: int, control: int) -> Window | None:
        def get(register: int) -> int:
            return self.registers.get(number, {}).get(register, 0)

        if control & (FAULT_WIN | NX_WIN):
            kind = FAULT if control & FAULT_WIN else RECEIVE
            kib, credits_ = 1 << (get(FIFO_SIZE) >> 60), get(RX_CREDITS) >> 48
            entries, base = kib * 8, get(FIFO_BAR) & ((1 << 56) - 1) & ~0x3FF
            taken = kind == RECEIVE and any(w.open and w.kind == RECEIVE for w in self.table.values())
            if control & FAULT_WIN and control & NX_WIN or taken or kib > (8192 if kind == FAULT else 32):
                return None
            if not 1 <= credits_ <= min(entries, 0xFFFF) or not machine.is_ram(base, entries * CRB):
                return None
            return Window(number, kind, credits_, fifo=base, entries=entries)
        msr, credits_ = get(XLATE_MSR), get(TX_CREDITS) >> 48 & 0xFFF
        receive, fault = self.find(get(RX_WIN) & 0xFFFF), self.find(get(FAULT_TX_WIN) & 0xFFFF)
        if bool(msr & DR) != bool(msr & PR) or not credits_:
            return None
        if receive is None or receive.kind != RECEIVE or fault is None or fault.kind != FAULT:
            return None
        pid = get(PID) & 0xFFFFF if msr & DR else None
        return Window(number, SEND, credits_, pid=pid, pswid=get(PSWID) >> 32, receive=receive.number, fault=fault.number,
                      port=get(INTR_RA) & (1 << 56) - 1)  # fmt: skip

    # ------------------------------------------------------------------ powervm
    def own(self) -> None:
        """The hypervisor's windows, in its own memory."""
        self.table[OWN_RECEIVE] = Window(OWN_RECEIVE, RECEIVE, 256, 256, entries=256)
        self.table[OWN_FAULT] = Window(OWN_FAULT, FAULT, PARTITION, PARTITION, entries=PARTITION)

    def modify(self, number: int, pid: int, flags: int) -> None:
        """H_MODIFY_VAS_WINDOW that succeeded."""
        if flags >> 63:
            if number in self.table:
                self.table[number].open = False
            return
        self.table[number] = Window(number, SEND, 1, 1, pid=pid, pswid=number, receive=OWN_RECEIVE, fault=OWN_FAULT)

    # -------------------------------------------------------------------- state
    def save(self) -> Any:
        registers = {n: dict(kept) for n, kept in self.registers.items()}
        return {"table": [w.flat() for w in self.table.values()], "registers": registers, "upper": self.upper}

    def load(self, state: Any) -> None:
        self.table = {flat[0]: Window(*flat) for flat in state["table"]}
        self.registers = {n: dict(kept) for n, kept in state["registers"].items()}
        self.upper = state["upper"]
