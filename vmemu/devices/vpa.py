# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual processor areas (LoPAR 2.9 11.1.1, H_REGISTER_VPA 11.3.2): where each CPU shares state with the hypervisor.

Besides the VPA proper a CPU may register a dispatch trace log and an SLB shadow buffer. Contents belong to the guest,
apart from the hypervisor's fields named below; they are bounds-checked when registered and live in pageable memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import IntEnum

from vmemu.devices.base import Quiet, State
from vmemu.devices.papr import H_PARAMETER, H_RESOURCE, NoWindow, Refused

ALIGN = 128  # one L1 line
MIN_VPA, MIN_DTL = 640, 48
SIZE_OFFSET, STATUS_OFFSET, DISPATCH_COUNT = 0x04, 0x09, 0x100
SHARED_PROCESSOR = 0x02
#: Byte 0xb9: interrupts that the OS wants, and what it gives away while idle.
INTERRUPTS = 0xB9
FAULT_COUNT, FAULT_WAIT = 0x108, 0x110  # pages waited for, and how long in time base ticks
#: (offset, bytes) of the fields that the hypervisor writes: zero when a VPA is registered.
HYPERVISOR_FIELDS = ((DISPATCH_COUNT, 32), (0x17D, 3), (0x218, 8))


class Sub(IntEnum):
    """Sub-functions: bits 16 to 18 (IBM) of the flags."""

    REGISTER_VPA, REGISTER_DTL, REGISTER_SLB = 1, 2, 3
    DEREGISTER_VPA, DEREGISTER_DTL, DEREGISTER_SLB = 5, 6, 7


@dataclass(slots=True)
class Areas:
    """What one CPU has registered: (address, bytes), None = nothing."""

    vpa: tuple[int, int] | None = None
    dtl: tuple[int, int] | None = None
    slb: tuple[int, int] | None = None
    ceded: bool = False
    prodded: bool = False


class Vpa(NoWindow, Quiet):
    """The areas of all CPUs.

    ``is_ram(address, size)`` bounds-checks, ``read`` and ``write`` copy guest memory (big-endian data).
    """

    def __init__(
        self, cpus: int, is_ram: Callable[[int, int], bool], read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], None],
    ) -> None:  # fmt: skip
        self._cpus, self._is_ram, self._read, self._write = cpus, is_ram, read, write
        self.reset()

    def reset(self) -> None:
        self.areas = [Areas() for _ in range(self._cpus)]

    # ---------------------------------------------------------------- hypercall
    def register(self, flags: int, cpu: int, address: int) -> None:
        """H_REGISTER_VPA. Raises Refused; the order of the checks is LoPAR's."""
        if not 0 <= cpu < self._cpus:
            raise Refused(H_PARAMETER)
        areas = self.areas[cpu]
        match flags >> 45 & 7:
            case Sub.REGISTER_VPA:
                self._register_vpa(areas, address)
            case Sub.REGISTER_DTL:
                areas.dtl = self._buffer(areas, address, MIN_DTL)
            case Sub.REGISTER_SLB:
                areas.slb = self._buffer(areas, address, 8)
            case Sub.DEREGISTER_VPA:
                if areas.dtl or areas.slb:
                    raise Refused(H_RESOURCE)
                areas.vpa = None
            case Sub.DEREGISTER_DTL:
                areas.dtl = None
            case Sub.DEREGISTER_SLB:
                areas.slb = None
            case _:
                raise Refused(H_PARAMETER)

    def _register_vpa(self, areas: Areas, address: int) -> None:
        self._check_address(address)
        size = int.from_bytes(self._read(address + SIZE_OFFSET, 2), "big")
        if size < MIN_VPA or address % 4096 + size > 4096 or not self._is_ram(address, size):
            raise Refused(H_PARAMETER)
        again, areas.vpa = areas.vpa is not None, (address, size)
        status = self._read(address + STATUS_OFFSET, 1)[0]
        self._write(address + STATUS_OFFSET, bytes([status | SHARED_PROCESSOR]))
        for offset, length in HYPERVISOR_FIELDS:
            self._write(address + offset, bytes(length))
        self._write(address + DISPATCH_COUNT, (2 + areas.ceded).to_bytes(4, "big"))  # even: dispatched
        if again:  # the last registration wins, and starts afresh
            self._write(address + INTERRUPTS, b"\0")

    def _buffer(self, areas: Areas, address: int, least: int) -> tuple[int, int]:
        self._check_address(address)
        size = int.from_bytes(self._read(address + SIZE_OFFSET, 4), "big")
        if size < least or not self._is_ram(address, size):
            raise Refused(H_PARAMETER)
        if areas.vpa is None:
            raise Refused(H_RESOURCE)
        return address, size

    def _check_address(self, address: int) -> None:
        if address == 0 or address % ALIGN or not self._is_ram(address, 8):
            raise Refused(H_PARAMETER)

    # ---------------------------------------------------------------- dispatching
    def cede(self, cpu: int) -> bool:
        """The CPU gives itself up. False: a prod was waiting, it goes on at once."""
        areas = self.areas[cpu]
        if areas.prodded:
            areas.prodded = False
            return False
        areas.ceded = True
        self._count(areas, odd=True)
        return True

    def prod(self, cpu: int) -> bool:
        """H_PROD; True: the CPU was waiting and must be woken. Raises Refused."""
        if not 0 <= cpu < self._cpus:
            raise Refused(H_PARAMETER)
        areas = self.areas[cpu]
        areas.prodded = not areas.ceded
        return areas.ceded

    def dispatched(self, cpu: int) -> None:
        """The CPU runs again: the count becomes even before its first instruction."""
        areas = self.areas[cpu]
        if areas.ceded:
            areas.ceded = False
            self._count(areas, odd=False)

    def _count(self, areas: Areas, *, odd: bool) -> None:
        if areas.vpa is None:
            return
        at = areas.vpa[0] + DISPATCH_COUNT
        count = int.from_bytes(self._read(at, 4), "big")
        self._write(at, (count + 1 + (count + 1 + odd) % 2 & 0xFFFF_FFFF).to_bytes(4, "big"))

    def waited(self, cpu: int, ticks: int) -> None:
        """The CPU had to wait for a page, so many ticks of the time base."""
        vpa = self.areas[cpu].vpa
        if vpa is not None:
            self._add(vpa[0] + FAULT_COUNT, 1)
            self._add(vpa[0] + FAULT_WAIT, ticks)

    def _add(self, at: int, value: int) -> None:
        total = int.from_bytes(self._read(at, 8), "big") + value
        self._write(at, (total & (1 << 64) - 1).to_bytes(8, "big"))

    # --------------------------------------------------------- for protocols above
    def address(self, cpu: int) -> int | None:
        """Guest-physical address of a CPU's VPA, None while it has none."""
        vpa = self.areas[cpu].vpa
        return None if vpa is None else vpa[0]

    def peek(self, cpu: int, offset: int, size: int) -> bytes | None:
        """Bytes of the VPA; None without one, or outside it."""
        vpa = self.areas[cpu].vpa
        return None if vpa is None or offset + size > vpa[1] else self._read(vpa[0] + offset, size)

    def poke(self, cpu: int, offset: int, data: bytes) -> bool:
        """Write the hypervisor's fields; False without a VPA, or outside it."""
        vpa = self.areas[cpu].vpa
        if vpa is None or offset + len(data) > vpa[1]:
            return False
        self._write(vpa[0] + offset, data)
        return True

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1, "areas": [asdict(a) for a in self.areas]}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"vpa: state version {state['version']}")

        def pair(value: list[int] | None) -> tuple[int, int] | None:
            return None if value is None else (value[0], value[1])

        self.areas = [
            Areas(pair(a["vpa"]), pair(a["dtl"]), pair(a["slb"]), a["ceded"], a["prodded"]) for a in state["areas"]
        ]
