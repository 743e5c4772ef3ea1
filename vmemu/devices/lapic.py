# SPDX-License-Identifier: GPL-2.0-or-later
"""Local APIC: priorities, timer, interrupts to itself; xAPIC registers, also as x2APIC MSRs (SDM 3, chapter 10).

Time is virtual nanoseconds; the timer counts a 1 GHz crystal, as the pc board's CPUID leaf 0x15 says. Messages to other
CPUs leave through `send`.
"""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import IrqLine, Now, State

ID, VERSION_REG, TPR, APR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR = range(0x320, 0x380, 0x10)
INITIAL, CURRENT, DIVIDE, SELF_IPI = 0x380, 0x390, 0x3E0, 0x3F0
LVTS = (LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR)
#: Highest value that WRMSR takes; ICR apart.
_HIGHEST = dict.fromkeys((TPR, SVR, INITIAL, DIVIDE, *LVTS), 0xFFFFFFFF) | {EOI: 0, ESR: 0, SELF_IPI: 0xFF}

ENABLE = 0x100  # SVR
MASKED = 1 << 16  # LVT
ONE_SHOT, PERIODIC, TSC_DEADLINE = range(3)
FIXED, SMI, NMI, INIT, STARTUP = 0, 2, 4, 5, 6
VERSION_VALUE = 0x50014  # integrated APIC, six LVT entries
#: Shortest period in ns: a guest must not be able to keep the host busy with its timer alone.
MIN_PERIOD = 1000
STATE_VERSION = 1


class Lapic:
    """One CPU's local APIC. `line` is the CPU's INTR, `nmi` raises its NMI, `changed` says that the deadline moved, `enabled` that software
    enabled it."""

    def __init__(
        self,
        cpu: int,
        now: Now,
        line: IrqLine,
        *,
        nmi: Callable[[], None] = lambda: None,
        send: Callable[[int, int], None] = lambda icr, dest: None,
        changed: Callable[[], None] = lambda: None,
        enabled: Callable[[], None] = lambda: None,
    ) -> None:
        self.cpu = cpu
        self._now = now
        self._line = line
        self._nmi = nmi
        self._send = send
        self._changed = changed
        self._enabled = enabled
        self.reset()

    def reset(self) -> None:
        self.x2apic = False
        self.mapped = True  # the register window answers; IA32_APIC_BASE can take it away
        self.tpr = 0
        self.svr = 0xFF
        self.ldr = 0
        self.dfr = 0xFFFFFFFF
        self.esr = 0
        self.icr = 0
        self.isr = self.irr = self.tmr = 0  # 256 bits each
        self.lvt = dict.fromkeys(LVTS, MASKED)
        self.initial = 0
        self.divide = 0
        self.started = 0
        self.deadline: int | None = None
        self._update()

    # ------------------------------------------------------------ interrupts
    def request(self, vector: int) -> None:
        """A fixed interrupt arrives."""
        if vector < 16:
            self.esr |= 0x40  # received illegal vector
            return
        self.irr |= 1 << vector & (1 << 256) - 1
        self._update()

    @property
    def enabled(self) -> bool:
        """Software-enabled; while it is not, it takes no fixed interrupt (SDM 3, 10.4.7.2)."""
        return bool(self.svr & ENABLE)

    @property
    def ppr(self) -> int:
        """Processor priority (SDM 3, 10.8.3.1)."""
        served = (self.isr.bit_length() - 1) & 0xF0 if self.isr else 0
        return self.tpr if self.tpr & 0xF0 >= served else served

    def pending(self) -> int | None:
        """Vector that may be delivered now."""
        if not self.svr & ENABLE or not self.irr:
            return None
        vector = self.irr.bit_length() - 1
        return vector if vector & 0xF0 > self.ppr & 0xF0 else None

    def acknowledge(self) -> int:
        """The CPU takes an interrupt: its vector, or the spurious one."""
        vector = self.pending()
        if vector is None:
            self._update()
            return self.svr & 0xFF
        self.irr &= ~(1 << vector)
        self.isr |= 1 << vector
        self._update()
        return vector

    def set_tpr(self, value: int) -> None:
        """Task priority, 8 bits; CR8 is its upper half."""
        self.tpr = value
        self._update()

    def _update(self) -> None:
        self._line(self.pending() is not None)

    def _end_of_interrupt(self) -> None:
        if self.isr:
            self.isr &= ~(1 << self.isr.bit_length() - 1)
        self._update()

    def _command(self, icr: int, dest: int) -> None:
        """Write of the interrupt command register (SDM 3, 10.6.1)."""
        self.icr = icr & ~(1 << 12) | (dest << 32)  # delivery status reads idle
        shorthand = icr >> 18 & 3
        logical = bool(icr & 1 << 11)
        mine = shorthand in (1, 2) or shorthand == 0 and self.addressed(dest, logical)
        if mine:
            self.message(icr)
        if shorthand != 1 and not (mine and icr >> 8 & 7 == 1):  # lowest priority: one taker
            self._send(icr, dest)

    def addressed(self, dest: int, logical: bool) -> bool:
        """Is a message to this destination for this APIC?"""
        everyone = 0xFFFFFFFF if self.x2apic else 0xFF
        if dest == everyone:
            return True
        if not logical:
            return dest == self.cpu
        if self.x2apic:
            return dest >> 16 == self.cpu >> 4 and bool(dest & 1 << (self.cpu & 15))
        return bool(dest & self.ldr >> 24)

    def message(self, icr: int) -> None:
        """An interrupt message arrives. INIT and STARTUP are the board's business."""
        mode = icr >> 8 & 7
        if mode in (FIXED, 1):
            self.request(icr & 0xFF)
        elif mode == NMI:
            self._nmi()

    # ----------------------------------------------------------------- timer
    @property
    def _divisor(self) -> int:
        code = self.divide & 3 | self.divide >> 1 & 4
        return 1 if code == 7 else 2 << code

    @property
    def _mode(self) -> int:
        return self.lvt[LVT_TIMER] >> 17 & 3

    def _start(self) -> None:
        self.started = self._now()
        span = self.initial * self._divisor
        if self._mode == PERIODIC and span:
            span = max(span, MIN_PERIOD)
        self._set_deadline(self.started + span if span and self._mode != TSC_DEADLINE else None)

    def _set_deadline(self, deadline: int | None) -> None:
        self.deadline = deadline
        self._changed()

    def set_tsc_deadline(self, ns: int | None) -> None:
        """IA32_TSC_DEADLINE, converted by the board. Ignored unless the timer is in that mode."""
        if self._mode != TSC_DEADLINE:
            return
        self._set_deadline(ns)
        self.on_deadline(self._now())  # a deadline that has passed fires at once

    @property
    def in_tsc_mode(self) -> bool:
        return self._mode == TSC_DEADLINE

    def _current(self) -> int:
        if self.deadline is None or self._mode == TSC_DEADLINE:
            return 0
        return min(max(self.deadline - self._now(), 0) // self._divisor, 0xFFFFFFFF)

    def next_deadline(self) -> int | None:
        return self.deadline

    def on_deadline(self, now: int) -> None:
        if self.deadline is None or now < self.deadline:
            return
        if self._mode == PERIODIC and self.initial:
            period = max(self.initial * self._divisor, MIN_PERIOD)
            self.deadline += (now - self.deadline) // period * period + period
        else:
            self.deadline = None
        entry = self.lvt[LVT_TIMER]
        if not entry & MASKED:
            self.request(entry & 0xFF)

    # ------------------------------------------------------------- registers
    def read(self, offset: int, size: int) -> int:
        """xAPIC register: 32 bits at multiples of 16; what does not exist reads zero."""
        if not self.mapped:
            return (1 << 8 * size) - 1
        return self._get(offset & 0xFF0) >> 8 * (offset & 3) & 0xFFFFFFFF if offset & 0xF < 4 else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset & 0xF or size != 4 or not self.mapped:
            return
        if offset == ICR_HIGH:
            self.icr = self.icr & 0xFFFFFFFF | (value >> 24) << 32
        elif offset == ICR:
            self._command(value & 0xFFFFFFFF, self.icr >> 32)
        elif offset != SELF_IPI:  # x2APIC only
            self._set(offset, value & 0xFFFFFFFF)

    def read_msr(self, offset: int) -> int | None:
        """x2APIC register, None where RDMSR faults."""
        if not self.x2apic or offset in (ICR_HIGH, DFR, EOI, SELF_IPI):
            return None
        if offset == ICR:
            return self.icr
        known = (ID, VERSION_REG, TPR, PPR, LDR, SVR, ESR, INITIAL, CURRENT, DIVIDE, *LVTS)
        return self._get(offset) if offset in known or ISR <= offset < ESR else None

    def write_msr(self, offset: int, value: int) -> bool:
        """False where WRMSR faults."""
        if not self.x2apic:
            return False
        if offset == ICR:
            self._command(value & 0xFFFFFFFF, value >> 32)
        elif not 0 <= value <= _HIGHEST.get(offset, -1):
            return False
        elif offset == SELF_IPI:
            self.request(value & 0xFF)
        else:
            self._set(offset, value)
        return True

    def _get(self, offset: int) -> int:
        for base, bits in ((ISR, self.isr), (TMR, self.tmr), (IRR, self.irr)):
            if base <= offset < base + 0x80:
                return bits >> (offset - base) // 16 * 32 & 0xFFFFFFFF
        if offset in self.lvt:
            return self.lvt[offset]
        if offset == ID:
            return self.cpu if self.x2apic else self.cpu << 24
        if offset == LDR and self.x2apic:
            return (self.cpu >> 4) << 16 | 1 << (self.cpu & 15)
        simple = {
            VERSION_REG: VERSION_VALUE, TPR: self.tpr, PPR: self.ppr, LDR: self.ldr, DFR: self.dfr, SVR: self.svr,
            ESR: self.esr, ICR: self.icr & 0xFFFFFFFF, ICR_HIGH: (self.icr >> 32 & 0xFF) << 24, INITIAL: self.initial,
            DIVIDE: self.divide,
        }  # fmt: skip
        return self._current() if offset == CURRENT else simple.get(offset, 0)

    def _set(self, offset: int, value: int) -> None:
        if offset == EOI:
            self._end_of_interrupt()
        elif offset == TPR:
            self.set_tpr(value & 0xFF)
        elif offset == SVR:
            switched_on = bool(value & ~self.svr & ENABLE)
            self.svr = value & 0x1FF
            if not value & ENABLE:  # software disable masks every local source (SDM 3, 10.4.7.2)
                self.lvt = {reg: entry | MASKED for reg, entry in self.lvt.items()}
            self._update()
            if switched_on:
                self._enabled()
        elif offset in self.lvt:
            self._set_lvt(offset, value)
        elif offset == INITIAL:
            if self._mode != TSC_DEADLINE:
                self.initial = value
                self._start()
        elif offset == DIVIDE:
            self.divide = value & 0xB
        elif offset == LDR:
            self.ldr = value & 0xFF000000
        elif offset == DFR:
            self.dfr = value | 0x0FFFFFFF
        elif offset == ESR:
            self.esr = 0

    def _set_lvt(self, offset: int, value: int) -> None:
        old_mode = self._mode
        self.lvt[offset] = value & 0x717FF | (0 if self.svr & ENABLE else MASKED)
        if offset == LVT_TIMER and self._mode != old_mode and TSC_DEADLINE in (self._mode, old_mode):
            self.initial = 0
            self._set_deadline(None)

    # ----------------------------------------------------------------- state
    _SAVED = (
        "x2apic", "mapped", "tpr", "svr", "ldr", "dfr", "esr", "icr", "isr", "irr", "tmr", "initial", "divide",
        "started", "deadline",
    )  # fmt: skip

    def save(self) -> State:
        state: State = {name: getattr(self, name) for name in self._SAVED}
        return state | {"version": STATE_VERSION, "lvt": [self.lvt[reg] for reg in LVTS]}

    def load(self, state: State) -> None:
        for name in self._SAVED:
            setattr(self, name, state[name])
        self.lvt = dict(zip(LVTS, state["lvt"], strict=True))
        self._update()
