# SPDX-License-Identifier: GPL-2.0-or-later
"""A switchboard without a guest: Python plays kernel and programs, with page tables of its own. For tests and benchmarks.

Process `pid` has one 4-level radix tree over 48 bits. `Rig.map` enters 4 KiB pages; `away` swaps a page out.
"""

from __future__ import annotations

import struct
from typing import Any, Self

from vmemu.clock.choices import Choices
from vmemu.core import PageState, lib
from vmemu.core.observe import Seen, What
from vmemu.devices import vas_mmio as mmio
from vmemu.devices.vas import PASTE_BASE, Vas
from vmemu.machine.boot import BootOptions, build
from vmemu.machine.machine import Machine
from vmemu.protocols.vas.facility import VasFacility
from vmemu.protocols.vas.native import HVWC_BASE, PORT, NativeVas

PAGE = 4096
PROCESS_TABLE, TREES, RX_FIFO, FAULT_FIFO = 0x10000, 0x20000, 0x80000, 0x100000
FAULT_SIZE = 4 << 20
DATA = 0x600000
VALID, LEAF, PRIV, READ, WRITE = 1 << 63, 1 << 62, 8, 4, 2
MASK64 = (1 << 64) - 1
RX, FAULT, SEND = 0, 1, 2


class Rig:
    """A machine with `--vas`; window 0 receives, 1 takes faults in a FIFO of `fifo` bytes, 2 sends for PID 5 (native)."""

    def __init__(self, vas: str = "native", fifo: int = FAULT_SIZE, memory: str = "16M", **options: Any) -> None:
        self._take(self.make(vas, memory, **options), fifo)
        self.checks = True
        self.begin()

    @staticmethod
    def make(vas: str = "native", memory: str = "16M", choices: Choices | None = None, **options: Any) -> Machine:
        """A machine with nothing in its memory."""
        return build(BootOptions(image="", vas=vas, memory=memory, **options), "ppc64", Choices() if choices is None else choices)

    @classmethod
    def on(cls, machine: Machine, fifo: int = FAULT_SIZE) -> Self:
        """A machine that `make` has made; its reader stands at the first entry of the fault FIFO."""
        rig = cls.__new__(cls)
        rig._take(machine, fifo)
        return rig

    def _take(self, machine: Machine, fifo: int) -> None:
        self.machine = machine
        facility = machine.facilities["vas"]
        assert isinstance(facility, VasFacility)
        self.facility: VasFacility = facility
        self.vas: Vas = facility.vas
        self.fifo_size, self.reader = fifo, 0
        self.checks = False  # somebody else does
        self._table = TREES
        self._next = DATA
        self._roots: dict[int, int] = {}

    def begin(self) -> None:
        """The kernel's process table and, when it owns the switchboard, its windows."""
        for vcpu in self.machine.vcpus:
            vcpu.set("prtbl", PROCESS_TABLE)  # 256 entries
        if isinstance(self.facility, NativeVas):
            self.write(FAULT_FIFO, b"\xff" * self.fifo_size)
            self.open_fifo(RX, RX_FIFO, 32 << 10, mmio.WINCTL.set(0, OPEN=1, NX_WIN=1, PIN=1))
            self.open_fifo(FAULT, FAULT_FIFO, self.fifo_size, mmio.WINCTL.set(0, OPEN=1, FAULT_WIN=1, PIN=1))
            self.open_send()

    # ------------------------------------------------------------------- kernel
    def read(self, gpa: int, size: int) -> bytes:
        return self.machine.read_guest(gpa, size)

    def write(self, gpa: int, data: bytes) -> None:
        """The guest writes: observers of the host are told nothing."""
        done = self.machine.core.write_resident(gpa, data)
        if done < len(data):
            self.machine.write_guest(gpa + done, data[done:])

    def _tell(self, what: What, a: int, b: int = 0, c: int = 0, data: bytes = b"") -> None:
        observe = self.machine.core.observe
        if observe is not None:
            observe(Seen(what, 0, a, b, c, data))

    def set(self, window: int, register: int, value: int) -> None:
        address = HVWC_BASE + 512 * window + register
        self._tell(What.MMIO_WRITE, address, value, 8)
        self.machine.board.mmio.write(address, 8, value)

    def get(self, window: int, register: int) -> int:
        return self.machine.board.mmio.read(HVWC_BASE + 512 * window + register, 8, MASK64)

    def open_fifo(self, window: int, base: int, size: int, control: int, credits_: int | None = None) -> bool:
        n = size // 128 if credits_ is None else credits_
        self.set(window, mmio.LFIFO_BAR, base)
        self.set(window, mmio.LFIFO_SIZE, (size // 1024).bit_length() - 1 << 60)
        self.set(window, mmio.LRX_WCRED, n << 48)
        self.set(window, mmio.CONTROL, control)
        return bool(mmio.WINCTL.get(self.get(window, mmio.CONTROL), "OPEN"))

    def open_send(self, window: int = SEND, pid: int = 5, credits_: int = 1024, user: bool = True) -> bool:
        self.set(window, mmio.PID, pid)
        self.set(window, mmio.MSR, mmio.XLATE_MSR.set(0, HV=1, SF=1, DR=int(user), PR=int(user)))
        self.set(window, mmio.FAULT_TX_WIN, FAULT)
        self.set(window, mmio.LRFIFO_WIN_PTR, RX)
        self.set(window, mmio.HV_INTR_SRC_RA, PORT)
        self.set(window, mmio.PSWID, window << 32)
        self.set(window, mmio.TX_WCRED, credits_ << 48)
        self.set(window, mmio.CONTROL, mmio.WINCTL.set(0, OPEN=1, PIN=1, TX_WCRED_MODE=1))
        return bool(mmio.WINCTL.get(self.get(window, mmio.CONTROL), "OPEN"))

    def close(self, window: int) -> None:
        self.set(window, mmio.CONTROL, 0)

    def credits(self, window: int) -> int:
        return self.vas.windows[window].credits

    def next_fault(self) -> bytes | None:
        """One entry of the fault FIFO, consumed as the kernel does; its credits are not given back."""
        at = FAULT_FIFO + self.reader * 128
        entry = self.read(at, 128)
        if entry[76:80] == b"\xff" * 4 or entry[3] & 1:
            return None
        self.reader = (self.reader + 1) % (self.fifo_size // 128)
        self.write(at + 76, b"\xff" * 4)
        self.write(at + 3, bytes([entry[3] | 1]))
        return entry

    def serve_fault(self) -> bytes | None:
        """An entry, fault credit, the CSB as the kernel writes it, send credit."""
        entry = self.next_fault()
        if entry is None:
            return None
        self.set(FAULT, mmio.LRX_WCRED_ADDER, 1 << 48)
        window = self.vas.windows[int.from_bytes(entry[76:80], "big") & 0xFFFF]
        csb = int.from_bytes(entry[8:16], "big") & ~15
        self.user_write(csb, bytes((0x80, 0, 250, 0x40, 0, 0, 0, 0)) + entry[64:72], window.pid or 0)
        self.set(window.number, mmio.TX_WCRED_ADDER, 1 << 48)
        return entry

    # ------------------------------------------------------------------ programs
    def page(self) -> int:
        self._next += PAGE
        return self._next - PAGE

    def _new_table(self) -> int:
        self._table += PAGE
        self.write(self._table - PAGE, bytes(PAGE))
        return self._table - PAGE

    def _entry(self, ea: int, pid: int) -> int:
        """Address of the leaf entry for ea; the tables above it are made."""
        known = int.from_bytes(self.read(PROCESS_TABLE + 16 * pid, 8), "big")
        if pid not in self._roots and known:
            self._roots[pid] = known & 0x00FF_FFFF_FFFF_FF00
        if pid not in self._roots:
            self._roots[pid] = self._new_table()
            rts = 48 - 31
            self.write(PROCESS_TABLE + 16 * pid, struct.pack(">Q", (rts >> 3) << 61 | self._roots[pid] | (rts & 7) << 5 | 9))
        table = self._roots[pid]
        for shift in (39, 30, 21):
            at = table + 8 * (ea >> shift & 511)
            below = int.from_bytes(self.read(at, 8), "big")
            if not below:
                below = VALID | self._new_table() | 9
                self.write(at, below.to_bytes(8, "big"))
            table = below & ~(0xFF | VALID)
        return table + 8 * (ea >> 12 & 511)

    def map(self, ea: int, size: int, *, pid: int = 5, rights: int = READ | WRITE) -> None:
        """Fresh pages under [ea, ea + size), zero."""
        for page in range(ea & -PAGE, ea + size, PAGE):
            self.map_page(page, self.page(), pid=pid, rights=rights)

    def map_page(self, ea: int, gpa: int, *, pid: int = 5, rights: int = READ | WRITE) -> None:
        self.write(self._entry(ea, pid), (VALID | LEAF | gpa | rights).to_bytes(8, "big"))

    def gpa(self, ea: int, pid: int = 5) -> int:
        entry = int.from_bytes(self.read(self._entry(ea, pid), 8), "big")
        assert entry & VALID, hex(ea)
        return (entry & 0x01FF_FFFF_FFFF_F000) + ea % PAGE

    def user_read(self, ea: int, size: int, pid: int = 5) -> bytes:
        out = b""
        while len(out) < size:
            at = ea + len(out)
            out += self.read(self.gpa(at, pid), min(size - len(out), PAGE - at % PAGE))
        return out

    def user_write(self, ea: int, data: bytes, pid: int = 5) -> None:
        done = 0
        while done < len(data):
            n = min(len(data) - done, PAGE - (ea + done) % PAGE)
            self.write(self.gpa(ea + done, pid), data[done : done + n])
            done += n

    def away(self, ea: int, pid: int = 5) -> None:
        """The host takes the page behind ea away. It must not be all zeros: such a page counts as present."""
        core = self.machine.core
        index = core.index(self.gpa(ea, pid))
        assert core.page(index).state == PageState.RESIDENT
        assert lib.s2_swap_out(core.ptr, index) == 0
        assert core.page(index).state == PageState.SWAPPED

    def paste(self, crb: bytes, window: int = SEND, offset: int = 0x400) -> bool:
        address = PASTE_BASE + (window << 16) + offset
        self._tell(What.PASTE, address, data=crb)
        taken = self.machine.board.paste(self.machine.vcpus[0], address, crb)
        self._tell(What.PASTE_DONE, address, int(taken))
        self._tell(What.TURN, 0)
        return taken

    # --------------------------------------------------------------------- clock
    def tick(self) -> bool:
        """The next event; False: there is none."""
        deadline = self.machine.queue.next_deadline()
        if deadline is None:
            return False
        self.machine.time_units = max(self.machine.time_units, self.machine.units(deadline))
        self.machine.queue.run_due(self.machine.now())
        self._tell(What.TURN, 0)
        self.check()
        return True

    def settle(self) -> None:
        while self.tick():
            pass

    def check(self) -> None:
        """P2, P3, P4: credits always add up."""
        assert not self.checks or self.facility.invariants() == []


# ----------------------------------------------------------------------- requests
def dde(address: int, length: int, count: int = 0, reserved: int = 0) -> bytes:
    return struct.pack(">HBBIQ", reserved, count, 0, length, address)


def crb(
    function: int, csb: int, source: bytes, target: bytes, *, flags: int = 0, ccb: bytes = bytes(16), tail: bytes = bytes(64),
) -> bytes:  # fmt: skip
    return struct.pack(">IIQ", function, 0, csb | flags) + source + target + ccb + tail


BLOCK, SOURCE, TARGET = 0x7FFF_0001_0000, 0x7FFF_0010_0000, 0x7FFF_0200_0000
CSB = BLOCK + 0xF0
CPB = CSB + 16


class Request:
    """One program's request block (CSB at +0xf0, CPB behind it), source and target buffers in process `pid`."""

    def __init__(self, rig: Rig, most: int = 1 << 16, room: int | None = None, pid: int = 5, window: int = SEND) -> None:
        self.rig, self.pid, self.window = rig, pid, window
        rig.map(BLOCK, PAGE, pid=pid)
        rig.map(SOURCE, most, pid=pid)
        rig.map(TARGET, room or most, pid=pid)
        self.most, self.room = most, room or most

    def cpb_in(
        self, *, crc: int = 0, adler: int = 1, history: int = 0, subc: int = 0, sfbt: int = 0, word: int = 0, dht: bytes = b"",
    ) -> None:  # fmt: skip
        head = struct.pack(">I", adler) + crc.to_bytes(4, "little") + struct.pack(">HBBBBH", history // 16 << 4, 0, subc, 0, sfbt, word)
        self.rig.user_write(CPB, head + dht, self.pid)

    def start(self, function: int, data: bytes, *, target: int | None = None) -> bytes:
        """Put the source there, clear CSB, and paste. The CRB."""
        self.rig.user_write(SOURCE, data, self.pid)
        self.rig.user_write(CSB, bytes(16), self.pid)
        block = crb(function, CSB, dde(SOURCE, len(data)), dde(TARGET, self.room if target is None else target))
        assert self.rig.paste(block, self.window)
        return block

    def run(self, function: int, data: bytes, *, target: int | None = None) -> Outcome:
        self.start(function, data, target=target)
        self.rig.settle()
        return self.outcome()

    def outcome(self) -> Outcome:
        return Outcome(self)


class Outcome:
    """CSB and CPB output as a program reads them."""

    def __init__(self, request: Request) -> None:
        rig, pid = request.rig, request.pid
        raw = rig.user_read(CSB, 16, pid)
        self.valid, self.cc, self.ce = raw[0] == 0x80, raw[2], raw[3]
        self.tpbc, self.address = struct.unpack(">IQ", raw[4:])
        out = rig.user_read(CPB + 384, 1668 - 384, pid)
        self.adler, self.crc = int.from_bytes(out[:4], "big"), int.from_bytes(out[4:8], "little")
        self.raw_sums = out[:8]
        self.tebc, self.sfbt = out[9] & 7, out[13] & 15
        self.subc, self.word = int.from_bytes(out[10:12], "big"), int.from_bytes(out[14:16], "big")
        self.dht = out[16 : 16 + 288]
        self.spbc = int.from_bytes(out[16:20], "big")
        self.spbc_inflate = int.from_bytes(out[304:308], "big")
        self.counts = struct.unpack(">316I", out[16 : 16 + 1264])
        self.spbc_counts = int.from_bytes(out[1280:1284], "big")
        self.data = rig.user_read(TARGET, min(self.tpbc, request.room), pid)
