# SPDX-License-Identifier: GPL-2.0-or-later
"""16550 UART as the PC's COM1: polled console, loopback for probes, no FIFO timing (PC16550D data sheet, section 8)."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import IrqLine, Quiet, State

# Register offsets with DLAB = 0
DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)
LCR_DLAB = 0x80
LSR_DATA, LSR_EMPTY = 0x01, 0x60  # receiver has a byte; transmitter holding and shift registers empty
MCR_OUT2, MCR_LOOP = 0x08, 0x10
IIR_NONE, IIR_THRE, IIR_RDA, IIR_FIFO = 0x01, 0x02, 0x04, 0xC0
IER_RDA, IER_THRE = 0x01, 0x02
VERSION = 1


class Com1(Quiet):
    """One byte is sent as soon as it is written. The interrupt line is optional."""

    def __init__(
        self, put: Callable[[int], None], get: Callable[[], int | None], irq: IrqLine | None = None
    ) -> None:
        self._put = put
        self._get = get
        self._irq = irq
        self.reset()

    def reset(self) -> None:
        self.ier = self.lcr = self.mcr = self.scr = self.fcr = 0
        self.divisor = 1
        self.rx: int | None = None
        self.thre = False  # transmitter-empty interrupt is pending
        self._update()

    def _poll(self) -> None:
        if self.rx is None and not self.mcr & MCR_LOOP:
            self.rx = self._get()

    def _pending(self) -> int:
        if self.ier & IER_RDA and self.rx is not None:
            return IIR_RDA
        return IIR_THRE if self.ier & IER_THRE and self.thre else IIR_NONE

    def _update(self) -> None:
        if self._irq is not None:
            self._irq(self._pending() != IIR_NONE and bool(self.mcr & MCR_OUT2))

    def read(self, offset: int, size: int) -> int:
        value = self._read(offset)
        self._update()
        return value

    def _read(self, offset: int) -> int:
        if self.lcr & LCR_DLAB and offset in (DATA, IER):
            return self.divisor >> 8 * offset & 0xFF
        if offset == DATA:
            self._poll()
            byte, self.rx = self.rx or 0, None
            return byte
        if offset == IIR_FCR:
            self._poll()
            cause = self._pending()
            if cause == IIR_THRE:
                self.thre = False  # reading it acknowledges this one cause
            return cause | (IIR_FIFO if self.fcr & 1 else 0)
        if offset == LSR:
            self._poll()
            return LSR_EMPTY | (LSR_DATA if self.rx is not None else 0)
        if offset == MSR:  # CTS, DSR, DCD; in loopback the modem outputs come back
            if not self.mcr & MCR_LOOP:
                return 0xB0
            m = self.mcr
            return (m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4
        return {IER: self.ier, LCR: self.lcr, MCR: self.mcr, SCR: self.scr}.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        value &= 0xFF
        if self.lcr & LCR_DLAB and offset in (DATA, IER):
            self.divisor = self.divisor & ~(0xFF << 8 * offset) | value << 8 * offset
        elif offset == DATA:
            if self.mcr & MCR_LOOP:
                self.rx = value
            else:
                self._put(value)
            self.thre = True
        elif offset == IER:
            self.thre |= bool(value & ~self.ier & IER_THRE)
            self.ier = value & 0x0F
        elif offset == IIR_FCR:
            self.fcr = value
            if value & 2:
                self.rx = None
        elif offset == LCR:
            self.lcr = value
        elif offset == MCR:
            self.mcr = value & 0x1F
        elif offset == SCR:
            self.scr = value
        self._update()

    def save(self) -> State:
        return {
            "version": VERSION, "ier": self.ier, "lcr": self.lcr, "mcr": self.mcr, "scr": self.scr, "fcr": self.fcr,
            "divisor": self.divisor, "rx": self.rx, "thre": self.thre,
        }  # fmt: skip

    def load(self, state: State) -> None:
        for name in ("ier", "lcr", "mcr", "scr", "fcr", "divisor", "rx", "thre"):
            setattr(self, name, state[name])
        self._update()
