# SPDX-License-Identifier: GPL-2.0-or-later
"""The hypercalls of the ESN model: which areas a partition has registered, which interrupts are due, and what each call must answer.

LoPAR 2.9: H_REGISTER_VPA 11.3.2, H_REG_SNS 12.3.8.3.2, event processing and interrupts 12.3.8.3.3 and .4; interrupt calls 11.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmemu.lab.models.base import Model, peek

if TYPE_CHECKING:
    from vmemu.machine.boards.pseries import Pseries
    from vmemu.machine.machine import Machine

XIRR, REGISTER_VPA, VIO_SIGNAL = 0x74, 0xDC, 0x104
SNS = {"papr": 0x2F8, "rfc": 0x41C}
BUSY, FUNCTION, PRIVILEGE, PARAMETER, RESOURCE, P2 = 1, -2, -3, -4, -16, -55
TOO_HARD = 9999
NONE = (1 << 64) - 1
MSR_PR = 1 << 14
MASKED = 0xFF
#: Client architecture option: (byte, mask) of vector 5.
CMO = (4, 0x80)


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@dataclass(slots=True)
class Area:
    """A registered SNS area. toggle: the platform's copy of the trigger bit; fill: the next entry; put_in: entry -> number posted."""

    base: int
    size: int
    toggle: int
    fill: int = 0
    overflow: bool = False
    put_in: dict[int, int] = field(default_factory=dict)

    @property
    def entries(self) -> int:
        return (self.size - 2) // 2

    def read(self, machine: Machine) -> bytes:
        return peek(machine, self.base, self.size) or bytes(self.size)

    def used(self, ring: bytes) -> int:
        """Entries that the platform has filled and the partition has not cleared: what the partition fills itself is its own affair."""
        return sum(1 for i in self.put_in if ring[2 + 2 * i] or ring[3 + 2 * i])

    def shows(self, ring: bytes, number: int) -> bool:
        """Is the number, as the platform posted it, still in the ring?"""
        wanted = number.to_bytes(2, "big")
        return any(n == number and ring[2 + 2 * i : 4 + 2 * i] == wanted for i, n in self.put_in.items())

    def put(self, entry: int, number: int) -> None:
        self.put_in[entry] = number
        self.fill = (entry + 1) % self.entries


class Calls:
    """`due`: an interrupt was signalled and not accepted yet; `enabled`: by H_VIO_SIGNAL; `retired`: areas that were taken back."""

    def __init__(self, model: Model, papr: bool) -> None:
        self._model, self._machine, self._papr = model, model.machine, papr
        self.vpa: dict[int, int] = {}
        self.buffers: dict[int, list[bool]] = {}  # CPU -> dispatch trace log, SLB shadow
        self.area: Area | None = None
        self.retired: list[tuple[int, int]] = []
        self.unit, self.source = NONE, 0
        self.enabled = not papr
        self.due = False
        self.excused = False  # the platform may have forgotten it (pulse rule), or was made to
        self._now: dict[int, tuple[int, list[int], int | None]] = {}  # vCPU -> token, arguments, code that must come (None: any)

    @property
    def board(self) -> Pseries:
        return self._machine.board  # type: ignore[return-value]

    # -------------------------------------------------------------------- calls
    def begin(self, cpu: int) -> None:
        vcpu = self._machine.vcpus[cpu]
        token, args = vcpu.get("r3"), [vcpu.get(f"r{n}") for n in (4, 5, 6)]
        if vcpu.get("msr") & MSR_PR:
            self._now[cpu] = -1, args, None
        elif token == REGISTER_VPA:
            self._now[cpu] = token, args, self._vpa_code(*args)
        elif token in SNS.values():
            self._now[cpu] = token, args, self._sns_code(token, args[0], args[1])
        else:
            self._now[cpu] = token, args, None

    def end(self, cpu: int) -> None:
        token, args, wanted = self._now.pop(cpu, (-1, [], None))
        vcpu = self._machine.vcpus[cpu]
        code = signed(vcpu.get("r3"))
        if code == TOO_HARD:
            self._model.wrong("V13", f"hypercall {token:#x} answered H_TOO_HARD", vcpu=cpu)
        if wanted is not None and code != wanted:
            words = " ".join(f"{a:#x}" for a in args)
            self._model.wrong("V13", f"hypercall {token:#x} of {words} answered {code}, it must be {wanted}", vcpu=cpu)
        if code:
            return
        if token == REGISTER_VPA:
            self._registered_vpa(*args)
        elif token in SNS.values():
            self._registered(args[0], args[1], vcpu.get("r4"), vcpu.get("r5"))
        elif token == VIO_SIGNAL and args[0] == self.unit and self._papr:
            self.enabled = bool(args[1] & 1)
        elif token == XIRR:
            self._accepted(cpu, vcpu.get("r4"))

    def registers_vpa(self, address: int) -> bool:
        """Is a VPA at that address being registered? The platform presets its own fields then."""
        return any(token == REGISTER_VPA and args[2] == address for token, args, _ in self._now.values())

    def _vpa_code(self, flags: int, cpu: int, address: int) -> int:
        machine, sub = self._machine, flags >> 45 & 7
        if cpu >= len(machine.vcpus) or sub in (0, 4):
            return PARAMETER
        has = self.buffers.get(cpu, [False, False])
        if sub >= 5:
            return RESOURCE if sub == 5 and any(has) else 0
        if address == 0 or address % 128 or not machine.is_ram(address, 8):
            return PARAMETER
        head = peek(machine, address, 8) or bytes(8)
        size = int.from_bytes(head[4:6] if sub == 1 else head[4:8], "big")
        least = {1: 640, 2: 48, 3: 8}[sub]
        if size < least or (sub == 1 and address % 4096 + size > 4096) or not machine.is_ram(address, size):
            return PARAMETER
        return RESOURCE if sub != 1 and cpu not in self.vpa else 0

    def _registered_vpa(self, flags: int, cpu: int, address: int) -> None:
        sub = flags >> 45 & 7
        if sub == 1:
            again = cpu in self.vpa
            self.vpa[cpu] = address
            if again and (peek(self._machine, address + 0xB9, 1) or b"\0")[0]:
                self._model.wrong("V10", "a VPA was registered again, and its byte 0xb9 is not 0", vcpu=cpu)
        elif sub == 5:
            self.vpa.pop(cpu, None)
        else:
            self.buffers.setdefault(cpu, [False, False])[sub % 4 - 2] = sub < 4

    def _sns_code(self, token: int, address: int, size: int) -> int:
        machine = self._machine
        if token != SNS["papr" if self._papr else "rfc"] or (self._papr and not self.board.cas.has(CMO)):
            return FUNCTION
        if address == NONE:
            return 0
        if address % 4096 or not machine.is_ram(address, 1):
            return PARAMETER
        if size < 256 or size > (4096 if self._papr else 1 << 16) or (self._papr and size % 2) or not machine.is_ram(address, size):
            return P2
        return BUSY if self.area is not None else 0

    def _registered(self, address: int, size: int, unit: int, source: int) -> None:
        if self.area is not None:
            self.retired.append((self.area.base, self.area.size))
        if address == NONE:
            self.area = None
            return
        self.retired = [(b, n) for b, n in self.retired if b + n <= address or address + size <= b]
        self.area = Area(address, size, self._trigger((peek(self._machine, address, 1) or b"\0")[0]))
        self.unit, self.source = unit, source

    def _trigger(self, control: int) -> int:
        return int(bool(control & (0x80 if self._papr else 0x01)))

    def own(self, gpa: int, data: bytes) -> None:
        """OWN: an area that was taken back is ordinary memory. Whatever the partition keeps there now, nobody posts into it."""
        if len(data) <= 2 and any(base <= gpa < base + size for base, size in self.retired):
            self._model.wrong("OWN", f"{data.hex()} was written at {gpa:#x}, into an SNS area that was taken back")

    def injected(self, event: str) -> bool:
        """Was this event of the injector made to go wrong at any time? Then what must follow it need not."""
        return any(text.startswith(event + ":") for text in self._machine.memory.injector.fired)

    # --------------------------------------------------------------- interrupts
    def posted(self, area: Area, control: int) -> None:
        """An event is in the ring: is an interrupt due? (12.3.8.3.3, steps 5 and 6; the rfc has one for every event.)"""
        if self._papr:
            if area.toggle == self._trigger(control):
                return
            area.toggle ^= 1
            if not self.enabled:
                return
        self.excused = self.board.xics.sources[self.source].in_service  # a virtual device may forget it before H_EOI
        self.due = True

    def _accepted(self, cpu: int, xirr: int) -> None:
        if xirr & 0xFF_FFFF != self.source or not self.source:
            return
        if not self.due and not self.injected("esn.irq"):
            self._model.wrong("V8", "the subvention interrupt came, and none was due", vcpu=cpu)
        self.due = False

    def check_interrupt(self) -> None:
        source = self.board.xics.sources.get(self.source)
        if source is None or self.injected("esn.irq"):
            return
        if source.pending and not self.due:
            self._model.wrong("V8", "the subvention interrupt is pending, and none was due")
        if self.due and not source.pending:
            if not self.excused:
                self._model.wrong("V9", "an interrupt was due, and none is pending")
            self.due = False
        presenter = self.board.xics.presenters[source.server]
        line = self._machine.vcpus[source.server].irq_lines & 1
        if self.due and source.priority < presenter.cppr and not line:
            self._model.wrong("V15", "the subvention interrupt is pending and favoured, and the CPU's line is low", vcpu=source.server)

    # -------------------------------------------------------------------- state
    def save(self) -> Any:
        a = self.area
        return {
            "vpa": dict(self.vpa), "buffers": {cpu: list(has) for cpu, has in self.buffers.items()}, "retired": list(self.retired),
            "area": None if a is None else (a.base, a.size, a.toggle, a.fill, a.overflow, sorted(a.put_in.items())),
            "source": (self.unit, self.source, self.enabled, self.due, self.excused),
            "now": {cpu: (token, list(args), code) for cpu, (token, args, code) in self._now.items()},
        }  # fmt: skip

    def load(self, state: Any) -> None:
        self.vpa, self.retired = dict(state["vpa"]), list(state["retired"])
        self.buffers = {cpu: list(has) for cpu, has in state["buffers"].items()}
        self.area = None
        if state["area"] is not None:
            base, size, toggle, fill, overflow, put_in = state["area"]
            self.area = Area(base, size, toggle, fill, overflow, dict(put_in))
        self.unit, self.source, self.enabled, self.due, self.excused = state["source"]
        self._now = {cpu: (token, list(args), code) for cpu, (token, args, code) in state["now"].items()}
