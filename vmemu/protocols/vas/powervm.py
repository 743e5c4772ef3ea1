# SPDX-License-Identifier: GPL-2.0-or-later
"""The hypervisor owns the switchboard: the partition's kernel asks for windows and fault CRBs by hypercalls.

Numbers and layouts as arch/powerpc/platforms/pseries/vas.[ch] and the "Addendum NX-GZIP for PowerVM" have them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vmemu.devices.base import State, flat
from vmemu.devices.nx_format import CRB_SIZE
from vmemu.devices.papr import H_BUSY, H_P2, H_PARAMETER, H_PRIVILEGE, MASK64, Refused
from vmemu.devices.vas import PASTE_BASE, PASTE_SHIFT, Kind, Window
from vmemu.machine.fdt import Node
from vmemu.protocols.vas.facility import VasFacility
from vmemu.protocols.vas.switches import IRQ_DROPPED

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine

H_ALLOCATE, H_MODIFY, H_DEALLOCATE, H_QUERY_WINDOW = 0x388, 0x38C, 0x390, 0x394
H_QUERY_VAS_CAPABILITIES, H_QUERY_NX_CAPABILITIES, H_GET_NX_FAULT = 0x398, 0x39C, 0x3A0
H_CONSTRAINED, H_NOT_FOUND, H_LONG_BUSY_1_MSEC = 4, -7, 9900

WINDOWS = 16
#: The hypervisor's own windows; their FIFOs are in its memory.
RECEIVE, FAULT, RECEIVE_ENTRIES = 0, WINDOWS + 1, 256
FAULT_INTERRUPT, COMPLETION_INTERRUPT = 0x1300, 0x1400
PAGE = 4096
TYPE_DEFAULT = 1


def _bits(*numbers: int) -> int:
    """A doubleword with these bits set, 0 = most significant."""
    return sum(1 << 63 - n for n in numbers)


CLOSE, TRANSLATED, MODIFY_FLAGS = _bits(0), _bits(3, 4, 5), _bits(0, 1, 3, 4, 5, 6)
VAS_FEATURES, NX_FEATURES = _bits(2), _bits(1)
#: Answers of the capability calls by type.
VAS_CAPABILITIES = {
    0: b"VASCAPS " + VAS_FEATURES.to_bytes(8, "big"),
    2: b"VDefGzip" + struct.pack(">BBHHHH", TYPE_DEFAULT, 1, WINDOWS, 1, WINDOWS, WINDOWS),
}
NX_CAPABILITIES = {
    0: b"NXCAPS  " + NX_FEATURES.to_bytes(8, "big"),
    1: b"NX_Gzip " + struct.pack(">QQQ", 1 << 20, 32 << 10, 32 << 10),
}


@dataclass(slots=True)
class Allocated:
    """A window of the partition. `owed`: faults whose interrupt is still to come; `presented`: one is on its way or in service."""

    pid: int = 0
    modified: bool = False
    closing: bool = False
    owed: int = 0
    presented: bool = False


class PowervmVas(VasFacility):
    """Windows of one credit each, numbers from 1."""

    def __init__(self, machine: Machine, options: BootOptions) -> None:
        super().__init__(machine, options, WINDOWS + 1)
        self._drop_interrupts = IRQ_DROPPED in options.bugs
        self.allocated: dict[int, Allocated] = {}
        self.vas.open(Window(RECEIVE, Kind.RECEIVE, RECEIVE_ENTRIES, entries=RECEIVE_ENTRIES))
        self.vas.open(Window(FAULT, Kind.FAULT, WINDOWS, entries=WINDOWS))
        for number in range(1, WINDOWS + 1):
            self.board.xics.add_source(FAULT_INTERRUPT + number, level=False)
            self.board.xics.add_source(COMPLETION_INTERRUPT + number, level=False)
            self.board.xics.on_eoi[FAULT_INTERRUPT + number] = partial(self._ended, number)
        for token, count, call in (
            (H_ALLOCATE, 2, self._allocate), (H_MODIFY, 5, self._modify), (H_DEALLOCATE, 1, self._deallocate),
            (H_QUERY_WINDOW, 2, self._query), (H_GET_NX_FAULT, 2, self._get_fault),
            (H_QUERY_VAS_CAPABILITIES, 2, partial(self._capabilities, VAS_CAPABILITIES)),
            (H_QUERY_NX_CAPABILITIES, 2, partial(self._capabilities, NX_CAPABILITIES)),
        ):  # fmt: skip
            self.board.add_hcall(token, count, call)

    def describe(self, root: Node) -> None:
        node = root.add("ibm,platform-facilities").add("ibm,compression-v1")
        node.set("compatible", "ibm,compression").set("device_type", "ibm,compression-v1")

    # ---------------------------------------------------------------- hypercalls
    def _find(self, number: int) -> Allocated:
        if number not in self.allocated:
            raise Refused(H_PARAMETER)
        return self.allocated[number]

    def _allocate(self, cpu: int, kind: int, credits_: int) -> tuple[int, ...]:
        if kind != TYPE_DEFAULT or credits_ != 1:
            raise Refused(H_PARAMETER)
        free = [n for n in range(1, WINDOWS + 1) if n not in self.allocated]
        if not free:
            raise Refused(H_CONSTRAINED)
        number = free[0]
        self.allocated[number] = Allocated()
        return number, PASTE_BASE + (number << PASTE_SHIFT), COMPLETION_INTERRUPT + number, FAULT_INTERRUPT + number

    def _modify(self, cpu: int, number: int, pid: int, tid: int, flags: int, amr: int) -> None:
        entry = self._find(number)
        if tid or amr or flags & ~MODIFY_FLAGS:
            raise Refused(H_PARAMETER)
        window = self.vas.windows.get(number)
        if flags & CLOSE:
            if window is not None:
                self.vas.close(window)
            return
        if flags & TRANSLATED != TRANSLATED or entry.closing:
            raise Refused(H_PARAMETER)
        table = self.machine.vcpus[0].get("prtbl")
        if table == MASK64 or pid * 16 >= 1 << (table & 31) + 12:
            raise Refused(H_P2)
        if window is not None:
            if window.busy:
                raise Refused(H_BUSY)
            self.vas.close(window)
        entry.pid, entry.modified = pid, True
        self.vas.open(Window(number, Kind.SEND, 1, pid=pid, pswid=number, receive=RECEIVE, fault=FAULT))

    def _deallocate(self, cpu: int, number: int) -> None:
        entry = self._find(number)
        entry.closing = True
        window = self.vas.windows.get(number)
        if window is not None:
            self.vas.close(window)
            if window.busy:
                raise Refused(H_LONG_BUSY_1_MSEC)
            del self.vas.windows[number]
        del self.allocated[number]

    def _query(self, cpu: int, number: int, buffer: int) -> None:
        entry = self._find(number)
        window = self.vas.find(number)
        self._write(buffer, struct.pack(
            ">HBBHHIIQII48sQ", 1, TYPE_DEFAULT, int(window is not None), 1, 0, entry.pid, 0, PASTE_BASE + (number << PASTE_SHIFT),
            COMPLETION_INTERRUPT + number, FAULT_INTERRUPT + number, b"", 0,
        ))  # fmt: skip

    def _capabilities(self, answers: dict[int, bytes], cpu: int, kind: int, buffer: int) -> None:
        if kind not in answers:
            raise Refused(H_PARAMETER)
        self._write(buffer, answers[kind])

    def _write(self, buffer: int, data: bytes) -> None:
        if buffer % PAGE or not self.machine.is_ram(buffer, PAGE):
            raise Refused(H_PRIVILEGE)
        self.machine.write_guest(buffer, data)

    def _get_fault(self, cpu: int, number: int, buffer: int) -> None:
        self._find(number)
        if buffer % CRB_SIZE or not self.machine.is_ram(buffer, CRB_SIZE):
            raise Refused(H_PRIVILEGE)
        window = self.vas.windows.get(number)
        if window is None or not window.unread:
            raise Refused(H_NOT_FOUND)
        self.machine.write_guest(buffer, bytes.fromhex(window.unread.pop(0)))
        self.vas.return_fifo_credits(self.vas.windows[FAULT], 1)
        self.vas.return_send_credits(window, 1)

    # ---------------------------------------------------------------- interrupts
    def interrupt(self, window: Window) -> None:
        """One for each fault: the next is presented when the guest has ended the one before."""
        entry = self.allocated.get(window.number)
        if entry is None:
            return
        if entry.presented:
            entry.owed += not self._drop_interrupts
            return
        entry.presented = True
        self.board.xics.pulse(FAULT_INTERRUPT + window.number)

    def _ended(self, number: int) -> None:
        entry = self.allocated.get(number)
        if entry is None:
            return
        entry.presented = entry.owed > 0
        if entry.owed:
            entry.owed -= 1
            self.board.xics.pulse(FAULT_INTERRUPT + number)

    # --------------------------------------------------------------------- state
    def save_owner(self) -> State:
        return {str(number): flat(entry) for number, entry in sorted(self.allocated.items())}

    def load_owner(self, state: State) -> None:
        self.allocated = {int(number): Allocated(**entry) for number, entry in state.items()}
